import numpy as np

from l2g_jax.ranking.asmk.aggregation import aggregate, pack_bits
from l2g_jax.ranking.asmk.codebook import Codebook
from tests.ranking.asmk import oracle


def test_bits_by_hand():
  values = np.zeros((2, 40), np.float32)
  values[0, [0, 31, 32]] = 1.0, 0.5, 1e-30
  values[1] = -0.0
  values[1, [2, 39]] = -1.0, 2.0
  expected = [[0x80000001, 0x80000000], [0, 1 << 24]]
  np.testing.assert_array_equal(pack_bits(values), np.array(expected, np.uint32), strict=True)


def test_sums_equal_a_loop():
  rng = np.random.default_rng(0)
  centroids = rng.standard_normal((6, 40), dtype=np.float32)
  images = [rng.standard_normal((count, 40), dtype=np.float32) for count in (3, 0, 11)]
  for count in (1, 5):
    entries = aggregate(Codebook(centroids), images, multiple_assignment=count, binary=False)
    bits = aggregate(Codebook(centroids), images, multiple_assignment=count, binary=True)
    expected = [
      (number, word, sums)
      for number, image in enumerate(images)
      for word, sums in sorted(oracle.vectors_of(image, centroids, count).items())
    ]
    numbers, words, sums = zip(*expected, strict=True)
    for found in (entries, bits):
      np.testing.assert_array_equal(found.images, numbers)
      np.testing.assert_array_equal(found.words, words)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(entries.vectors, sums / (norms + 1e-6), atol=1e-6)
    np.testing.assert_array_equal(bits.vectors, pack_bits(np.stack(sums)))


def test_bursts_become_one_vector():
  # However often a descriptor is repeated, its vector is the same.
  rng = np.random.default_rng(1)
  codebook = Codebook(rng.standard_normal((6, 40), dtype=np.float32))
  one = rng.standard_normal((1, 40), dtype=np.float32)
  images = [one, np.repeat(one, 50, axis=0)]
  for binary in (False, True):
    entries = aggregate(codebook, images, multiple_assignment=1, binary=binary)
    np.testing.assert_array_equal(entries.images, [0, 1])
    np.testing.assert_allclose(*entries.vectors, rtol=1e-5)


def test_a_descriptor_on_its_word_is_a_zero_vector():
  centroids = np.eye(6, 40, dtype=np.float32)
  for binary in (False, True):
    entries = aggregate(Codebook(centroids), [centroids[2:3]], multiple_assignment=1, binary=binary)
    np.testing.assert_array_equal(entries.words, [2])
    np.testing.assert_array_equal(entries.vectors, np.zeros_like(entries.vectors))

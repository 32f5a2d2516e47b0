import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk import (
  Codebook,
  default_num_words,
  load_codebook,
  save_codebook,
  train_codebook,
)


def clusters(seed=0, *, size=60, spread=0.02):
  rng = np.random.default_rng(seed)
  centers = rng.standard_normal((6, 40)).astype(np.float32)
  points = np.repeat(centers, size, axis=0)
  points += spread * rng.standard_normal(points.shape, dtype=np.float32)
  return centers, rng.permutation(points)


def test_training_finds_clusters():
  centers, points = clusters()
  # A random start may split one cluster and join two, so some seed of few must find them all.
  distances = []
  for seed in range(8):
    centroids = train_codebook(points, 6, seed=seed).centroids
    pairs = np.linalg.norm(centers[:, None] - centroids[None], axis=2)
    distances.append(pairs.min(axis=1).max())
  assert min(distances) < 0.05


def test_training_lowers_the_error_and_a_seed_decides_everything():
  _, points = clusters(1, spread=1.0)
  errors = []
  for count in (0, 1, 20):
    centroids = train_codebook(points, 6, num_iterations=count, seed=3).centroids
    errors.append(np.min(((points[:, None] - centroids) ** 2).sum(axis=2), axis=1).sum())
  assert errors[0] > errors[1] > errors[2]
  again = train_codebook(points.astype(np.float64), 6, num_iterations=20, seed=3).centroids
  np.testing.assert_array_equal(again, centroids)
  other = train_codebook(points, 6, num_iterations=20, seed=4).centroids
  assert not np.allclose(other, centroids)


def test_fewer_descriptors_than_words_are_words():
  _, points = clusters()
  found = train_codebook(points[:4], 6).centroids
  np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(points[:4], axis=0))


@pytest.mark.parametrize(
  ("num_descriptors", "num_words"), [(0, 1), (99, 1), (100, 2), (10**5, 2000), (10**9, 65536)]
)
def test_words_by_the_size_of_a_collection(num_descriptors, num_words):
  assert default_num_words(num_descriptors) == num_words


def test_the_number_of_words_follows_the_sample():
  assert train_codebook(clusters()[1], num_iterations=0).centroids.shape == (7, 40)


def test_a_codebook_is_read_as_written(tmp_path):
  centers, _ = clusters()
  save_codebook(tmp_path / "codebook", Codebook(centers))
  loaded = load_codebook(tmp_path / "codebook").centroids
  np.testing.assert_array_equal(loaded, centers, strict=True)


def test_a_damaged_codebook_is_refused(tmp_path):
  path = tmp_path / "codebook"
  save_codebook(path, Codebook(clusters()[0]))
  file = path / "centroids.npy"
  content = file.read_bytes()
  file.write_bytes(content[:-1])
  with pytest.raises(InputError, match="is truncated"):
    load_codebook(path)
  file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(InputError, match="was altered"):
    load_codebook(path)
  file.unlink()
  with pytest.raises(InputError, match="is missing"):
    load_codebook(path)


def test_what_does_not_fit_is_refused():
  points = clusters()[1]
  bad = points.copy()
  bad[3, 2] = np.nan
  huge = np.full((2, 3), 1e300)
  for call, message in (
    (lambda: train_codebook(points[0], 6), r"must be \[count, d\], not \[40\]"),
    (lambda: train_codebook(points[:0], 6), "at least one descriptor"),
    (lambda: train_codebook(bad, 6), "not finite"),
    (lambda: train_codebook(huge, 6), "not finite"),
    (lambda: train_codebook(points > 0, 6), "must be real numbers, not bool"),
    (lambda: train_codebook(points, 0), "num_words must be"),
    (lambda: train_codebook(points, 6, num_iterations=-1), "num_iterations must be"),
    (lambda: train_codebook(points, 6, seed=-1), "seed must be"),
    (lambda: Codebook(points[:0]), "at least one word"),
    (lambda: Codebook(bad), "not finite"),
  ):
    with pytest.raises(InputError, match=message):
      call()

import jax
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.ranking.ames import matcher
from l2g_jax.ranking.ames.config import AmesConfig
from l2g_jax.ranking.ames.network import Ames
from l2g_jax.retriever import similarities
from l2g_jax.retriever.similarities import spatial_similarity, verify_pair

AMES = AmesConfig(8, model_dim=8, num_heads=2, num_layers=1, hidden_dim=8)


def features(locations, descriptors):
  one = np.ones(len(locations), np.float32)
  return LocalFeatures(
    np.asarray(descriptors, np.float32), np.asarray(locations, np.float32), one, one
  )


def scene(seed, count, width):
  """Key points of a picture, with descriptors of their own."""
  rng = np.random.default_rng(seed)
  return rng.uniform(0.0, 300.0, (count, 2)), rng.standard_normal((count, width))


def moved(locations):
  return 1.2 * locations + [30.0, -10.0]


def test_matches_of_all_kinds_follow_one_transform():
  first, second = scene(0, 12, 16), scene(1, 9, 8)
  query = (features(*first), features(*second))
  image = (features(moved(first[0]), first[1]), features(moved(second[0]), second[1]))
  found = verify_pair(query, image)
  np.testing.assert_array_equal(found.inliers, np.stack([np.arange(21)] * 2, axis=1))
  # A kind that moves otherwise has no part in it.
  other = (image[0], features(second[0][:, ::-1] + 100.0, second[1]))
  assert verify_pair(query, other).inliers[:, 0].max() < 12


def test_the_threshold_grows_with_large_photographs():
  locations, descriptors = scene(2, 40, 16)
  noise = np.random.default_rng(3).normal(0.0, 0.7, locations.shape)

  def inliers(scale):
    query = features(scale * locations, descriptors)
    image = features(scale * (locations + noise), descriptors)
    return verify_pair((query,), (image,)).num_inliers

  # Beyond 1024 pixels all is as at 1024; without it, next to none would be within 5 pixels.
  assert inliers(3.4) == inliers(34.0) >= 20


def test_inliers_count_as_the_similarity():
  first = scene(4, 15, 16)
  query = (features(*first),)
  images = [
    (features(moved(first[0]), first[1]),),
    (features(*scene(5, 15, 16)),),
    (features(np.zeros((0, 2)), np.zeros((0, 16))),),
  ]
  counts = np.asarray(spatial_similarity().compare(query, images))
  assert counts[0] == 15
  assert counts[1] < 8
  assert counts[2] == 0


@pytest.fixture(scope="module")
def compare():
  blank = np.zeros((1, 2, 8), np.float32)
  mask = np.ones((1, 2), bool)
  params = Ames(AMES).init(jax.random.key(0), blank, blank, mask, mask)["params"]
  params = jax.tree.map(np.asarray, params)

  def logits(query, images):
    return similarities._ames_logits(  # pyright: ignore[reportPrivateUsage]
      query, images, params=params, config=AMES, temperature=0.5, counts=(600, 50)
    )

  return params, logits


def test_ames_compares_the_strongest_descriptors(compare):
  params, logits = compare
  query, first, second = (features(*scene(seed, 60, 8)) for seed in (6, 7, 8))
  short = features(second.locations[:20], second.descriptors[:20])
  found = logits((query,), [(first,), (short,)])
  padded = np.zeros((2, 50, 8), np.float32)
  padded[0], padded[1, :20] = first.descriptors[:50], short.descriptors
  mask = np.arange(50)[None] < np.array([[50], [20]])
  expected = matcher.similarities(params, query.descriptors, padded, config=AMES, image_mask=mask)
  np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-6)


def test_images_without_descriptors_come_last(compare):
  _, logits = compare
  some = features(*scene(9, 5, 8))
  none = features(np.zeros((0, 2)), np.zeros((0, 8)))
  found = logits((some,), [(none,), (some,)])
  assert found[0] == -np.finfo(np.float32).max < found[1]
  assert np.all(logits((none,), [(some,), (none,)]) == -np.finfo(np.float32).max)


def test_descriptors_of_other_features_are_refused(compare):
  _, logits = compare
  other = features(*scene(10, 5, 16))
  with pytest.raises(InputError, match="descriptors of 8 dimensions"):
    logits((other,), [(other,)])

import numpy as np

from l2g_jax.global_search import rank_by_global, rerank_by_global
from l2g_jax.pipeline import GlobalFeatures


def make_features(seed, *, num_queries=3, num_images=30, dimension=8):
  rng = np.random.default_rng(seed)
  rows = rng.standard_normal((num_queries + num_images, dimension)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return GlobalFeatures(rows[:num_queries], rows[num_queries:])


def test_the_nearest_come_first_and_ties_go_to_the_smaller_id():
  database = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
  features = GlobalFeatures(np.array([[1.0, 0.0]]), database)
  assert rank_by_global(features).tolist() == [[1, 3, 2, 0]]


def test_only_the_head_is_re_ranked():
  features = make_features(0)
  rankings = rank_by_global(features)
  reranked = rerank_by_global(features, rankings, num_reranked=12)
  np.testing.assert_array_equal(np.sort(reranked, axis=1), np.sort(rankings, axis=1))
  np.testing.assert_array_equal(reranked[:, 12:], rankings[:, 12:])
  assert np.any(reranked[:, :12] != rankings[:, :12])


def test_without_neighbours_the_order_is_that_of_the_features():
  features = make_features(1)
  rankings = rank_by_global(features)
  # The expansion is the best feature itself, so that one stays first.
  reranked = rerank_by_global(features, rankings, num_neighbors=0)
  np.testing.assert_array_equal(reranked[:, 0], rankings[:, 0])


def test_an_image_without_a_global_feature_does_not_come_first():
  features = make_features(2, num_images=12)
  features.database[5] = 0.0
  reranked = rerank_by_global(features, rank_by_global(features))
  assert not np.any(reranked[:, :3] == 5)

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global, rerank_by_global
from l2g_jax.runtime import arrays


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


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_norms_are_of_no_account(kind):
  features = make_features(3)
  rng = np.random.default_rng(3)
  lengths = 10.0 ** rng.uniform(-1, 1, (30, 1))
  scaled = GlobalFeatures(
    (7.0 * features.queries).astype(kind), (lengths * features.database).astype(kind)
  )
  cosines = features.queries.astype(np.float64) @ features.database.T.astype(np.float64)
  rankings = rank_by_global(scaled)
  found = np.take_along_axis(cosines, rankings, axis=1)
  assert np.all(np.diff(found, axis=1) <= (5e-3 if kind == np.float16 else 1e-6))
  if kind != np.float16:
    expected = rerank_by_global(features, rank_by_global(features))
    np.testing.assert_array_equal(rerank_by_global(scaled, rankings), expected)


def test_a_long_vector_of_another_direction_does_not_come_first():
  # Cosines of 0.95 and 0.10, inner products the other way round.
  database = np.array([[10.0, 99.5], [0.95, 0.3122]], np.float32)
  features = GlobalFeatures(np.array([[1.0, 0.0]], np.float32), database)
  rankings = rank_by_global(features)
  assert rankings.tolist() == [[1, 0]]
  assert rerank_by_global(features, rankings).tolist() == [[1, 0]]


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_norms_may_be_as_extreme_as_the_type_has_them(unit):
  features = make_features(4)
  scaled = GlobalFeatures(features.queries, features.database * np.float32(unit))
  np.testing.assert_array_equal(rank_by_global(scaled), rank_by_global(features))


def test_parts_of_a_mapped_database_change_nothing(monkeypatch, tmp_path):
  features = make_features(5, num_images=50)
  features.database[7] = 0.0
  expected = rank_by_global(features)
  np.save(tmp_path / "database.npy", features.database)
  mapped = np.load(tmp_path / "database.npy", mmap_mode="r")
  monkeypatch.setattr(arrays, "_VALUES_AT_A_TIME", 8 * 7)
  given = GlobalFeatures(features.queries, mapped)
  np.testing.assert_array_equal(rank_by_global(given), expected)
  np.testing.assert_array_equal(
    rerank_by_global(given, expected), rerank_by_global(features, expected)
  )


def test_re_ranking_reads_the_rows_of_the_heads_alone():
  features = make_features(6)
  rankings = rank_by_global(features)
  expected = rerank_by_global(features, rankings, num_reranked=4)
  others = np.setdiff1d(np.arange(30), rankings[:, :4])
  assert len(others)
  # Another row would end the call.
  features.database[others] = np.nan
  result = rerank_by_global(features, rankings, num_reranked=4)
  np.testing.assert_array_equal(result, expected)


def test_a_batch_equals_single_queries():
  features = make_features(7, num_queries=19)
  rankings = rank_by_global(features)
  batch = rerank_by_global(features, rankings)
  for row in range(19):
    one = GlobalFeatures(features.queries[row : row + 1], features.database)
    np.testing.assert_array_equal(rerank_by_global(one, rankings[row : row + 1])[0], batch[row])


def test_what_does_not_fit_is_refused():
  features = make_features(8)
  rankings = rank_by_global(features)
  narrow = GlobalFeatures(features.queries[:, :5], features.database)
  bad = GlobalFeatures(features.queries, features.database.copy())
  bad.database[3, 2] = np.inf
  for call, message in (
    (lambda: rank_by_global(narrow), r"must be \[Q, D\] and \[N, D\]"),
    (lambda: rerank_by_global(narrow, rankings), r"must be \[Q, D\] and \[N, D\]"),
    (lambda: rank_by_global(bad), "not finite"),
    (lambda: rerank_by_global(bad, rankings), "not finite"),
    (lambda: rerank_by_global(features, rankings + 1), r"outside 0 \.\. 29"),
    (lambda: rerank_by_global(features, rankings[:2]), r"must be \[3, k\]"),
    (lambda: rerank_by_global(features, rankings.astype(float)), "must be integers"),
    (lambda: rerank_by_global(features, rankings, num_reranked=0), "num_reranked must be"),
    (lambda: rerank_by_global(features, rankings, num_neighbors=-1), "num_neighbors must be"),
    (lambda: rerank_by_global(features, rankings, beta=np.nan), "beta must be"),
  ):
    with pytest.raises(InputError, match=message):
      call()

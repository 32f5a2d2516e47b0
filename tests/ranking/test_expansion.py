import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import graph
from l2g_jax.ranking.expansion import augment_database, expand_queries, expand_similarities
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.ranking.neighbors import candidates_by_global, neighbors_by_global
from tests.problems import dense, renumbered, some_graph, unit_rows

N = 40


def make_features(seed):
  rows = unit_rows(np.random.default_rng(seed), 5 + N, 8)
  return GlobalFeatures(rows[:5], rows[5:])


def average_by_hand(rows, database, ids, alpha):
  """Averages every row and its nearest by a loop, in double precision."""
  rows, database = rows.astype(np.float64), database.astype(np.float64)
  averages = rows.copy()
  for row, nearest in enumerate(ids):
    for image in nearest[nearest >= 0]:
      cosine = rows[row] @ database[image]
      if cosine > 0.0:
        averages[row] += cosine**alpha * database[image]
  return averages / np.linalg.norm(averages, axis=1, keepdims=True)


def expanded_by_hand(candidates, lists, *, num_neighbors, num_augmented, alpha, scale):
  """The two formulas by loops over images."""
  own = np.minimum(dense(candidates, N) / scale, 1.0)
  known = np.minimum(dense(lists, N) / scale, 1.0) + np.eye(N)
  expanded = own.copy()
  for query, ids in enumerate(candidates.ids):
    weights = {j: own[query, j] ** alpha for j in ids[:num_neighbors] if own[query, j] > 0.0}
    for image in range(N):
      expanded[query, image] += sum(w * known[j, image] for j, w in weights.items())
    expanded[query] /= 1.0 + sum(weights.values())
  augmented = expanded.copy()
  for image, ids in enumerate(lists.ids):
    near = [j for j in ids[:num_augmented] if j >= 0]
    weights = {j: known[image, j] ** alpha for j in near}
    augmented[:, image] += sum(w * expanded[:, j] for j, w in weights.items())
    augmented[:, image] /= 1.0 + sum(weights.values())
  return augmented


@pytest.mark.parametrize(("num_neighbors", "alpha"), [(4, 3.0), (4, 0.0), (N, 0.5)])
def test_averages_of_vectors_equal_a_loop(num_neighbors, alpha):
  features = make_features(0)
  rankings = rank_by_global(features)
  scaled = GlobalFeatures(7.0 * features.queries, 0.1 * features.database)
  averages = expand_queries(scaled, rankings, num_neighbors=num_neighbors, alpha=alpha)
  expected = average_by_hand(
    features.queries, features.database, rankings[:, :num_neighbors], alpha
  )
  np.testing.assert_allclose(averages, expected, atol=1e-6)
  # Lists of images of a cosine above 0 are shorter than 30: they are padded.
  near = neighbors_by_global(features.database, num_neighbors=30)
  augmented = augment_database(scaled.database, near, num_neighbors=num_neighbors, alpha=alpha)
  expected = average_by_hand(
    features.database, features.database, near.ids[:, :num_neighbors], alpha
  )
  np.testing.assert_allclose(augmented, expected, atol=1e-6)


def test_no_neighbours_leave_vectors_as_they_are():
  features = make_features(1)
  features.queries[2] = 0.0
  rankings = rank_by_global(features)
  averages = expand_queries(features, rankings, num_neighbors=0)
  np.testing.assert_allclose(averages, features.queries, atol=1e-6)
  # A query without a feature has no best images either.
  averages = expand_queries(features, rankings, alpha=0.0)
  np.testing.assert_array_equal(averages[2], 0.0)
  np.testing.assert_allclose(np.linalg.norm(averages[[0, 1, 3, 4]], axis=1), 1.0, rtol=1e-6)


@pytest.mark.fast
def test_by_hand():
  lists = Ranked(
    np.array([[1, 3], [2, -1], [-1, -1], [0, -1]]),
    np.array([[0.1, 0.2], [0.1, 0.0], [0.0, 0.0], [0.2, 0.0]], np.float32),
  )
  candidates = Ranked(np.array([[0, 1]]), np.array([[0.2, 0.1]], np.float32))
  given = {"num_neighbors": 1, "alpha": 2.0}
  # In units of 0.2 the best candidate, 0, has weight 1, and its list 1, 0.5, 0, 1.
  scores = expand_similarities(candidates, lists, **given)
  np.testing.assert_allclose(scores, [[1.0, 0.5, 0.0, 0.5]], rtol=1e-6)
  # The neighbours of image 0 weigh 0.25 and 1, that of 1 weighs 0.25, that of 3 weighs 1.
  scores = expand_similarities(candidates, lists, num_augmented=2, **given)
  expected = [[(1 + 0.125 + 0.5) / 2.25, 0.5 / 1.25, 0.0, 1.5 / 2]]
  np.testing.assert_allclose(scores, expected, rtol=1e-6)
  rankings = graph.rank_by_scores(candidates, scores)
  assert rankings.tolist() == [[3, 0, 1, 2]]


@pytest.mark.parametrize(
  ("num_neighbors", "num_augmented", "alpha"),
  [(0, 0, 3.0), (4, 3, 0.0), (4, 3, 3.0), (99, 99, 0.5)],
)
def test_expanded_similarities_equal_a_loop(num_neighbors, num_augmented, alpha):
  candidates, lists = some_graph(2)
  numbers = {
    "num_neighbors": num_neighbors,
    "num_augmented": num_augmented,
    "alpha": alpha,
    "scale": 0.15,
  }
  assert np.any(lists.similarities > 0.15)
  scores = expand_similarities(candidates, lists, **numbers)
  expected = expanded_by_hand(candidates, lists, **numbers)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)
  assert np.all((scores >= 0.0) & (scores <= 1.0 + 1e-6))


def test_with_all_similarities_known_it_is_the_expansion_of_vectors():
  features = make_features(3)
  # Cosines are above 0.
  features = GlobalFeatures(np.abs(features.queries), np.abs(features.database))
  found = candidates_by_global(features, num_candidates=N)
  lists = neighbors_by_global(features.database, num_neighbors=N - 1)
  assert np.all(found.ids >= 0)
  assert np.all(lists.ids >= 0)
  scores = expand_similarities(found, lists, num_neighbors=4, scale=1.0)
  averages = expand_queries(features, found.ids, num_neighbors=4)
  cosines = averages @ features.database.T
  # Averages of vectors are normalised.
  ratios = scores / cosines
  np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1], ratios.shape), rtol=1e-5)


def test_the_unit_of_the_lists_does_not_matter():
  candidates, lists = some_graph(4)
  larger = [Ranked(ranked.ids, 512.0 * ranked.similarities) for ranked in (candidates, lists)]
  np.testing.assert_array_equal(
    expand_similarities(*larger, num_neighbors=4, num_augmented=3),
    expand_similarities(candidates, lists, num_neighbors=4, num_augmented=3),
  )


def test_a_batch_equals_single_queries(monkeypatch):
  candidates, lists = some_graph(5)
  features = make_features(5)
  rankings = rank_by_global(features)
  expected = expand_similarities(candidates, lists, num_neighbors=4, num_augmented=3)
  averages = expand_queries(features, rankings, num_neighbors=4)
  # Two queries, and four averages, fit a block.
  monkeypatch.setattr(graph, "_VALUES_AT_A_TIME", 160)
  scores = expand_similarities(candidates, lists, num_neighbors=4, num_augmented=3)
  np.testing.assert_array_equal(scores, expected)
  np.testing.assert_allclose(
    expand_queries(features, rankings, num_neighbors=4), averages, atol=1e-6
  )


def test_scores_follow_the_numbers_of_the_images():
  candidates, lists = some_graph(6)
  numbers = np.random.default_rng(6).permutation(N)
  other = expand_similarities(
    renumbered(candidates, numbers),
    renumbered(lists, numbers, rows=np.argsort(numbers)),
    num_neighbors=4,
    num_augmented=3,
  )
  scores = expand_similarities(candidates, lists, num_neighbors=4, num_augmented=3)
  np.testing.assert_allclose(other[:, numbers], scores, rtol=1e-6)


def test_what_does_not_fit_is_refused():
  features, (candidates, lists) = make_features(7), some_graph(7)
  rankings = rank_by_global(features)
  for call, message in (
    (lambda: expand_queries(features, rankings, alpha=-1.0), "alpha must be"),
    (lambda: expand_queries(features, rankings, num_neighbors=-1), "num_neighbors must be"),
    (lambda: expand_queries(features, rankings + 1), r"outside 0 \.\. 39"),
    (lambda: augment_database(features.database[0], lists), "must be"),
    (lambda: augment_database(features.database[:9], lists), r"\[9, k\]"),
    (lambda: augment_database(features.database * np.nan, lists), "not finite"),
    (lambda: expand_similarities(candidates, lists, alpha=np.nan), "alpha must be"),
    (lambda: expand_similarities(candidates, lists, num_neighbors=-1), "num_neighbors must be"),
    (lambda: expand_similarities(candidates, lists, num_augmented=-1), "num_augmented must be"),
    (lambda: expand_similarities(candidates, lists, scale=0.0), "scale must be"),
    (lambda: expand_similarities(lists, candidates), r"outside -1 \.\. 4"),
  ):
    with pytest.raises(InputError, match=message):
      call()

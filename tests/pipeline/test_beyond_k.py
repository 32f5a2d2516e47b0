"""Images beyond those that are embedded are re-ranked by their global feature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.embedding import mds
from l2g_jax.pipeline.collection import place_collection
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.runtime import sharding
from tests.pipeline.problems import (
  CONFIG,
  NUM_IMAGES,
  NUM_QUERIES,
  WIDTH,
  check_same,
  only,
  rank,
  some_collection,
)
from tests.problems import counted_compilations, rerank_by_hand

# Candidates that are handed in; some tests have fewer images.
SIZE = 12
NUM_EMBEDDED, NUM_RERANKED = 5, 9
BEYOND = dataclasses.replace(
  CONFIG, num_embedded=NUM_EMBEDDED, num_reranked=NUM_RERANKED, certainty_ratio=1.5
)
POINTS = np.random.default_rng(0).standard_normal((NUM_IMAGES + 5, WIDTH)).astype(np.float32)


@pytest.fixture
def sizes(monkeypatch):
  """Gives every query the same embedding; lists how many points were embedded."""
  embedded = []
  solve = mds.smacof

  def solved(values, **settings):
    embedded.append(len(values))
    return dataclasses.replace(
      solve(values, **settings), embedding=jnp.asarray(POINTS[: len(values)])
    )

  monkeypatch.setattr(mds, "smacof", solved)
  # A program traced before would not see the change.
  jax.clear_caches()
  yield embedded
  jax.clear_caches()


def unit(vector):
  norm = np.linalg.norm(vector)
  return vector / norm if norm else vector


def fused_by_hand(points, features, weight, fusion):
  """Fuses two vectors of each point, of which the first, or both, may be zero."""
  left = [unit(point.astype(np.float64)) for point in points]
  right = [unit(feature.astype(np.float64)) for feature in features]
  if fusion == "concat":
    pairs = zip(left, right, strict=True)
    return [np.append(weight**0.5 * x, (1 - weight) ** 0.5 * g) for x, g in pairs]
  u, _, vt = np.linalg.svd(np.transpose(left) @ np.array(right))
  return [unit(weight * x @ u @ vt + (1 - weight) * g) for x, g in zip(left, right, strict=True)]


def certainty_by_hand(similarities, ratio, num_embedded):
  reached = [value for value in similarities[:num_embedded] if value > 0.0]
  worse = reached[len(reached) // 2 :]
  background = sum(worse) / max(len(worse), 1)
  return [
    max(0.0, 1.0 - ratio * background / value) if value > 0.0 else 0.0 for value in similarities
  ]


def ranked_by_hand(ids, similarities, query, database, weight, config):
  """The whole of the re-ranking of one query whose points are `POINTS`, by the definition.

  Returns:
    The scores of the candidates, and the ranking of the collection.
  """
  size = len(ids)
  num_embedded = min(config.num_embedded, size)
  num_reranked = min(config.num_reranked, size)
  points = [
    POINTS[column] if column <= num_embedded else np.zeros(WIDTH) for column in range(size + 1)
  ]
  features = [query, *(database[image] if image >= 0 else 0.0 * query for image in ids)]
  fused = fused_by_hand(points, features, weight, config.fusion)
  reranked = [
    column
    for column in range(num_reranked)
    if ids[column] >= 0 and (column < num_embedded or np.any(fused[column + 1]))
  ]
  vectors = np.array([fused[column + 1] for column in reranked])
  num_mean = WIDTH if config.fusion == "concat" else 0
  values = rerank_by_hand(fused[0], vectors, config.num_neighbors, config.beta, num_mean=num_mean)
  certainty = certainty_by_hand(similarities, config.certainty_ratio, num_embedded)
  scores = similarities.astype(np.float64)
  for column, value in zip(reranked, values, strict=True):
    scores[column] = value + certainty[column]
  first = sorted(reranked, key=lambda column: -scores[column])
  behind = [column for column in range(size) if column not in reranked and ids[column] >= 0]
  ranking = [int(ids[column]) for column in first + behind]
  ranking += [image for image in range(len(database)) if image not in ranking]
  return scores, ranking


def with_gaps(seed, size=SIZE, *, num_present=7):
  """A collection in which queries and images lack features, and a query has fewer candidates."""
  candidates, lists, features = some_collection(seed, size)
  # Beyond the embedded: the second image of these has no global feature.
  features.database[candidates.ids[0, [2, 6]]] = 0.0
  features.queries[1] = 0.0
  candidates.ids[2, num_present:], candidates.similarities[2, num_present:] = -1, 0.0
  return candidates, lists, features


def check_by_hand(arguments, results, weights, config):
  candidates, _, features = arguments
  for weight, result in zip(weights, results, strict=True):
    for row in range(len(candidates.ids)):
      scores, ranking = ranked_by_hand(
        candidates.ids[row],
        candidates.similarities[row],
        features.queries[row],
        features.database,
        weight,
        config,
      )
      np.testing.assert_allclose(result.scores[row], scores, atol=2e-5)
      np.testing.assert_array_equal(result.rankings[row], ranking)


@pytest.mark.parametrize(
  ("num_embedded", "num_reranked", "size"),
  [
    (5, 3, SIZE),
    (5, 9, SIZE),
    (1, 40, NUM_IMAGES + 4),
    (40, 60, NUM_IMAGES + 4),
  ],
)
def test_the_whole_equals_a_loop(num_embedded, num_reranked, size, sizes):
  arguments = with_gaps(0, size)
  config = dataclasses.replace(BEYOND, num_embedded=num_embedded, num_reranked=num_reranked)
  weights = (0.1, 0.5, 0.9, 1.0)
  results = rank(*arguments, config=config, weights=weights, mesh=sharding.make_mesh(1))
  # The points of the embedding are never more.
  assert set(sizes) == {min(num_embedded, size) + 1}
  check_by_hand(arguments, results, weights, config)


@pytest.mark.parametrize("num_reranked", [7, SIZE])
def test_the_whole_of_a_sum_equals_a_loop(num_reranked, sizes):
  # Enough points to turn an embedding one way alone.
  arguments = with_gaps(0, num_present=11)
  config = dataclasses.replace(BEYOND, num_embedded=10, num_reranked=num_reranked, fusion="sum")
  weights = (0.1, 0.5, 1.0)
  results = rank(*arguments, config=config, weights=weights, mesh=sharding.make_mesh(1))
  assert set(sizes) == {11}
  check_by_hand(arguments, results, weights, config)


def test_every_query_at_once_equals_a_loop(sizes, monkeypatch):
  """Accelerators take the queries of a block at once, where a CPU takes one after another."""
  monkeypatch.setattr(jax.lax, "platform_dependent", lambda share, *, cpu, default: default(share))
  arguments = with_gaps(1)
  results = rank(*arguments, config=BEYOND, weights=(0.3,), mesh=sharding.make_mesh(1))
  assert sizes
  check_by_hand(arguments, results, (0.3,), BEYOND)


@pytest.mark.parametrize(
  ("num_devices", "block_bytes", "resident"), [(8, 1, True), (3, 1 << 29, False)]
)
def test_devices_and_blocks_change_nothing(num_devices, block_bytes, resident):
  candidates, lists, features = only(with_gaps(2), np.arange(13) % NUM_QUERIES)
  l2g = L2G(config=BEYOND, block_bytes=block_bytes)

  def ranked(num_devices, resident):
    mesh = sharding.make_mesh(num_devices)
    placed = place_collection(lists, features.database, mesh=mesh, resident=resident)
    return l2g.rank(placed, candidates, features.queries, weights=(0.19, 0.9))

  check_same(ranked(num_devices, resident), ranked(1, True))


def test_what_is_embedded_does_not_depend_on_what_is_not():
  candidates, lists, features = some_collection(3, SIZE)
  few = Ranked(candidates.ids[:, :NUM_EMBEDDED], candidates.similarities[:, :NUM_EMBEDDED])
  (alone,) = rank(few, lists, features, config=CONFIG, weights=(1.0,))
  config = dataclasses.replace(BEYOND, certainty_ratio=CONFIG.certainty_ratio)
  (among,) = rank(candidates, lists, features, config=config, weights=(1.0,))
  np.testing.assert_allclose(among.scores[:, :NUM_EMBEDDED], alone.scores, atol=1e-5)
  for field in dataclasses.fields(alone.diagnostics):
    one, other = (getattr(each.diagnostics, field.name) for each in (alone, among))
    np.testing.assert_allclose(one, other, atol=1e-5)
  # At w = 1 nothing is known of the others.
  np.testing.assert_array_equal(
    among.scores[:, NUM_EMBEDDED:], candidates.similarities[:, NUM_EMBEDDED:]
  )
  np.testing.assert_array_equal(
    among.rankings[:, NUM_EMBEDDED:SIZE], candidates.ids[:, NUM_EMBEDDED:]
  )


def test_a_good_global_feature_brings_an_image_to_the_front():
  candidates, lists, features = only(some_collection(4, SIZE), [0])
  last = candidates.ids[0, NUM_RERANKED - 1]
  features.database[last] = features.queries[0]
  config = dataclasses.replace(BEYOND, num_neighbors=0, certainty_ratio=np.inf)
  (result,) = rank(candidates, lists, features, config=config, weights=(0.01,))
  assert result.rankings[0, 0] == last
  # It lies beyond M of a shorter head, and stays where it was.
  config = dataclasses.replace(config, num_reranked=NUM_RERANKED - 1)
  (shorter,) = rank(candidates, lists, features, config=config, weights=(0.01,))
  assert shorter.rankings[0, NUM_RERANKED - 1] == last


def test_without_global_features_the_order_of_the_search_stands_behind():
  candidates, lists, features = some_collection(5, SIZE)
  none = GlobalFeatures(np.zeros_like(features.queries), np.zeros_like(features.database))
  for result in rank(candidates, lists, none, config=BEYOND, weights=(0.19, 0.9)):
    embedded = np.sort(candidates.ids[:, :NUM_EMBEDDED], axis=1)
    np.testing.assert_array_equal(np.sort(result.rankings[:, :NUM_EMBEDDED], axis=1), embedded)
    assert not np.array_equal(result.rankings[:, :NUM_EMBEDDED], candidates.ids[:, :NUM_EMBEDDED])
    behind = slice(NUM_EMBEDDED, SIZE)
    np.testing.assert_array_equal(result.rankings[:, behind], candidates.ids[:, behind])


def test_without_a_known_pair_the_search_order_stands():
  candidates, lists, features = with_gaps(6)
  lists.ids[:], lists.similarities[:] = -1, 0.0
  candidates.similarities[:] = 0.0
  (result,) = rank(candidates, lists, features, config=BEYOND, weights=(0.19,))
  np.testing.assert_array_equal(result.diagnostics.num_known, 0)
  expected = complete_rankings(candidates.ids, None, NUM_IMAGES)
  np.testing.assert_array_equal(result.rankings, expected)


def test_ties_keep_the_order_of_the_search():
  candidates, lists, features = some_collection(7, SIZE)
  features = GlobalFeatures(np.ones_like(features.queries), np.ones_like(features.database))
  (result,) = rank(candidates, lists, features, config=BEYOND, weights=(0.5,))
  for row, ids in enumerate(candidates.ids):
    beyond = ids[NUM_EMBEDDED:NUM_RERANKED]
    assert len(np.unique(result.scores[row, NUM_EMBEDDED:NUM_RERANKED])) == 1
    ranking = result.rankings[row]
    np.testing.assert_array_equal(ranking[np.isin(ranking, beyond)], beyond)


def test_only_the_embedded_need_lists():
  arguments = some_collection(8, SIZE)
  candidates, lists, features = arguments
  expected = rank(*arguments, config=BEYOND)
  for row in range(NUM_QUERIES):
    beyond = candidates.ids[row, NUM_EMBEDDED:]
    ids, similarities = lists.ids.copy(), lists.similarities.copy()
    ids[beyond], similarities[beyond] = -1, 0.0
    one = only((candidates, Ranked(ids, similarities), features), [row])
    for result, other in zip(rank(*one, config=BEYOND), expected, strict=True):
      np.testing.assert_array_equal(result.scores[0], other.scores[row])


def test_more_queries_and_other_numbers_compile_nothing():
  mesh = sharding.make_mesh(1)
  rank(*some_collection(9, SIZE), config=BEYOND, mesh=mesh)
  longer = dataclasses.replace(BEYOND, num_known=2, certainty_ratio=np.inf, beta=0.1)
  with counted_compilations() as compilations:
    rank(*some_collection(10, SIZE), config=BEYOND, mesh=mesh)
    rank(*some_collection(11, SIZE), config=longer, mesh=mesh)
  assert not compilations


def test_as_many_as_there_are_is_all():
  exact = L2GConfig(num_embedded=SIZE, num_reranked=SIZE)
  for config in (L2GConfig(), L2GConfig(num_embedded=700, num_reranked=1600)):
    assert config.choices(SIZE) == exact.choices(SIZE)

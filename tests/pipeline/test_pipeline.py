import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.embedding import mds
from l2g_jax.errors import InputError
from l2g_jax.pipeline import l2g as pipeline
from l2g_jax.pipeline.block import Queries, rerank_block
from l2g_jax.pipeline.collection import Tables
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.certainty import match_certainty
from l2g_jax.ranking.fusion import fuse, normalize
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.rerank import superglobal_rerank
from l2g_jax.runtime import sharding
from tests.pipeline.problems import (
  CONFIG,
  LENGTH,
  NUM_IMAGES,
  NUM_QUERIES,
  SIZE,
  WEIGHTS,
  WIDTH,
  only,
  rank,
  ranked,
  some_collection,
)
from tests.problems import equations_of, rerank_by_hand

# Blocks of one query, of two of which the last is half padding, and of all.
BLOCK_BYTES = (1, 130_000, 1 << 29)


def search_order(candidates):
  return complete_rankings(candidates.ids, None, NUM_IMAGES)


def check_sound(results):
  for result in results:
    order = np.sort(result.rankings, axis=1)
    np.testing.assert_array_equal(order, np.tile(np.arange(NUM_IMAGES), (len(order), 1)))
    assert np.all(np.isfinite(result.scores))
    diagnostics = result.diagnostics
    assert np.all(np.isfinite(diagnostics.normalized_stress))
    assert np.all(diagnostics.num_iterations <= CONFIG.max_iterations)


def check_equal(results, others):
  for result, other in zip(results, others, strict=True):
    np.testing.assert_allclose(result.scores, other.scores, atol=1e-4)
    np.testing.assert_array_equal(result.rankings, other.rankings)


@pytest.mark.fast
def test_scores_order_the_candidates_and_the_rest_follows_by_id():
  candidates, lists, features = some_collection(0)
  results = rank(candidates, lists, features)
  check_sound(results)
  for result in results:
    assert result.rankings.dtype == np.int32
    assert result.scores.shape == (NUM_QUERIES, SIZE)
    for row, ranking in enumerate(result.rankings):
      best = np.argsort(-result.scores[row], kind="stable")
      np.testing.assert_array_equal(ranking[:SIZE], candidates.ids[row, best])
      np.testing.assert_array_equal(ranking[SIZE:], np.sort(ranking[SIZE:]))
  assert not np.array_equal(results[0].rankings, results[2].rankings)


def test_weight_0_is_the_re_ranking_by_the_global_feature():
  candidates, lists, features = some_collection(1)
  config = dataclasses.replace(CONFIG, certainty_ratio=np.inf)
  result = L2G(weight=0.0, config=config)(candidates, lists, features)
  rerank = jax.jit(superglobal_rerank, static_argnames=("num_neighbors", "beta"))
  queries = normalize(features.queries)
  for row, ids in enumerate(candidates.ids):
    shortlist = normalize(features.database[ids])
    expected = rerank(queries[row], shortlist, num_neighbors=3, beta=CONFIG.beta)
    np.testing.assert_allclose(result.scores[row], expected, atol=1e-5)


def test_weight_1_does_not_look_at_the_global_feature():
  candidates, lists, features = some_collection(2)
  other = GlobalFeatures(features.queries[::-1].copy(), features.database[::-1].copy())
  weights = [1.0, 0.19]
  results = rank(candidates, lists, features, weights=weights, config=CONFIG)
  others = rank(candidates, lists, other, weights=weights, config=CONFIG)
  check_equal(results[:1], others[:1])
  assert not np.allclose(results[1].scores, others[1].scores, atol=1e-3)


def test_certainty_of_the_search_is_added():
  candidates, lists, features = some_collection(3)
  plain = dataclasses.replace(CONFIG, certainty_ratio=np.inf)
  certain = dataclasses.replace(CONFIG, certainty_ratio=2.0)
  scores = L2G(config=plain)(candidates, lists, features).scores
  added = L2G(config=certain)(candidates, lists, features).scores - scores
  expected = [match_certainty(row, ratio=2.0) for row in candidates.similarities]
  np.testing.assert_allclose(added, expected, atol=1e-5)
  assert np.max(expected) > 0.1


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_order_does_not_depend_on_the_axes_of_the_embedding(fusion, monkeypatch):
  arguments = some_collection(4)
  config = dataclasses.replace(CONFIG, fusion=fusion)
  expected = rank(*arguments, weights=[0.4, 1.0], config=config)
  solve = mds.smacof
  # A program traced before would not see the change.
  jax.clear_caches()
  random = np.random.default_rng(0).standard_normal((WIDTH, WIDTH))
  rotation = np.linalg.qr(random)[0].astype(np.float32)

  def turned(*arrays, **settings):
    result = solve(*arrays, **settings)
    embedding = jnp.matmul(result.embedding, rotation, precision="highest")
    return dataclasses.replace(result, embedding=embedding)

  monkeypatch.setattr(mds, "smacof", turned)
  check_equal(rank(*arguments, weights=[0.4, 1.0], config=config), expected)
  jax.clear_caches()


def test_without_a_known_pair_the_search_order_stands():
  candidates, lists, features = some_collection(5)
  # Images that the search found at a similarity of nothing, and lists that hold none of them.
  candidates.similarities[:] = 0.0
  lists.ids[:], lists.similarities[:] = -1, 0.0
  result = L2G(config=CONFIG)(candidates, lists, features)
  np.testing.assert_array_equal(result.diagnostics.num_known, 0)
  np.testing.assert_array_equal(result.scores, candidates.similarities)
  np.testing.assert_array_equal(result.rankings, search_order(candidates))


def test_a_query_without_candidates_ranks_by_id_and_disturbs_no_other():
  arguments = some_collection(6)
  expected = rank(*arguments)
  candidates, lists, features = arguments
  candidates.ids[1], candidates.similarities[1] = -1, 0.0
  results = rank(candidates, lists, features)
  check_sound(results)
  for result, other in zip(results, expected, strict=True):
    np.testing.assert_array_equal(result.rankings[1], np.arange(NUM_IMAGES))
    np.testing.assert_array_equal(result.rankings[[0, 2]], other.rankings[[0, 2]])
    np.testing.assert_array_equal(result.diagnostics.num_known[1], 0)


def test_shortlists_longer_than_the_collection_are_padded():
  arguments = some_collection(7, size=NUM_IMAGES + 4)
  np.testing.assert_array_equal(arguments[0].ids[:, NUM_IMAGES:], -1)
  exact = some_collection(7, size=NUM_IMAGES)
  results = rank(*arguments)
  check_sound(results)
  for result, other in zip(results, rank(*exact), strict=True):
    np.testing.assert_allclose(result.scores[:, :NUM_IMAGES], other.scores, atol=1e-3)
    np.testing.assert_array_equal(result.scores[:, NUM_IMAGES:], 0.0)


def test_duplicates_score_alike():
  similarities = np.full((NUM_IMAGES, NUM_IMAGES), 0.2) + 0.01 * np.arange(NUM_IMAGES)
  similarities = (similarities + similarities.T) / 2
  similarities[1], similarities[:, 1] = similarities[0], similarities[:, 0]
  similarities[0, 1] = similarities[1, 0] = 1.0
  queries = np.tile(np.linspace(1.0, 0.1, NUM_IMAGES), (NUM_QUERIES, 1))
  queries[:, 1] = queries[:, 0]
  features = np.random.default_rng(8).standard_normal((NUM_IMAGES, WIDTH)).astype(np.float32)
  features[1] = features[0]
  results = rank(
    ranked(queries, SIZE),
    ranked(similarities - 9.0 * np.eye(NUM_IMAGES), LENGTH),
    GlobalFeatures(features[2 : 2 + NUM_QUERIES], features),
  )
  check_sound(results)
  for result in results:
    np.testing.assert_allclose(result.scores[:, 0], result.scores[:, 1], atol=1e-2)


def test_images_and_queries_without_features_never_give_nan():
  candidates, lists, features = some_collection(9)
  image, last = candidates.ids[0, 2], candidates.ids[0, -1]
  lists.ids[image], lists.similarities[image] = -1, 0.0
  candidates.similarities[0, -1] = 0.0
  features.database[[image, last]] = 0.0
  features.queries[1] = 0.0
  candidates.similarities[2] = 0.0
  check_sound(rank(candidates, lists, features))


def test_norms_of_the_global_features_are_of_no_account():
  candidates, lists, features = some_collection(10)
  scaled = GlobalFeatures(
    features.queries * np.float32(7.0),
    features.database * np.linspace(0.1, 9.0, NUM_IMAGES, dtype=np.float32)[:, None],
  )
  results = rank(candidates, lists, features)
  check_equal(rank(candidates, lists, scaled), results)


def test_a_batch_equals_single_queries():
  arguments = some_collection(11)
  results = rank(*arguments)
  for row in range(NUM_QUERIES):
    singles = rank(*only(arguments, [row]))
    for result, single in zip(results, singles, strict=True):
      np.testing.assert_allclose(result.scores[row], single.scores[0], atol=1e-4)
      np.testing.assert_array_equal(result.rankings[row], single.rankings[0])
      for field in dataclasses.fields(pipeline.Diagnostics):
        many, one = (getattr(each.diagnostics, field.name) for each in (result, single))
        np.testing.assert_allclose(many[row], one[0], atol=1e-4)


def test_blocks_change_nothing():
  arguments = some_collection(12)
  solve = functools.partial(rank, mesh=sharding.make_mesh(1))
  results = [solve(*arguments, block_bytes=block_bytes) for block_bytes in BLOCK_BYTES]
  for other in results[:2]:
    check_equal(other, results[2])
    for field in dataclasses.fields(pipeline.Diagnostics):
      np.testing.assert_allclose(
        getattr(other[0].diagnostics, field.name),
        getattr(results[2][0].diagnostics, field.name),
        atol=1e-4,
      )


def test_several_weights_equal_separate_calls():
  arguments = some_collection(13)
  results = rank(*arguments)
  separate = [L2G(weight=weight, config=CONFIG)(*arguments) for weight in WEIGHTS]
  check_equal(results, separate)


@pytest.mark.parametrize("num_reranked", [4, SIZE + 2])
def test_only_the_head_is_re_ranked(num_reranked):
  candidates, lists, features = some_collection(14)
  config = dataclasses.replace(CONFIG, num_reranked=num_reranked)
  result = L2G(config=config)(candidates, lists, features)
  check_sound([result])
  head = min(num_reranked, SIZE)
  np.testing.assert_array_equal(result.scores[:, head:], candidates.similarities[:, head:])
  np.testing.assert_array_equal(result.rankings[:, head:], search_order(candidates)[:, head:])
  assert not np.array_equal(result.rankings[:, :head], candidates.ids[:, :head])
  if head == SIZE:
    check_equal([result], [L2G(config=CONFIG)(candidates, lists, features)])


def test_same_arguments_give_the_same_bits():
  arguments = some_collection(15)
  first, second = (L2G(config=CONFIG)(*arguments) for _ in range(2))
  np.testing.assert_array_equal(first.scores, second.scores)


def spoiled(what, field, place, value):
  arguments: list[Any] = list(some_collection(16))
  array = getattr(arguments[what], field).copy()
  array[place] = value
  arguments[what] = dataclasses.replace(arguments[what], **{field: array})
  return arguments


@pytest.mark.parametrize(
  ("what", "field", "place", "value", "message"),
  [
    (0, "ids", (1, 2), NUM_IMAGES, "candidates hold an id outside -1 .. 13"),
    (0, "ids", (1, 2), -2, "candidates hold an id outside"),
    (0, "ids", (1, slice(None)), 4, "candidates of query 1 hold an image twice"),
    (0, "similarities", (1, 2), np.nan, "candidates hold a similarity"),
    (0, "similarities", (1, 2), -0.1, "candidates hold a similarity"),
    (1, "ids", (1, 2), NUM_IMAGES, "neighbour lists hold an id outside"),
    (1, "similarities", (1, 2), np.inf, "neighbour lists hold a similarity"),
    (2, "queries", (1, 2), np.nan, "queries' global features .* not finite"),
    (2, "database", slice(None), np.inf, "database's global features .* not finite"),
  ],
)
@pytest.mark.fast
def test_bad_values_are_refused(what, field, place, value, message):
  with pytest.raises(InputError, match=message):
    L2G(config=CONFIG)(*spoiled(what, field, place, value))


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_a_weight_outside_the_unit_interval_is_refused(weight):
  with pytest.raises(InputError, match="must be between 0 and 1"):
    L2G(weight=weight, config=CONFIG)(*some_collection(16))


def test_shapes_that_do_not_fit_are_refused():
  candidates, lists, features = some_collection(17)
  fewer = GlobalFeatures(features.queries[:2], features.database)
  narrow = GlobalFeatures(features.queries[:, :3], features.database)
  shorter = Ranked(lists.ids[:-1], lists.similarities[:-1])
  ragged = Ranked(candidates.ids, candidates.similarities[:, :-1])
  floats = Ranked(candidates.ids.astype(np.float32), candidates.similarities)
  nothing = Ranked(candidates.ids[:, :0], candidates.similarities[:, :0])
  for arguments, message in (
    ((candidates, lists, fewer), r"candidates must be .* \[2, k\]"),
    ((candidates, lists, narrow), "Global features must be"),
    ((candidates, shorter, features), r"neighbour lists must be .* \[14, k\]"),
    ((ragged, lists, features), "candidates must be"),
    ((floats, lists, features), "candidates must be integers"),
    ((nothing, lists, features), "a query and a candidate at least"),
    (only((candidates, lists, features), []), "a query and a candidate at least"),
  ):
    with pytest.raises(InputError, match=message):
      L2G(config=CONFIG)(*arguments)


def test_an_empty_head_is_refused():
  with pytest.raises(InputError, match="num_reranked must be at least 1"):
    L2GConfig(num_reranked=0)


def test_no_weight_is_refused():
  with pytest.raises(InputError, match="a weight at least"):
    rank(*some_collection(16), weights=[], config=CONFIG)


@pytest.mark.parametrize("num_dimensions", [WIDTH - 1, WIDTH + 1])
def test_a_sum_with_features_of_other_dimensions_is_refused(num_dimensions):
  config = dataclasses.replace(CONFIG, fusion="sum", num_dimensions=num_dimensions)
  message = rf"choose `concat`, or num_dimensions = {WIDTH} .*, not {num_dimensions}\.$"
  with pytest.raises(InputError, match=message):
    L2G(config=config)(*some_collection(19))


def test_a_sum_is_re_ranked_by_its_cosines(monkeypatch):
  candidates, lists, features = some_collection(20)
  config = dataclasses.replace(CONFIG, fusion="sum", certainty_ratio=np.inf, beta=0.4)
  fixed = np.random.default_rng(20).standard_normal((SIZE + 1, WIDTH)).astype(np.float32)
  solve = mds.smacof

  def solved(*arrays, **settings):
    return dataclasses.replace(solve(*arrays, **settings), embedding=jnp.asarray(fixed))

  monkeypatch.setattr(mds, "smacof", solved)
  # A program traced before would not see the change.
  jax.clear_caches()
  result = L2G(weight=0.3, config=config)(candidates, lists, features)
  jax.clear_caches()
  for row, ids in enumerate(candidates.ids):
    rows = np.concatenate([features.queries[row : row + 1], features.database[ids]])
    fused = np.asarray(fuse(fixed, rows, weight=0.3, fusion="sum"))
    assert np.ptp(np.linalg.norm(fused, axis=1)) > 0.05
    fused = fused / np.linalg.norm(fused, axis=1, keepdims=True)
    expected = rerank_by_hand(fused[0], fused[1:], 3, 0.4)
    np.testing.assert_allclose(result.scores[row], expected, atol=1e-4)


def test_ties_keep_the_order_of_the_search():
  candidates, lists, features = some_collection(18)
  # Images that the search has reached and nothing else tells apart: all scores are equal.
  lists.similarities[:] = 0.0
  candidates.similarities[:] = 0.5
  features = GlobalFeatures(np.ones_like(features.queries), np.ones_like(features.database))
  config = dataclasses.replace(CONFIG, query_pairs="all", certainty_ratio=np.inf)
  result = L2G(weight=0.0, config=config)(candidates, lists, features)
  np.testing.assert_array_equal(result.rankings, search_order(candidates))


def sizes_of_intermediates(jaxpr):
  for equation in equations_of(jaxpr):
    yield from (math.prod(variable.aval.shape) for variable in equation.outvars)


def test_no_intermediate_has_an_entry_for_every_neighbour_and_dimension():
  num_queries, size, length, dimension, num_neighbors = 3, 60, 7, 96, 5
  config = L2GConfig(num_dimensions=8, num_neighbors=num_neighbors)
  block = functools.partial(
    rerank_block, mesh=sharding.make_mesh(1), id_bound=128, choices=config.choices(size)
  )

  def array(kind, *shape) -> Any:
    return jax.ShapeDtypeStruct(shape, kind)

  queries = Queries(
    ids=array(jnp.int32, num_queries, size),
    similarities=array(jnp.float32, num_queries, size),
    features=array(jnp.float32, num_queries, dimension),
  )
  near = Tables(
    list_ids=array(jnp.int32, num_queries, size, length),
    list_similarities=array(jnp.float32, num_queries, size, length),
    features=array(jnp.float32, num_queries, size, dimension),
  )
  traced = jax.make_jaxpr(block)(array(jnp.float32, 1), config.numbers(), queries, near)
  largest = max(sizes_of_intermediates(traced.jaxpr))
  # Points by dimensions, or points by points, of all queries; neighbours would make it 6-fold.
  assert largest >= num_queries * (size + 1) ** 2
  assert largest <= num_queries * (size + 1) * (dimension + config.num_dimensions)

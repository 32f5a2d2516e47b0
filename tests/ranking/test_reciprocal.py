import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import graph
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.ranking.reciprocal import (
  rank_by_reciprocal,
  reciprocal_scores,
  rerank_global_by_reciprocal,
)
from tests.problems import counted_compilations, some_graph, unit_rows

SIZE = 16
JITTED = jax.jit(reciprocal_scores, static_argnames="num_ordered")


def scores_by_hand(similarities, k1, k2, weight):
  """The method of the paper with Python's sets, in double precision."""
  size = len(similarities)
  similarities = similarities.astype(np.float64)

  def near(point, count):
    others = [
      (-similarities[point, other], other)
      for other in range(size)
      if other != point and similarities[point, other] > 0.0
    ]
    return [point, *(other for _, other in sorted(others)[:count])]

  def reciprocal(point, count):
    return {other for other in near(point, count) if point in near(other, count)}

  vectors = np.zeros((size, size))
  for point in range(size):
    members = reciprocal(point, k1)
    joined = set(members)
    for other in members:
      theirs = reciprocal(other, -(-k1 // 2))
      if 3 * len(members & theirs) >= 2 * len(theirs):
        joined |= theirs
    for other in joined:
      distance = 0.0 if other == point else 1.0 - similarities[point, other]
      vectors[point, other] = np.exp(-distance)
  averaged = np.array([vectors[near(point, k2 - 1)].mean(axis=0) for point in range(size)])
  scores = []
  for point in range(1, size):
    smaller = np.minimum(averaged[0], averaged[point]).sum()
    larger = np.maximum(averaged[0], averaged[point]).sum()
    distance = (1 - weight) * (1 - smaller / larger) + weight * (1 - similarities[0, point])
    scores.append(1.0 - distance)
  return np.array(scores)


def some_similarities(seed, *, size=SIZE, known=0.6):
  """Symmetric similarities with ties, of which some are unknown."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, size)
  values = np.where(labels[:, None] == labels, 0.6, 0.2) + rng.integers(0, 8, (size, size)) / 20
  values = np.triu(np.where(rng.random((size, size)) < known, values, 0.0), 1)
  return (values + values.T).astype(np.float32)


@pytest.mark.parametrize(
  ("k1", "k2", "weight"), [(3, 1, 0.3), (4, 3, 0.0), (5, 2, 0.3), (20, 6, 0.5)]
)
def test_equals_a_loop(k1, k2, weight):
  for seed in range(8):
    similarities = some_similarities(seed)
    scores = JITTED(similarities, k1=k1, k2=k2, weight=weight)
    np.testing.assert_allclose(scores, scores_by_hand(similarities, k1, k2, weight), atol=2e-6)


def test_a_batch_equals_single_problems():
  batch = np.stack([some_similarities(seed) for seed in range(3)])
  scores = jax.jit(jax.vmap(functools.partial(reciprocal_scores, k1=4, k2=2)))(batch)
  singles = [JITTED(problem, k1=4, k2=2, weight=0.3) for problem in batch]
  np.testing.assert_allclose(scores, singles, atol=1e-6)


@pytest.mark.fast
def test_by_hand():
  similarities = np.zeros((4, 4), np.float32)
  for i, j, value in ((0, 1, 0.5), (0, 2, 0.75), (0, 3, 0.25), (1, 3, 0.5)):
    similarities[i, j] = similarities[j, i] = value
  scores = JITTED(similarities, k1=3, k2=1, weight=0.0)
  e = np.exp
  query = [1.0, e(-0.5), e(-0.25), e(-0.75)]
  first = [e(-0.5), 1.0, 0.0, e(-0.5)]
  # Two thirds of R(query, 2), the query and candidates 0 and 1, lie in R(candidate 0, 3), and so 1
  # joins it, though their similarity is unknown.
  first[2] = e(-1.0)
  expected = np.minimum(query, first).sum() / np.maximum(query, first).sum()
  np.testing.assert_allclose(scores[0], expected, rtol=1e-5)


def test_numbers_are_not_compiled_for():
  similarities = some_similarities(4)
  expected = [scores_by_hand(similarities, *numbers) for numbers in ((3, 1, 0.2), (6, 4, 0.7))]
  JITTED(similarities, k1=2, k2=2, weight=0.5)
  with counted_compilations() as compilations:
    for (k1, k2, weight), scores in zip(((3, 1, 0.2), (6, 4, 0.7)), expected, strict=True):
      np.testing.assert_allclose(
        JITTED(similarities, k1=k1, k2=k2, weight=weight), scores, atol=2e-6
      )
  assert not compilations


def test_neighbours_beyond_those_that_count_need_no_order():
  similarities = some_similarities(5)
  expected = JITTED(similarities, k1=5, k2=3, weight=0.3)
  scores = JITTED(similarities, k1=5, k2=3, weight=0.3, num_ordered=6)
  np.testing.assert_array_equal(scores, expected)


def test_padding_changes_nothing():
  similarities = some_similarities(6)
  mask = np.arange(SIZE) < 11
  noise = some_similarities(7, known=1.0)
  padded = np.where(mask[:, None] & mask[None], similarities, noise)
  scores = np.asarray(JITTED(padded, mask=mask, k1=5, k2=3))
  expected = scores_by_hand(similarities[:11, :11], 5, 3, 0.3)
  np.testing.assert_allclose(scores[:10], expected, atol=2e-6)
  assert np.all(np.isneginf(scores[10:]))


def test_weight_1_leaves_the_similarities():
  similarities = some_similarities(8)
  np.testing.assert_allclose(
    JITTED(similarities, k1=5, k2=3, weight=1.0), similarities[0, 1:], atol=1e-6
  )


def test_scores_follow_a_permutation_of_the_candidates():
  rng = np.random.default_rng(9)
  similarities = np.triu(rng.random((SIZE, SIZE), dtype=np.float32), 1)
  similarities += similarities.T
  order = np.append(0, 1 + rng.permutation(SIZE - 1))
  scores = np.asarray(JITTED(similarities, k1=5, k2=3, weight=0.3))
  turned = JITTED(similarities[np.ix_(order, order)], k1=5, k2=3, weight=0.3)
  np.testing.assert_allclose(turned, scores[order[1:] - 1], atol=1e-6)


def matrix_by_hand(candidates, lists, row, count, scale):
  """The similarities of one query and its candidates: means of the directions that are stored."""
  ids = [image for image in candidates.ids[row][:count] if image >= 0]
  stored = [
    {int(j): min(float(s) / scale, 1.0) for j, s in zip(*part, strict=True) if j >= 0}
    for part in zip(*lists, strict=True)
  ]
  matrix = np.zeros((len(ids) + 1, len(ids) + 1), np.float32)
  for a, (i, own) in enumerate(zip(ids, candidates.similarities[row], strict=False)):
    matrix[0, a + 1] = matrix[a + 1, 0] = min(float(own) / scale, 1.0)
    for b, j in enumerate(ids):
      found = [s for s in (stored[i].get(int(j)), stored[j].get(int(i))) if s]
      matrix[a + 1, b + 1] = np.mean(found) if found and i != j else 0.0
  return ids, matrix


@pytest.mark.parametrize(("num_reranked", "scale"), [(None, None), (9, 0.15)])
def test_rankings_equal_a_loop_over_queries(monkeypatch, num_reranked, scale):
  candidates, lists = some_graph(10)
  assert np.any(candidates.ids < 0)
  # A block has 2 or 4 of the 5 queries.
  monkeypatch.setattr(graph, "_VALUES_AT_A_TIME", 2 * 15 * (12 + 15))
  rankings = rank_by_reciprocal(
    candidates, lists, k1=5, k2=3, num_reranked=num_reranked, scale=scale
  )
  for row, ranking in enumerate(rankings):
    ids, matrix = matrix_by_hand(
      candidates, lists, row, num_reranked, scale or lists.similarities.max()
    )
    scores = scores_by_hand(matrix, 5, 3, 0.3)
    head = [ids[place] for place in np.argsort(-scores, kind="stable")]
    rest = [image for image in candidates.ids[row] if image >= 0 and image not in ids]
    others = sorted(set(range(40)) - set(head) - set(rest))
    assert ranking.tolist() == [*head, *rest, *others]
  assert rankings.dtype == np.int32
  assert np.any(rankings[:, 0] != candidates.ids[:, 0])


def test_global_rankings_equal_a_loop_over_queries(monkeypatch):
  rng = np.random.default_rng(11)
  rows = unit_rows(rng, 45, 6)
  features = GlobalFeatures(3.0 * rows[:5], rows[5:])
  rankings = rank_by_global(features)
  monkeypatch.setattr(graph, "_VALUES_AT_A_TIME", 2 * 15 * (15 + 6))
  reranked = rerank_global_by_reciprocal(features, rankings, num_reranked=15, k1=5, k2=3)
  for row, head in enumerate(rankings[:, :15]):
    points = np.concatenate([rows[row][None], rows[5:][head]]).astype(np.float64)
    scores = scores_by_hand(np.clip(points @ points.T, 0.0, 1.0), 5, 3, 0.3)
    np.testing.assert_array_equal(reranked[row, :15], head[np.argsort(-scores, kind="stable")])
  np.testing.assert_array_equal(reranked[:, 15:], rankings[:, 15:])
  assert np.any(reranked != rankings)


def test_what_does_not_fit_is_refused():
  candidates, lists = some_graph(12)
  rows = unit_rows(np.random.default_rng(12), 45, 6)
  features = GlobalFeatures(rows[:5], rows[5:])
  rankings = rank_by_global(features)
  similarities = jnp.zeros((4, 4))
  for name, values in (("k1", (0, 1.5)), ("k2", (0, True)), ("weight", (-0.1, 1.1, np.nan))):
    for value in values:
      for call in (
        lambda **numbers: reciprocal_scores(similarities, **numbers),
        lambda **numbers: rank_by_reciprocal(candidates, lists, **numbers),
        lambda **numbers: rerank_global_by_reciprocal(features, rankings, **numbers),
      ):
        with pytest.raises(InputError, match=f"{name} must be"):
          call(**{name: value})
  with pytest.raises(InputError, match="num_reranked must be"):
    rank_by_reciprocal(candidates, lists, num_reranked=0)
  with pytest.raises(InputError, match="scale must be"):
    rank_by_reciprocal(candidates, lists, scale=-1.0)
  twice = Ranked(np.zeros_like(candidates.ids), candidates.similarities)
  with pytest.raises(InputError, match="twice"):
    rank_by_reciprocal(twice, lists)
  with pytest.raises(InputError, match="outside"):
    rerank_global_by_reciprocal(features, rankings - 1)

import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.embedding import dissimilarity
from l2g_jax.embedding.dissimilarity import (
  Completion,
  KnownPairs,
  Measure,
  QueryPairs,
  dissimilarities,
  known_pairs,
)
from l2g_jax.errors import InputError
from tests.variants import VariantTestCase, jit_variants

SIZE, LENGTH, NUM_IMAGES = 8, 6, 14
QUERY_PAIRS, COMPLETIONS = get_args(QueryPairs), get_args(Completion)
MEASURES = get_args(Measure)
JIT_KNOWN = jax.jit(
  known_pairs,
  static_argnames=("num_images", "num_known", "num_query_known", "query_pairs", "measure"),
)
JIT_DISSIMILARITIES = jax.jit(dissimilarities, static_argnames=("power", "completion"))

# Four images of seven: 5 knows 2 and 0; 2 knows 0, which is no candidate, and 3; 3 knows 5 and 2.
CANDIDATES = np.array([5, 2, 3, -1], np.int32)
SIMILARITIES = np.array([0.8, 0.5, 0.0, 0.0], np.float32)
LISTS = np.array([[2, 0, -1], [0, 3, -1], [5, 2, -1], [5, 2, 3]], np.int32)
LIST_SIMILARITIES = np.array(
  [[0.4, 0.3, 0.0], [0.9, 0.6, 0.0], [0.3, 0.2, 0.0], [1.0, 1.0, 1.0]], np.float32
)


def shortlist(seed):
  """A random shortlist with its lists, both with pads and with similarities of 0."""
  rng = np.random.default_rng(seed)
  candidates = rng.permutation(NUM_IMAGES)[:SIZE].astype(np.int32)
  similarities = np.sort(rng.random(SIZE))[::-1] * (np.arange(SIZE) < rng.integers(0, SIZE + 1))
  candidates[rng.integers(1, SIZE + 1) :] = -1
  lists = np.full((SIZE, LENGTH), -1, np.int32)
  list_similarities = np.zeros((SIZE, LENGTH))
  for row, image in enumerate(candidates):
    others = rng.permutation(np.setdiff1d(np.arange(NUM_IMAGES), image))
    count = rng.integers(0, LENGTH + 1)
    lists[row, :count] = others[:count]
    list_similarities[row, :count] = np.sort(rng.random(count))[::-1]
    list_similarities[row, rng.integers(0, LENGTH + 2) :] = 0.0
  arrays = (similarities.astype(np.float32), lists, list_similarities.astype(np.float32))
  return candidates, *arrays


def floor_by_hand(similarities):
  """The floor of a list that is short, as those of these tests are."""
  values = [value for value in similarities if value]
  if not values:
    return None
  unrelated = values[min(8, len(values) - 1)]
  return np.log(unrelated) + min(np.log(1.75), 2 * np.log(unrelated / values[-1]))


def contrast_by_hand(value, floor):
  return max(0.0, np.log(value) - floor) if value else 0.0


def known_by_hand(
  candidates,
  similarities,
  lists,
  list_similarities,
  *,
  num_known,
  num_query_known,
  query_pairs,
  measure,
):
  """Known similarities by a loop over the stored lists, as a dictionary of pairs."""
  places = {image: place + 1 for place, image in enumerate(candidates) if image >= 0}
  stored, near, known = {}, set(), {}
  floors = [
    floor_by_hand(values) if image >= 0 else None
    for image, values in zip(candidates, list_similarities, strict=True)
  ]
  present_floors = [floor for floor in floors if floor is not None]
  own_floor = floor_by_hand(np.where(candidates >= 0, similarities, 0.0))
  if present_floors and own_floor is not None:
    own_floor = min(own_floor, np.mean(present_floors))

  def measured(value, floor):
    return contrast_by_hand(value, floor) if measure == "contrast" else value

  for image, others, values, floor in zip(
    candidates, lists, list_similarities, floors, strict=True
  ):
    present = [
      (other, measured(value, floor))
      for other, value in zip(others, values, strict=True)
      if image >= 0 and other in places and value
    ]
    for rank, (other, value) in enumerate(present):
      pair = places[image], places[other]
      stored[pair] = value
      if rank < num_known:
        near |= {pair, pair[::-1]}
  for pair in near:
    known[pair] = np.mean([stored[way] for way in (pair, pair[::-1]) if way in stored])
  reached = [
    (image, measured(value, own_floor))
    for image, value in zip(candidates, similarities, strict=True)
    if image >= 0 and value
  ]
  for image, value in reached[: num_query_known if query_pairs == "own" else None]:
    known[0, places[image]] = known[places[image], 0] = value
  return known


class DissimilarityVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.parameters(*QUERY_PAIRS)
  def test_known_pairs_by_hand(self, query_pairs):
    collect = self.variant(
      functools.partial(
        known_pairs,
        num_images=7,
        num_known=1,
        num_query_known=1,
        query_pairs=query_pairs,
        measure="similarity",
      )
    )
    pairs = collect(CANDIDATES, SIMILARITIES, LISTS, LIST_SIMILARITIES)
    expected = np.zeros((5, 5))
    expected[0, 1] = 0.8
    # By `own` the query has one neighbour; image 3 was not reached, so it is never one.
    expected[0, 2] = 0.5 if query_pairs == "all" else 0.0
    # 5 and 2: only 5 has stored it. 2 and 3: nearest of 2 in the shortlist, mean of 0.6 and 0.2.
    expected[1, 2], expected[2, 3] = 0.4, 0.4
    # 3 and 5: nearest of 3, and 5 has not stored it.
    expected[1, 3] = 0.3
    np.testing.assert_allclose(pairs.similarities, expected + expected.T, atol=1e-6)
    np.testing.assert_array_equal(pairs.known, expected + expected.T > 0.0)
    np.testing.assert_array_equal(pairs.valid, [True, True, True, True, False])

  @jit_variants
  @parameterized.parameters(*COMPLETIONS)
  def test_dissimilarities_by_hand(self, completion):
    similarities = np.zeros((4, 4), np.float32)
    similarities[0, 1] = similarities[1, 0] = 4.0
    similarities[0, 2] = similarities[2, 0] = 1.0
    pairs = KnownPairs(
      jnp.asarray(similarities), jnp.asarray(similarities > 0.0), jnp.arange(4) < 3
    )
    values, weights = self.variant(
      functools.partial(dissimilarities, power=0.5, completion=completion)
    )(pairs)
    missing = {"one": 1.0, "mean": 0.25, "masked": 1.0}[completion]
    np.testing.assert_allclose(np.asarray(values)[0, :3], [0.0, 0.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(np.asarray(values)[1, :3], [0.0, 0.0, missing], atol=1e-6)
    unknown = 0.0 if completion == "masked" else 1.0
    expected = [[0, 1, 1, 0], [1, 0, unknown, 0], [1, unknown, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(weights, expected)


@given(
  st.integers(0, 10_000),
  st.sampled_from([0, 1, 3, 20]),
  st.sampled_from([0, 2, 20]),
  st.sampled_from(QUERY_PAIRS),
  st.sampled_from(MEASURES),
)
def test_known_pairs_equal_a_loop_over_the_lists(
  seed, num_known, num_query_known, query_pairs, measure
):
  arrays = shortlist(seed)
  numbers: dict[str, Any] = {
    "num_known": num_known,
    "num_query_known": num_query_known,
    "query_pairs": query_pairs,
    "measure": measure,
  }
  pairs = JIT_KNOWN(*arrays, num_images=NUM_IMAGES, **numbers)
  expected, known = np.zeros((SIZE + 1, SIZE + 1)), np.zeros((SIZE + 1, SIZE + 1), bool)
  for pair, value in known_by_hand(*arrays, **numbers).items():
    expected[pair], known[pair] = value, True
  np.testing.assert_allclose(pairs.similarities, expected, atol=1e-6)
  np.testing.assert_array_equal(pairs.known, known)
  np.testing.assert_array_equal(pairs.valid[1:], arrays[0] >= 0)


def test_contrasts_by_hand():
  similarities = np.zeros((6, 450), np.float32)
  # Of 401 similarities that in place 100 counts, and the margin is the smaller of log 1.75 = 0.56
  # and twice the fall to place 200.
  similarities[0, :401] = 0.1
  similarities[0, :3] = [0.8, 0.2, 0.15]
  similarities[1, :401] = 0.01
  similarities[1, :101] = 0.1
  similarities[1, :3] = [0.8, 0.2, 0.15]
  # Of 40 that in place 10, of 9 that in place 8, which is the last, of 3 the third.
  similarities[2, :40] = 0.5 ** np.arange(40)
  similarities[3, :9] = [9, 8, 7, 6, 5, 4, 3, 2, 1]
  similarities[4, :3] = [4.0, 2.0, 1.0]
  expected = np.zeros(similarities.shape)
  expected[0, :3] = np.log([8.0, 2.0, 1.5])
  expected[1, :2] = np.log(np.array([8.0, 2.0]) / 1.75)
  expected[2, :10] = np.arange(10, 0, -1) * np.log(2.0) - np.log(1.75)
  expected[3, :9] = np.log([9, 8, 7, 6, 5, 4, 3, 2, 1])
  expected[4, :2] = np.log([4.0, 2.0])
  for unit in (1.0, 1e-20):
    values = np.float32(unit) * similarities
    found = dissimilarity.contrast(values, dissimilarity.log_floor(values))
    np.testing.assert_allclose(found, np.maximum(expected, 0.0), atol=1e-4)


def test_a_query_whose_whole_shortlist_is_of_its_subject_has_the_floor_of_its_candidates():
  size = 20
  lists = np.tile(np.arange(size, 40, dtype=np.int32), (size, 1))
  similarities = np.tile(np.float32(0.1), lists.shape)
  pairs = JIT_KNOWN(
    np.arange(size),
    np.linspace(0.9, 0.8, size, dtype=np.float32),
    lists,
    similarities,
    num_images=40,
  )
  np.testing.assert_allclose(pairs.similarities[0, 1], np.log(9.0), atol=1e-5)


@pytest.mark.parametrize("noise", [0.01, 0.4])
def test_it_does_not_matter_how_many_pairs_of_noise_are_known(noise):
  size, subject = 60, 12
  similarities = np.full((size, size), noise, np.float32)
  similarities[:subject, :subject] = 1.0
  np.fill_diagonal(similarities, 0.0)
  lists = np.argsort(-similarities, axis=1, kind="stable").astype(np.int32)[:, :-1]
  ranked = np.take_along_axis(similarities, lists, axis=1)

  def solve(num_known):
    query = np.full(size, noise, np.float32)
    query[:subject] = 1.0
    pairs = JIT_KNOWN(np.arange(size), query, lists, ranked, num_images=size, num_known=num_known)
    return np.asarray(JIT_DISSIMILARITIES(pairs)[0])

  few, many = solve(11), solve(50)
  np.testing.assert_allclose(few, many, atol=1e-6)
  assert np.all(many[1 : subject + 1, subject + 1 :] == 1.0)
  assert np.all(many[1 : subject + 1, 1 : subject + 1] < 1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.3, 1.0, 3.0]), st.sampled_from(COMPLETIONS))
def test_dissimilarities_are_symmetric_in_the_unit_interval(seed, power, completion):
  pairs = JIT_KNOWN(*shortlist(seed), num_images=NUM_IMAGES, num_known=3)
  values, weights = map(np.asarray, JIT_DISSIMILARITIES(pairs, power=power, completion=completion))
  assert np.all((values >= 0.0) & (values <= 1.0))
  np.testing.assert_array_equal(values, values.T)
  np.testing.assert_array_equal(np.diag(values), 0.0)
  np.testing.assert_array_equal(weights, weights.T)
  np.testing.assert_array_equal(np.diag(weights), 0.0)
  assert not np.any(weights[~np.asarray(pairs.valid)])
  known, similarities = np.asarray(pairs.known), np.asarray(pairs.similarities, np.float64)
  np.testing.assert_array_equal(weights[known], 1.0)
  if similarities.any():
    expected = 1.0 - (similarities / similarities.max()) ** power
    np.testing.assert_allclose(values[known], expected[known], atol=1e-5)
    assert values[known].min() < 1e-6


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 50.0]))
def test_the_range_of_another_similarity_is_of_no_account(seed, unit):
  candidates, similarities, lists, list_similarities = shortlist(seed)
  unit = np.float32(unit)
  collect = functools.partial(JIT_KNOWN, num_images=NUM_IMAGES, num_known=3)
  values, _ = JIT_DISSIMILARITIES(collect(candidates, similarities, lists, list_similarities))
  scaled, _ = JIT_DISSIMILARITIES(
    collect(candidates, unit * similarities, lists, unit * list_similarities)
  )
  np.testing.assert_allclose(scaled, values, atol=1e-5)


@pytest.mark.parametrize("completion", COMPLETIONS)
def test_no_known_pair_leaves_a_finite_problem(completion):
  pairs = JIT_KNOWN(
    np.arange(SIZE, dtype=np.int32),
    np.zeros(SIZE, np.float32),
    np.full((SIZE, LENGTH), -1, np.int32),
    np.zeros((SIZE, LENGTH), np.float32),
    num_images=NUM_IMAGES,
  )
  assert not np.any(pairs.known)
  values, weights = JIT_DISSIMILARITIES(pairs, completion=completion)
  off_diagonal = 1.0 - np.eye(SIZE + 1)
  np.testing.assert_array_equal(values, off_diagonal)
  np.testing.assert_array_equal(weights, 0.0 if completion == "masked" else off_diagonal)


def test_a_query_without_candidates_knows_nothing():
  lists = np.tile(np.arange(LENGTH, dtype=np.int32), (SIZE, 1))
  pairs = JIT_KNOWN(
    np.full(SIZE, -1, np.int32),
    np.ones(SIZE, np.float32),
    lists,
    np.ones((SIZE, LENGTH), np.float32),
    num_images=NUM_IMAGES,
  )
  assert not np.any(pairs.known)
  np.testing.assert_array_equal(pairs.valid, np.arange(SIZE + 1) == 0)
  assert not np.any(JIT_DISSIMILARITIES(pairs)[1])


def test_a_batch_equals_single_problems():
  arrays = [shortlist(seed) for seed in range(3)]

  def solve(*arrays):
    pairs = dissimilarity.known_pairs(*arrays, num_images=NUM_IMAGES, num_known=2)
    return dissimilarity.dissimilarities(pairs, completion="mean")

  batch = jax.jit(jax.vmap(solve))(*(np.stack(column) for column in zip(*arrays, strict=True)))
  single = jax.jit(solve)
  for row in range(3):
    expected = single(*arrays[row])
    for many, one in zip(batch, expected, strict=True):
      np.testing.assert_allclose(many[row], one, atol=1e-6)


def test_unknown_options_are_refused():
  arguments = shortlist(0)
  options: dict[str, Any] = {"query_pairs": "none"}
  with pytest.raises(InputError, match="own or all, not 'none'"):
    known_pairs(*arguments, num_images=NUM_IMAGES, **options)
  pairs = JIT_KNOWN(*arguments, num_images=NUM_IMAGES)
  options = {"measure": "ratio"}
  with pytest.raises(InputError, match="contrast or similarity, not 'ratio'"):
    known_pairs(*arguments, num_images=NUM_IMAGES, **options)
  options = {"completion": "zero"}
  with pytest.raises(InputError, match="one, mean or masked, not 'zero'"):
    dissimilarities(pairs, **options)


@pytest.mark.parametrize("num_known", [-1, 1.5, True, None, np.nan])
def test_a_number_of_known_pairs_that_makes_no_sense_is_refused(num_known):
  with pytest.raises(InputError, match="num_known must be"):
    known_pairs(*shortlist(0), num_images=NUM_IMAGES, num_known=num_known)


@pytest.mark.parametrize("power", [-1.0, 0.0, np.nan, np.inf, "1", True])
def test_a_power_that_makes_no_sense_is_refused(power):
  pairs = JIT_KNOWN(*shortlist(0), num_images=NUM_IMAGES)
  with pytest.raises(InputError, match="power must be above 0 and finite"):
    dissimilarities(pairs, power=power)


def test_numbers_may_be_traced():
  @jax.jit
  def solve(num_known, power):
    pairs = known_pairs(*shortlist(1), num_images=NUM_IMAGES, num_known=num_known)
    return pairs.known, dissimilarities(pairs, power=power)[0]

  for num_known, power in ((0, 1.0), (2, 0.3), (20, 0.01)):
    known, values = solve(num_known, power)
    pairs = known_pairs(*shortlist(1), num_images=NUM_IMAGES, num_known=num_known)
    np.testing.assert_array_equal(known, pairs.known)
    np.testing.assert_allclose(values, dissimilarities(pairs, power=power)[0], atol=1e-6)


def test_wrong_shapes_are_refused():
  arrays = shortlist(0)
  with pytest.raises(AssertionError):
    known_pairs(arrays[0][:3], *arrays[1:], num_images=NUM_IMAGES)
  with pytest.raises(AssertionError):
    known_pairs(*arrays[:3], arrays[3][:, :2], num_images=NUM_IMAGES)

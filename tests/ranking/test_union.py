import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import background_ids, unite

NUM_IMAGES = 12


def ranked_lists(rng, num_queries, length, *, num_found=None):
  """Makes lists of random images; the first rows find fewer and fewer of them."""
  ids = np.full((num_queries, length), -1, np.int32)
  values = np.zeros((num_queries, length), np.float32)
  for row in range(num_queries):
    count = length if num_found is None else min(length, num_found[row])
    ids[row, :count] = rng.permutation(NUM_IMAGES)[:count]
    values[row, :count] = np.sort(rng.choice([0.5, 0.25, 0.1, 0.02, 0.9], count))[::-1]
  return Ranked(ids, values)


def united_by_hand(lists, backgrounds, k):
  """Unites the lists of one query with loops and dictionaries."""
  totals = dict.fromkeys((int(i) for part in lists for i in part.ids if i >= 0), 0.0)
  is_led = False
  for part, background in zip(lists, backgrounds, strict=True):
    ratios = {int(i): s / background for i, s in zip(*part, strict=True) if i >= 0}
    if not ratios:
      continue
    last = min(ratios.values()) if len(ratios) == len(part.ids) else 0.0
    for image in totals:
      if is_led:
        totals[image] += 3.0 * max(0.0, ratios.get(image, 0.0) - 10.0)
      else:
        totals[image] += ratios.get(image, last)
    is_led = True
  found = [(image, value) for image, value in totals.items() if value > 0.0]
  return sorted(found, key=lambda item: (-round(item[1], 9), item[0]))[:k]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 12), min_size=2, max_size=3))
def test_union_equals_a_loop_over_images(seed, lengths):
  rng = np.random.default_rng(seed)
  lists = [
    ranked_lists(rng, 4, length, num_found=rng.integers(0, length + 1, 4)) for length in lengths
  ]
  backgrounds = [rng.choice([0.001, 0.004, 0.02], 4) for _ in lengths]
  k = int(rng.integers(1, 20))
  united = unite(lists, backgrounds, k)
  assert united.ids.shape == united.similarities.shape == (4, k)
  assert (united.ids.dtype, united.similarities.dtype) == (np.int32, np.float32)
  for row in range(4):
    expected = united_by_hand(
      [Ranked(part.ids[row], part.similarities[row]) for part in lists],
      [background[row] for background in backgrounds],
      k,
    )
    found = united.ids[row] >= 0
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(len(expected)))
    np.testing.assert_allclose(
      united.similarities[row][found], [value for _, value in expected], rtol=1e-5
    )
    values = dict(expected)
    assert all(
      values[image] == pytest.approx(value, rel=1e-5)
      for image, value in zip(
        united.ids[row][found].tolist(), united.similarities[row], strict=False
      )
    )


def one(ids, similarities):
  return Ranked(np.array([ids]), np.array([similarities], np.float32))


def test_another_kind_adds_its_certain_matches_alone():
  first = one([1, 2, 0, 3], [0.06, 0.05, 0.04, 0.03])
  certain = one([3, 0, 1, 2], [0.5, 0.0099, 0.008, 0.007])
  united = unite([first, certain], [[0.01], [0.001]], 4)
  np.testing.assert_array_equal(united.ids, [[3, 1, 2, 0]])
  np.testing.assert_allclose(united.similarities[0], [3 + 3 * 490, 6, 5, 4], rtol=1e-6)
  unsure = one([3, 0, 1, 2], [0.01, 0.0099, 0.008, 0.007])
  np.testing.assert_array_equal(unite([first, unsure], [[0.01], [0.001]], 4).ids, first.ids)


def test_where_the_first_kind_found_no_image_the_next_one_leads():
  nothing_found = one([-1, -1], [0.0, 0.0])
  second = one([4, 2, 7], [0.5, 0.4, 0.1])
  united = unite([nothing_found, second], [[0.0], [0.1]], 3)
  np.testing.assert_array_equal(united.ids, second.ids)
  np.testing.assert_allclose(united.similarities, [[5.0, 4.0, 1.0]], rtol=1e-6)
  empty = unite([nothing_found, nothing_found], [[0.0], [0.0]], 2)
  np.testing.assert_array_equal(empty.ids, -1)
  np.testing.assert_array_equal(empty.similarities, 0.0)


def test_the_least_similarity_stands_for_a_background_of_zero():
  first = one([1, 2], [0.06, 0.02])
  second = one([2, 0], [0.5, 0.01])
  united = unite([first, second], [[0.0], [0.0]], 3)
  np.testing.assert_array_equal(united.ids, [[2, 1, 0]])
  np.testing.assert_allclose(united.similarities, [[1 + 3 * 40, 3, 1]], rtol=1e-5)


def test_the_background_is_of_images_spread_over_the_worse_half():
  ids = np.concatenate([np.arange(100)[::-1], [-1] * 9])
  chosen = background_ids(ids)
  assert len(chosen) == len(set(chosen.tolist())) == 16
  assert (chosen[0], chosen[-1]) == (49, 0)
  np.testing.assert_array_equal(background_ids(np.array([5, 3, 8, -1])), [3, 8])
  assert not len(background_ids(np.array([-1, -1])))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import unite

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


def united_by_hand(lists, k):
  """Unites the lists of one query with loops and dictionaries."""
  totals = dict.fromkeys((int(i) for part in lists for i in part.ids if i >= 0), 0.0)
  for part in lists:
    found = [(int(i), float(s)) for i, s in zip(*part, strict=True) if i >= 0]
    worse = [s for _, s in found[len(found) // 2 :]]
    if not found:
      continue
    ratios = {i: s / (sum(worse) / len(worse)) for i, s in found}
    last = ratios[found[-1][0]] if len(found) == len(part.ids) else 0.0
    for image in totals:
      totals[image] += ratios.get(image, last) / len(lists)
  return sorted(totals.items(), key=lambda item: (-round(item[1], 9), item[0]))[:k]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 12), min_size=2, max_size=3))
def test_union_equals_a_loop_over_images(seed, lengths):
  rng = np.random.default_rng(seed)
  lists = [
    ranked_lists(rng, 4, length, num_found=rng.integers(0, length + 1, 4)) for length in lengths
  ]
  k = int(rng.integers(1, 20))
  united = unite(lists, k)
  assert united.ids.shape == united.similarities.shape == (4, k)
  assert (united.ids.dtype, united.similarities.dtype) == (np.int32, np.float32)
  for row in range(4):
    expected = united_by_hand([Ranked(part.ids[row], part.similarities[row]) for part in lists], k)
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


def test_the_kind_that_tells_images_apart_decides():
  # The first is sure of image 3, the second prefers image 1 by a hair.
  sure = Ranked(np.array([[3, 0, 1, 2]]), np.array([[0.4, 0.01, 0.01, 0.01]], np.float32))
  flat = Ranked(np.array([[1, 2, 0, 3]]), np.array([[0.80, 0.79, 0.78, 0.77]], np.float32))
  assert unite([sure, flat], 4).ids[0, 0] == 3
  assert unite([flat, sure], 4).ids[0, 0] == 3


def test_the_unit_of_a_kind_does_not_matter():
  rng = np.random.default_rng(0)
  first, second = ranked_lists(rng, 3, 8), ranked_lists(rng, 3, 8)
  scaled = Ranked(second.ids, second.similarities * 1024)
  united, again = unite([first, second], 12), unite([first, scaled], 12)
  np.testing.assert_array_equal(united.ids, again.ids)
  np.testing.assert_array_equal(united.similarities, again.similarities)


def test_a_kind_without_images_changes_no_order():
  rng = np.random.default_rng(1)
  one = Ranked(np.array([[4, 2, 7]]), np.array([[0.5, 0.4, 0.1]], np.float32))
  none = ranked_lists(rng, 1, 3, num_found=[0])
  np.testing.assert_array_equal(unite([one, none], 3).ids, one.ids)
  np.testing.assert_array_equal(unite([none, none], 2).ids, -1)

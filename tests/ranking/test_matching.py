import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.ranking.matching import match_descriptors
from tests.problems import unit_rows


def at_angles(*degrees):
  """Unit vectors of the plane: their distances grow with their angles."""
  radians = np.deg2rad(degrees)
  return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def matches_by_hand(query, image, ratio, mutual):
  """Matches by loops over the rows, in double precision; less than 1e-9 makes a tie."""

  def distance(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))

  def order(distances):
    return sorted(distances, key=lambda row: (round(distances[row], 9), row))

  valid_query = [row for row in range(len(query)) if np.any(query[row])]
  valid_image = [row for row in range(len(image)) if np.any(image[row])]
  chosen = {}
  for row in valid_query:
    distances = {other: distance(query[row], image[other]) for other in valid_image}
    if not distances:
      continue
    first, *others = order(distances)
    if ratio is not None and others:
      second = distances[others[0]]
      if distances[first] > second - 1e-9 or distances[first] >= ratio * second:
        continue
    back = {other: distance(query[other], image[first]) for other in valid_query}
    if mutual and order(back)[0] != row:
      continue
    chosen.setdefault(first, {})[row] = distances[first]
  return sorted([order(rows)[0], image_row] for image_row, rows in chosen.items())


@pytest.mark.fast
@pytest.mark.parametrize(
  ("query", "image", "ratio", "mutual", "expected"),
  [
    # Two chose the first, and two the second: the nearest of them has it.
    ((1, 18, 43, 41, 80), (0, 40, 90), None, False, [[0, 0], [3, 1], [4, 2]]),
    ((1, 18, 43, 41, 80), (0, 40, 90), None, True, [[0, 0], [3, 1], [4, 2]]),
    # 80 is as far as 10 from its nearest and 40 from the next: a ratio of 0.25.
    ((1, 18, 43, 41, 80), (0, 40, 90), 0.26, True, [[0, 0], [3, 1], [4, 2]]),
    ((1, 18, 43, 41, 80), (0, 40, 90), 0.25, True, [[0, 0], [3, 1]]),
    # The nearest to 40 is 19, which chose 0.
    ((19, 62), (0, 40), None, True, [[0, 0]]),
    ((19, 62), (0, 40), None, False, [[0, 0], [1, 1]]),
    # The nearest to 0 is 19, at a ratio of 0.9.
    ((19, -25), (0, 40), 0.9, True, []),
    ((19, -25), (0, 40), 0.9, False, [[1, 0]]),
    # Without a second row there is no ratio.
    ((50,), (0,), 0.1, True, [[0, 0]]),
    # Equal rows: the first of them, and no sure match at all.
    ((0, 0), (0, 0, 90), None, False, [[0, 0]]),
    ((0, 0), (0, 0, 90), None, True, [[0, 0]]),
    ((0, 0), (0, 0, 90), 1.0, False, []),
  ],
)
def test_matches_of_angles(query, image, ratio, mutual, expected):
  matches = match_descriptors(at_angles(*query), at_angles(*image), ratio=ratio, mutual=mutual)
  assert matches.tolist() == expected
  assert (matches.dtype, matches.shape[1]) == (np.int32, 2)


@pytest.mark.parametrize("mutual", [True, False])
@pytest.mark.parametrize("ratio", [0.7, 0.95, None])
@given(seed=st.integers(0, 10_000))
def test_equals_a_loop(ratio, mutual, seed):
  rng = np.random.default_rng(seed)
  sizes = rng.integers(1, 12, 2)
  # Whole numbers make ties, of rows that are equal and of others, and zero rows.
  query, image = (rng.integers(0, 3, (size, 3)).astype(np.float32) for size in sizes)
  matches = match_descriptors(query, image, ratio=ratio, mutual=mutual)
  assert matches.tolist() == matches_by_hand(query, image, ratio, mutual)


def test_ties_go_to_the_smaller_row_where_products_differ_by_rounding():
  rng = np.random.default_rng(0)
  query, one = unit_rows(rng, 503, 128), unit_rows(rng, 1, 128)
  image = np.repeat(one, 497, axis=0)
  matches = match_descriptors(query, image, ratio=None, mutual=False)
  assert matches.tolist() == [[int(np.argmax(query.astype(np.float64) @ one[0])), 0]]
  # Their lengths make them unequal by rounding.
  image = image * rng.uniform(0.5, 2.0, (497, 1)).astype(np.float32)
  for mutual in (True, False):
    assert match_descriptors(image, query, ratio=None, mutual=mutual)[:, 0].tolist() == [0]
  assert len(match_descriptors(query, image, ratio=1.0)) == 0


def test_an_equal_row_is_a_sure_match_and_a_close_second_is_not():
  features = unit_rows(np.random.default_rng(1), 200, 128)
  every = np.stack([np.arange(200)] * 2, axis=1)
  np.testing.assert_array_equal(match_descriptors(features, features, ratio=0.1), every)
  twice = np.concatenate([features, features[:50]])
  np.testing.assert_array_equal(match_descriptors(features, twice, ratio=0.99), every[50:])


@given(seed=st.integers(0, 10_000))
def test_norms_and_types_are_of_no_account(seed):
  rng = np.random.default_rng(seed)
  query, image = unit_rows(rng, 40, 16), unit_rows(rng, 30, 16)
  expected = match_descriptors(query, image)
  lengths = 10.0 ** rng.uniform(-30, 30, (40, 1))
  np.testing.assert_array_equal(match_descriptors(lengths * query, 1e-37 * image), expected)
  assert len(expected) > 0


def test_bytes_are_numbers():
  rng = np.random.default_rng(2)
  query, image = (rng.integers(-128, 128, (20, 32)).astype(np.int8) for _ in range(2))
  query[7] = image[3] = -128
  assert [7, 3] in match_descriptors(query, image).tolist()
  np.testing.assert_array_equal(
    match_descriptors(query, image), match_descriptors(query.astype(float), image.astype(float))
  )


@given(seed=st.integers(0, 10_000))
def test_rows_in_another_order_match_alike(seed):
  rng = np.random.default_rng(seed)
  query, image = unit_rows(rng, 40, 16), unit_rows(rng, 30, 16)
  there, here = rng.permutation(40), rng.permutation(30)
  expected = {tuple(row) for row in match_descriptors(query, image)}
  found = match_descriptors(query[there], image[here])
  assert {(there[i], here[j]) for i, j in found} == expected
  assert np.all(np.diff(found[:, 0]) > 0)


@pytest.mark.parametrize(("a", "b"), [(0, 5), (5, 0), (0, 0)])
def test_pictures_without_features_have_no_matches(a, b):
  assert match_descriptors(np.zeros((a, 8)), np.zeros((b, 8), np.float32)).shape == (0, 2)
  assert match_descriptors(np.ones((a, 8)), np.zeros((5, 8))).shape == (0, 2)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.1, np.nan, "1", True])
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
  with pytest.raises(InputError, match="ratio must be between 0 and 1"):
    match_descriptors(np.ones((2, 3)), np.ones((2, 3)), ratio=ratio)


@pytest.mark.parametrize(
  ("query", "message"),
  [
    (np.ones(3), r"of the query must be numbers \[n, d\]"),
    (np.full((2, 3), "1"), r"of the query must be numbers"),
    (np.ones((2, 3), bool), r"of the query must be numbers"),
    (np.array([[1.0, np.nan, 0.0]]), "of the query hold a value that is not finite"),
    (np.array([[1.0, -np.inf, 0.0]]), "of the query hold a value that is not finite"),
    (np.ones((2, 4)), "of the query have 4 values and those of the image 3"),
  ],
)
def test_descriptors_that_do_not_fit_are_refused(query, message):
  with pytest.raises(InputError, match=message):
    match_descriptors(query, np.ones((2, 3)))

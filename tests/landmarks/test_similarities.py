import dataclasses

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkConfig
from l2g_jax.landmarks.scale import dissimilarities, range_of
from tests.landmarks.similarities import LINKED, brute_force, build, closeness, points

ITEMS, QUERIES = points(60), points(3, seed=1)


def test_nan_is_refused_by_the_names_of_the_items(tmp_path):
  def similarity(first, second):
    found = closeness(first, second)
    found[np.all(first == ITEMS[17], axis=1)[:, None] & np.ones(len(second), bool)] = np.nan
    return found

  with pytest.raises(InputError, match=r"of item 17 to item \d+ is nan"):
    build(tmp_path, ITEMS, similarity)


def test_nan_of_a_query_is_refused_by_its_number(tmp_path):
  def similarity(first, second):
    return np.where(np.asarray(first)[:, :1] > 50.0, np.nan, closeness(first, second))

  index = build(tmp_path, ITEMS, similarity)
  with pytest.raises(InputError, match=r"of query 1 to item \d+ is nan"):
    index.search(QUERIES + np.float32([[0], [100], [0]]))


@pytest.mark.parametrize("wrong", [lambda s: s[:, :-1], lambda s: s.astype(str), lambda s: s.sum()])
def test_other_shapes_and_types_are_refused(tmp_path, wrong):
  with pytest.raises(InputError, match="must be real numbers"):
    build(tmp_path, ITEMS, lambda a, b: wrong(closeness(a, b)))


def test_a_constant_similarity_finds_some_items(tmp_path):
  index = build(tmp_path, ITEMS, lambda a, b: np.full((len(a), len(b)), 0.5))
  assert np.all(np.isfinite(index.points))
  found = index.search(QUERIES, k=4, num_evaluations=20)
  assert np.all(found.similarities == 0.5)
  assert all(len({*ids}) == 4 for ids in found.ids.tolist())


def test_an_asymmetric_similarity_keeps_the_role_of_the_query(tmp_path):
  bonus = np.linspace(0.0, 1.0, len(ITEMS))

  def similarity(first, second):
    popular = np.asarray(
      [bonus[np.argmin(np.linalg.norm(ITEMS - item, axis=1))] for item in second]
    )
    return closeness(first, second) + popular[None]

  index = build(tmp_path, ITEMS, similarity)
  found = index.search(QUERIES, k=5, num_evaluations=60)
  np.testing.assert_array_equal(found.ids, brute_force(QUERIES, ITEMS, 5, similarity))
  few = index.search(QUERIES, k=5, num_evaluations=30)
  recall = np.mean([np.isin(a, b) for a, b in zip(few.ids, found.ids, strict=True)])
  assert recall > 0.7


@pytest.mark.parametrize("nothing", [0.0, -1e38])
def test_an_item_similar_to_nothing_harms_no_other(tmp_path, nothing):
  def similarity(first, second):
    found = np.exp(closeness(first, second))
    apart = [np.abs(np.asarray(some)[:, 0]) > 50.0 for some in (first, second)]
    return np.where(apart[0][:, None] | apart[1][None], nothing, found)

  items = ITEMS.copy()
  items[[3, 20]] = 99.0
  index = build(tmp_path, items, similarity, dataclasses.replace(LINKED, num_landmarks=30))
  assert np.all(np.isfinite(index.points))
  found = index.search(QUERIES, k=5, num_evaluations=45)
  np.testing.assert_array_equal(found.ids, brute_force(QUERIES, items, 5, similarity))
  lonely = index.search(items[[3]], k=5, num_evaluations=40)
  assert np.all(lonely.similarities == np.float32(nothing))


def test_dissimilarities_lie_between_nothing_and_one():
  similarities = np.asarray([[2.0, -1.0], [0.5, 3.0]])
  shares = range_of(similarities).shares(np.asarray([-9.0, -1.0, 1.0, 3.0, 9.0]))
  np.testing.assert_allclose(shares, [0.0, 0.0, 0.5, 1.0, 1.0], atol=1e-6)
  np.testing.assert_allclose(dissimilarities(shares, 2.0), [1.0, 1.0, 0.75, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
  "setting",
  [
    {"num_landmarks": 1},
    {"num_neighbors": -1},
    {"power": 0.0},
    {"power": 9.0},
    {"selection": "best"},
    {"weighting": "far"},
    {"profile_weight": -1.0},
    {"num_dimensions": 0},
    {"seed": -1},
  ],
)
def test_settings_out_of_range_are_refused(setting):
  with pytest.raises(InputError, match=next(iter(setting))):
    LandmarkConfig(**setting)

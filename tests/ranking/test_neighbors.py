import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranking import neighbors
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.neighbors import candidates_by_global, neighbors_by_global
from tests.problems import unit_rows


def nearest_by_hand(queries, database, count, *, left_out):
  """Ids and cosines of the nearest by a loop; images of a cosine of 0 or less are left out."""
  lists = []
  for row, query in enumerate(queries.astype(np.float64)):
    found = [
      (-cosine, image)
      for image, cosine in enumerate(database.astype(np.float64) @ query)
      if cosine > 0.0 and not (left_out and image == row)
    ]
    padded = [(image, -value) for value, image in sorted(found)[:count]]
    lists.append(padded + [(-1, 0.0)] * (count - len(padded)))
  return np.array(lists)[..., 0], np.array(lists)[..., 1]


@pytest.mark.parametrize("rows_at_a_time", [7, 2048])
def test_equals_a_loop(monkeypatch, rows_at_a_time):
  monkeypatch.setattr(neighbors, "_ROWS_AT_A_TIME", rows_at_a_time)
  rng = np.random.default_rng(0)
  rows = unit_rows(rng, 40, 8)
  lengths = 10.0 ** rng.uniform(-3, 3, (40, 1)).astype(np.float32)
  features = GlobalFeatures(rows[:9], lengths[9:] * rows[9:])
  # Half of the cosines are below 0, so that lists of 25 end early.
  found = candidates_by_global(features, num_candidates=25)
  ids, cosines = nearest_by_hand(rows[:9], rows[9:], 25, left_out=False)
  np.testing.assert_array_equal(found.ids, ids)
  np.testing.assert_allclose(found.similarities, cosines, atol=1e-6)
  lists = neighbors_by_global(features.database, num_neighbors=25)
  ids, cosines = nearest_by_hand(rows[9:], rows[9:], 25, left_out=True)
  np.testing.assert_array_equal(lists.ids, ids)
  np.testing.assert_allclose(lists.similarities, cosines, atol=1e-6)
  assert np.any(ids[:, -1] == -1)
  assert np.any(ids[:, 10] >= 0)


@pytest.mark.fast
def test_ties_go_to_the_smaller_id(monkeypatch):
  monkeypatch.setattr(neighbors, "_ROWS_AT_A_TIME", 2)
  database = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
  lists = neighbors_by_global(database, num_neighbors=3)
  expected = [[2, -1, -1], [3, 4, -1], [0, -1, -1], [1, 4, -1], [1, 3, -1], [-1, -1, -1]]
  assert lists.ids.tolist() == expected
  np.testing.assert_array_equal(lists.similarities, lists.ids >= 0)
  first = candidates_by_global(GlobalFeatures(database[1:2], database), num_candidates=2)
  assert first.ids.tolist() == [[1, 3]]


def test_what_does_not_fit_is_refused():
  database = unit_rows(np.random.default_rng(1), 6, 4)
  bad = np.where(np.arange(6)[:, None] == 2, np.inf, database)
  for call, message in (
    (lambda: neighbors_by_global(database, num_neighbors=0), "num_neighbors must be"),
    (lambda: neighbors_by_global(bad, num_neighbors=2), "not finite"),
    (lambda: neighbors_by_global(database[0], num_neighbors=2), "must be"),
    (lambda: neighbors_by_global(database[:0], num_neighbors=2), "no image"),
    (
      lambda: candidates_by_global(GlobalFeatures(database, database), num_candidates=0),
      "num_candidates must be",
    ),
    (
      lambda: candidates_by_global(GlobalFeatures(database[:, :3], database), num_candidates=2),
      "must be",
    ),
  ):
    with pytest.raises(InputError, match=message):
      call()

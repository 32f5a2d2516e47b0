import dataclasses

import jax
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.pipeline import collection
from l2g_jax.pipeline.collection import place_collection, rows_for
from l2g_jax.pipeline.l2g import rank_collection
from l2g_jax.runtime import sharding
from tests.pipeline import test_pipeline
from tests.pipeline.test_pipeline import CONFIG, NUM_IMAGES, WEIGHTS
from tests.pipeline.test_sharding import check_same, many_queries


@pytest.mark.parametrize(("num_devices", "block_bytes"), [(1, 1 << 29), (8, 1), (3, 130_000)])
def test_where_the_collection_lies_changes_no_number(num_devices, block_bytes):
  candidates, lists, features = many_queries(0, 13)
  mesh = sharding.make_mesh(num_devices)
  placed = [
    place_collection(lists, features.database, resident=resident, mesh=mesh)
    for resident in (True, False)
  ]
  assert placed[0].resident is not None
  assert placed[1].resident is None
  whole, handed_out = (
    rank_collection(
      each,
      candidates,
      features.queries,
      weights=WEIGHTS,
      config=CONFIG,
      block_bytes=block_bytes,
    )
    for each in placed
  )
  check_same(handed_out, whole)


def test_a_collection_is_resident_where_it_fits(monkeypatch):
  _, lists, features = test_pipeline.collection(1)
  length, width = lists.ids.shape[1], features.database.shape[1]
  num_bytes = 4 * NUM_IMAGES * (2 * length + width)
  for at_hand, resident in ((2 * num_bytes, True), (2 * num_bytes - 1, False)):
    monkeypatch.setattr(sharding, "bytes_at_hand", lambda _, at_hand=at_hand: at_hand)
    placed = place_collection(lists, features.database)
    assert (placed.resident is not None) == resident


def test_every_device_has_the_whole_of_a_resident_collection():
  _, lists, features = test_pipeline.collection(2)
  placed = place_collection(lists, features.database, resident=True)
  assert placed.resident is not None
  for table, expected in zip(
    placed.resident, (lists.ids, lists.similarities, features.database), strict=True
  ):
    assert isinstance(table, jax.Array)
    assert len(table.addressable_shards) == 8
    for shard in table.addressable_shards:
      np.testing.assert_array_equal(shard.data, expected)


def test_rows_are_handed_out_by_id():
  _, lists, features = test_pipeline.collection(3)
  placed = place_collection(lists, features.database.astype(np.float64), resident=False)
  rows = rows_for(placed, np.array([4, -1, 4, 0]))
  assert [array.dtype for array in rows] == [np.int32, np.float32, np.float32]
  for place, row in ((0, 4), (2, 4), (3, 0)):
    np.testing.assert_array_equal(rows.list_ids[place], lists.ids[row])
    np.testing.assert_array_equal(rows.list_similarities[place], lists.similarities[row])
    np.testing.assert_array_equal(rows.features[place], features.database[row])


def test_a_feature_that_is_not_finite_is_refused_once_it_is_needed():
  _, lists, features = test_pipeline.collection(4)
  features.database[3, 1] = np.nan
  with pytest.raises(InputError, match=r"database's global features .* not finite"):
    place_collection(lists, features.database, resident=True)
  placed = place_collection(lists, features.database, resident=False)
  rows_for(placed, np.array([0, 1, -1]))
  with pytest.raises(InputError, match=r"database's global features .* not finite"):
    rows_for(placed, np.array([0, 3]))


def test_features_of_another_rank_and_lists_of_another_collection_are_refused():
  _, lists, features = test_pipeline.collection(5)
  with pytest.raises(InputError, match=r"must be \[N, D\]"):
    place_collection(lists, features.database[0])
  with pytest.raises(InputError, match=r"neighbour lists must be .* \[13, k\]"):
    place_collection(lists, features.database[:-1])
  wrong = dataclasses.replace(lists, ids=lists.ids + NUM_IMAGES)
  with pytest.raises(InputError, match="neighbour lists hold an id outside"):
    place_collection(wrong, features.database)


def test_mapped_lists_are_looked_through_in_parts(monkeypatch, tmp_path):
  _, lists, features = test_pipeline.collection(6)
  sizes = []
  isfinite = np.isfinite

  def count(values):
    sizes.append(values.size)
    return isfinite(values)

  # Two rows at a time, the last of which holds what is wrong.
  monkeypatch.setattr(collection, "_CHECKED_VALUES", 2 * lists.ids.shape[1])
  monkeypatch.setattr(np, "isfinite", count)
  for name, value in (("ids", NUM_IMAGES), ("ids", -2), ("similarities", -1.0)):
    array = getattr(lists, name).copy()
    array[-1, -1] = value
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    with pytest.raises(InputError, match="neighbour lists hold"):
      place_collection(dataclasses.replace(lists, **{name: mapped}), features.database)
  assert sizes
  assert max(sizes) <= 2 * lists.ids.shape[1]

import dataclasses

import jax
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.pipeline.collection import place_collection, rounded_up
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import sharding
from tests.pipeline.problems import (
  CONFIG,
  LENGTH,
  NUM_IMAGES,
  WEIGHTS,
  WIDTH,
  check_same,
  many_queries,
  some_collection,
)


def place(lists, database, *, num_devices=8, **settings):
  return place_collection(lists, database, mesh=sharding.make_mesh(num_devices), **settings)


@pytest.mark.parametrize(("num_devices", "block_bytes"), [(1, 1 << 29), (8, 1), (3, 130_000)])
def test_a_collection_on_the_host_gives_the_results_of_one_on_the_devices(num_devices, block_bytes):
  candidates, lists, features = many_queries(0, 13)
  placed = [
    place(lists, features.database, num_devices=num_devices, resident=resident)
    for resident in (True, False)
  ]
  assert placed[0].resident is not None
  assert placed[1].resident is None
  l2g = L2G(config=CONFIG, block_bytes=block_bytes)
  whole, handed_out = (
    l2g.rank(each, candidates, features.queries, weights=WEIGHTS) for each in placed
  )
  check_same(handed_out, whole)


def test_a_collection_is_resident_where_it_fits(monkeypatch):
  _, lists, features = some_collection(1)
  num_bytes = 4 * 64 * (2 * 64 + WIDTH)
  for at_hand, resident in ((2 * num_bytes, True), (2 * num_bytes - 1, False)):
    monkeypatch.setattr(sharding, "bytes_at_hand", lambda _, at_hand=at_hand: at_hand)
    placed = L2G().place(lists, features.database)
    assert (placed.resident is not None) == resident


def test_every_device_has_the_whole_of_a_resident_collection():
  _, lists, features = some_collection(2)
  placed = place(lists, features.database, resident=True)
  assert placed.resident is not None
  for table, expected in zip(
    placed.resident, (lists.ids, lists.similarities, features.database), strict=True
  ):
    assert isinstance(table, jax.Array)
    assert len(table.addressable_shards) == 8
    for shard in table.addressable_shards:
      np.testing.assert_array_equal(shard.data[: len(expected), : expected.shape[1]], expected)


@pytest.mark.parametrize("resident", [True, False])
def test_candidates_are_looked_up_by_id(resident):
  _, lists, features = some_collection(3)
  placed = place(lists, features.database.astype(np.float64), num_devices=2, resident=resident)
  candidates = np.array([[4, -1, 4, 2], [0, 13, -1, 5]])
  tables = placed.tables_of(candidates, num_embedded=3)
  assert [table.dtype for table in tables] == [np.int32, np.float32, np.float32]
  assert [table.shape for table in tables] == [(2, 3, 64), (2, 3, 64), (2, 4, WIDTH)]
  assert all(table.addressable_shards[0].data.shape[0] == 1 for table in tables)
  for row, column in zip(*np.nonzero(candidates >= 0), strict=True):
    image = candidates[row, column]
    np.testing.assert_array_equal(tables.features[row, column], features.database[image])
    if column == 3:
      continue
    list_ids, similarities = (np.asarray(table[row, column]) for table in tables[:2])
    np.testing.assert_array_equal(list_ids[:LENGTH], lists.ids[image])
    np.testing.assert_array_equal(list_ids[LENGTH:], -1)
    np.testing.assert_array_equal(similarities[:LENGTH], lists.similarities[image])
    np.testing.assert_array_equal(similarities[LENGTH:], 0.0)


@pytest.mark.parametrize(
  ("size", "expected"),
  [
    *((0, 0), (1, 64), (64, 64), (65, 128), (700, 704), (1023, 1024), (1024, 1024), (1025, 1152)),
    *((1470, 1536), (1471, 1536), (1_000_000, 1_048_576), (1_050_000, 1_179_648)),
  ],
)
def test_sizes_are_rounded_up_to_eighths_of_a_power_of_two(size, expected):
  assert rounded_up(size) == expected


def test_rounding_up_adds_an_eighth_at_most():
  sizes = np.arange(1, 5000)
  rounded = np.array([rounded_up(int(size)) for size in sizes])
  assert np.all(rounded >= sizes)
  assert np.all(rounded - sizes <= np.maximum(sizes / 8, 63))
  assert np.all(np.diff(rounded) >= 0)


def test_all_ids_lie_below_the_bound_of_ids():
  for num_images in (1, 2, 3, 4, 1470, 2047, 2048):
    lists = Ranked(np.full((num_images, 1), num_images - 1), np.ones((num_images, 1)))
    placed = place(lists, np.ones((num_images, 2), np.float32), resident=False)
    assert num_images <= placed.id_bound <= 2 * num_images


def test_a_feature_that_is_not_finite_is_refused_once_it_is_needed():
  _, lists, features = some_collection(4)
  features.database[3, 1] = np.nan
  with pytest.raises(InputError, match=r"database's global features .* not finite"):
    place(lists, features.database, resident=True)
  placed = place(lists, features.database, num_devices=1, resident=False)
  placed.tables_of(np.array([[0, 1, -1]]), num_embedded=3)
  with pytest.raises(InputError, match=r"database's global features .* not finite"):
    placed.tables_of(np.array([[0, 3]]), num_embedded=1)


def test_features_of_another_rank_and_lists_of_another_collection_are_refused():
  _, lists, features = some_collection(5)
  l2g = L2G()
  with pytest.raises(InputError, match=r"must be \[N, D\]"):
    l2g.place(lists, features.database[0])
  with pytest.raises(InputError, match=r"neighbour lists must be .* \[13, k\]"):
    l2g.place(lists, features.database[:-1])
  wrong = dataclasses.replace(lists, ids=lists.ids + NUM_IMAGES)
  with pytest.raises(InputError, match="neighbour lists hold an id outside"):
    l2g.place(wrong, features.database)


def test_a_collection_on_the_host_stays_memory_mapped(tmp_path):
  _, lists, features = some_collection(6)
  mapped = {}
  for name, array in (("ids", lists.ids), ("similarities", lists.similarities)):
    np.save(tmp_path / f"{name}.npy", array)
    mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
  placed = place(Ranked(**mapped), features.database, resident=False)
  assert placed.neighbor_lists.ids is mapped["ids"]
  assert placed.neighbor_lists.similarities is mapped["similarities"]

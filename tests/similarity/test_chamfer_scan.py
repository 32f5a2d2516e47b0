from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.errors import InputError
from l2g_jax.runtime import sharding
from l2g_jax.similarity import chamfer_scan, kernels
from l2g_jax.similarity.chamfer_scan import pack_images, place_images, search_images
from tests.problems import WIDTH, counted_compilations, some_sets

KERNELS = (kernels.Chamfer(), kernels.Power(), kernels.Cann())
PRECISIONS = ("float32", "bfloat16", "int8")
UNKNOWN: Any = "int4"


def scores_by_hand(images, query, kernel):
  """A loop over images in double precision."""
  unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, *images)]
  query, *images = (rows.astype(np.float64) for rows in unit)
  scores = np.zeros(len(images))
  for row, image in enumerate(images):
    if len(query) and len(image):
      scores[row] = np.mean(kernel(np.max(query @ image.T, axis=1)))
  return scores


def check_sound(result, num_images):
  for ids, similarities in zip(result.ids, result.similarities, strict=True):
    found = ids[ids >= 0]
    assert len(np.unique(found)) == len(found) <= num_images
    assert np.all((ids >= 0) == (similarities > 0.0))
    assert np.all(np.diff(similarities) <= 0.0)
    ties = np.flatnonzero((np.diff(similarities) == 0.0) & (ids[1:] >= 0))
    assert np.all(ids[ties] < ids[ties + 1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
  ("precision", "atol"), [("float32", 1e-5), ("bfloat16", 0.02), ("int8", 0.02)]
)
def test_equals_a_loop_over_all_pairs(precision, atol, kernel):
  images, queries = some_sets(0, 21), some_sets(1, 6)
  collection = place_images(pack_images(images, precision=precision))
  result = search_images(collection, queries, 25, kernel=kernel)
  check_sound(result, 21)
  # The superellipse is steep where a cosine is near 1.
  atol = 5 * atol if isinstance(kernel, kernels.Cann) else atol
  for row, query in enumerate(queries):
    expected = scores_by_hand(images, query, kernel)
    found = result.ids[row] >= 0
    np.testing.assert_array_equal(
      np.sort(result.ids[row, found]), np.flatnonzero(expected > 0.0) if len(query) else []
    )
    np.testing.assert_allclose(
      result.similarities[row, found], expected[result.ids[row, found]], atol=atol
    )


def test_equals_the_index_that_probes_everything(tmp_path):
  images, queries = some_sets(2, 30), some_sets(3, 5)
  config = CannConfig(kernel=kernels.Power(alpha=3.0), rescoring_depth=30)
  index = CannIndex.build(tmp_path / "index", zip(map(str, range(30)), images, strict=True), config)
  expected = index.search_many(queries, 30, num_probes=10_000)
  result = search_images(place_images(pack_images(images)), queries, 30, kernel=config.kernel)
  np.testing.assert_allclose(result.similarities, expected.similarities, atol=1e-6)
  distinct = np.abs(np.diff(expected.similarities, prepend=9.0, append=-1.0)) > 1e-6
  clear = distinct[:, 1:] & distinct[:, :-1]
  np.testing.assert_array_equal(result.ids[clear], expected.ids[clear])
  check_sound(result, 30)


@pytest.mark.parametrize("num_devices", [1, 3, 8])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_devices_change_nothing(num_devices, k):
  images, queries = some_sets(4, 21), some_sets(5, 3)
  whole = search_images(place_images(pack_images(images), sharding.make_mesh(1)), queries, 21)
  mesh = sharding.make_mesh(num_devices)
  collection = place_images(pack_images(images), mesh)
  assert len(collection.values.addressable_shards) == num_devices
  result = search_images(collection, queries, k)
  assert result.ids.shape == (3, k)
  count = min(k, 21)
  np.testing.assert_array_equal(result.ids[:, :count], whole.ids[:, :count])
  np.testing.assert_array_equal(result.ids[:, count:], -1)
  np.testing.assert_allclose(result.similarities[:, :count], whole.similarities[:, :count])


@pytest.mark.parametrize("length", [1, 8, 21])
def test_a_stream_of_blocks_equals_all_at_once(length):
  images, queries = some_sets(6, 21), some_sets(7, 4)
  whole = search_images(place_images(pack_images(images)), queries, 9)
  blocks = (
    pack_images(images[start : start + length], num_places=12, first_id=start)
    for start in range(0, 21, length)
  )
  result = search_images(blocks, queries, 9)
  np.testing.assert_array_equal(result.ids, whole.ids)
  np.testing.assert_allclose(result.similarities, whole.similarities, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_places_beyond_the_descriptors_say_nothing(seed, count):
  rng = np.random.default_rng(seed)
  images = list(rng.standard_normal((5, count, WIDTH)))
  mesh = sharding.make_mesh(2)
  packed = pack_images(images, num_places=7)
  placed = place_images(packed, mesh)
  result = search_images(placed, images[:1], 5, kernel=kernels.Chamfer())
  np.testing.assert_array_equal(packed.counts, count)
  expected = scores_by_hand(images, images[0], kernels.Chamfer())
  found = result.ids[0, result.ids[0] >= 0]
  np.testing.assert_allclose(result.similarities[0, : len(found)], expected[found], atol=0.02)
  assert result.ids[0, 0] == 0


def test_few_cosines_in_memory_change_nothing(monkeypatch):
  images, queries = some_sets(15, 21), some_sets(16, 3)
  collection = place_images(pack_images(images), sharding.make_mesh(1))
  whole = search_images(collection, queries, 21)
  for num_images in (1, 4, 100):
    monkeypatch.setattr(chamfer_scan, "BLOCK_COSINES", {"cpu": 64 * 12 * num_images})
    result = search_images(collection, queries, 21)
    np.testing.assert_array_equal(result.ids, whole.ids)
    np.testing.assert_allclose(result.similarities, whole.similarities, atol=1e-6)


@pytest.mark.fast
def test_descriptors_of_norm_zero_are_left_out():
  images = [np.zeros((3, WIDTH)), np.eye(WIDTH)[:2], np.pad(np.eye(WIDTH)[:1], ((0, 2), (0, 0)))]
  for precision in PRECISIONS:
    packed = pack_images(images, precision=precision)
    np.testing.assert_array_equal(packed.counts, [0, 2, 1])
    query = np.pad(np.eye(WIDTH)[:1], ((0, 3), (0, 0)))
    result = search_images(place_images(packed), [query], 3)
    np.testing.assert_array_equal(result.ids, [[1, 2, -1]])
    np.testing.assert_allclose(result.similarities, [[1.0, 1.0, 0.0]], atol=1e-5)


def test_queries_of_similar_length_compile_once():
  collection = place_images(pack_images(some_sets(8, 16)))
  search_images(collection, some_sets(9, 2), 5)
  with counted_compilations() as compilations:
    search_images(collection, some_sets(10, 2, most=60), 5)
    search_images(place_images(pack_images(some_sets(11, 16))), some_sets(12, 2), 5)
  assert not compilations


def test_every_device_keeps_its_share_of_the_images():
  collection = place_images(pack_images(some_sets(13, 19)))
  assert len(collection.counts) == 24
  np.testing.assert_array_equal(collection.counts[19:], 0)
  for shard in collection.values.addressable_shards:
    assert shard.data.shape == (3, 12, WIDTH)
    assert shard.data.dtype == np.int8
  assert jax.device_count() == 8


def bad_rows(value):
  rows = np.ones((3, WIDTH))
  rows[1, 2] = value
  return rows


@pytest.mark.parametrize(
  ("search", "message"),
  [
    (lambda images: pack_images([]), "an image at least"),
    (lambda images: pack_images([np.ones(4)]), r"image 0 must be \[count"),
    (lambda images: pack_images([bad_rows(np.nan)]), "image 0 hold a value that is not finite"),
    (lambda images: pack_images([bad_rows(1.0)], num_places=2), "more than 2 places"),
    (lambda images: pack_images([bad_rows(1.0)], precision=UNKNOWN), "not 'int4'"),
    (lambda images: search_images(images, [bad_rows(1.0)], 0), "k of at least 1"),
    (lambda images: search_images(images, [], 1), "a query at least"),
    (lambda images: search_images([], [bad_rows(1.0)], 1), "an image at least"),
    (lambda images: search_images(images, [bad_rows(np.inf)], 1), "query 0 hold a value"),
    (lambda images: search_images(images, [np.ones((2, 3))], 1), "query 0 must be"),
  ],
)
def test_bad_input_is_refused(search, message):
  images = place_images(pack_images(some_sets(14, 8)))
  with pytest.raises(InputError, match=message):
    search(images)

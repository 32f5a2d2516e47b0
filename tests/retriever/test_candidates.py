import types
from typing import Any

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.ranked import Ranked
from l2g_jax.retriever import candidates
from l2g_jax.retriever.collection import Collection, Queries
from l2g_jax.retriever.stages import Kind
from tests.retriever import photos

NUM_IMAGES = 12


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  """A collection, three queries, and the names of both."""
  rng = np.random.default_rng(0)
  images = [rng.standard_normal((9, 8)).astype(np.float32) for _ in range(NUM_IMAGES)]
  names = [f"image-{i}" for i in range(NUM_IMAGES)]
  root = tmp_path_factory.mktemp("index") / "index"
  index = CannIndex.build(root, zip(names, images, strict=True), CannConfig())
  queries = [images[i] + 0.3 * rng.standard_normal((9, 8)).astype(np.float32) for i in range(3)]
  options = photos.options(num_candidates=NUM_IMAGES, index=CannConfig())
  (kind_options,) = options.kinds()
  lists = Ranked(np.zeros((NUM_IMAGES, 0), np.int32), np.zeros((NUM_IMAGES, 0), np.float32))
  kind = Kind(kind_options, index, lists, None, {}, {}, index.names)
  collection = Collection((kind,), lists, np.zeros((NUM_IMAGES, 1), np.float32), options, root)
  described = Queries([(query,) for query in queries], np.zeros((3, 1), np.float32))
  truth: Any = types.SimpleNamespace(qimlist=["a", "b", "c"], imlist=names)
  return collection, described, truth


def compared(given, ids):
  collection, queries, _ = given
  return collection.compare(queries.descriptors, ids)


def test_candidates_of_others_stand_by_the_similarities_of_the_index(given):
  collection, queries, _ = given
  rng = np.random.default_rng(1)
  ids = np.stack([rng.permutation(NUM_IMAGES)[:8] for _ in range(3)]).astype(np.int32)
  found = compared(given, ids)
  np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.sort(ids, axis=1))
  for row, (descriptors,) in enumerate(queries.descriptors):
    expected = collection.kinds[0].index.similarities(descriptors, found.ids[row])
    np.testing.assert_array_equal(found.similarities[row], expected)
    assert np.all(np.diff(expected) <= 0.0)


def test_the_search_of_the_index_is_found_again(given):
  collection, queries, _ = given
  descriptors = [values for (values,) in queries.descriptors]
  expected = collection.kinds[0].index.search_many(descriptors, 6)
  found = candidates.search(collection, queries.descriptors, 6)
  np.testing.assert_array_equal(found.ids, expected.ids)
  np.testing.assert_array_equal(found.similarities, expected.similarities)
  assert np.all(expected.ids >= 0)
  again = compared(given, expected.ids)
  np.testing.assert_array_equal(again.ids, expected.ids)
  np.testing.assert_allclose(again.similarities, expected.similarities, atol=1e-7)
  assert not candidates.runs_backwards(expected.ids, again)


def test_an_order_by_distances_runs_backwards(given):
  found = candidates.search(given[0], given[1].descriptors, NUM_IMAGES)
  backwards = np.stack([np.concatenate([row[row >= 0][::-1], row[row < 0]]) for row in found.ids])
  assert candidates.runs_backwards(backwards, compared(given, backwards))


def test_padding_stays_last(given):
  ids = np.array([[0, 1, 2, 3, 4], [3, -1, -1, -1, -1], [1, -1, -1, -1, -1]], np.int32)
  found = compared(given, ids)
  np.testing.assert_array_equal(found.ids[1:], ids[1:])
  np.testing.assert_array_equal(found.similarities[1:, 1:], 0.0)

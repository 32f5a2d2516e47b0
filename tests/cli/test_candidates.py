import types
from typing import Any

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.cli import candidates

NUM_IMAGES = 12


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  """A collection, three queries, and the names of both."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"])
  rng = np.random.default_rng(0)
  images = [rng.standard_normal((9, 8)).astype(np.float32) for _ in range(NUM_IMAGES)]
  names = [f"image-{i}" for i in range(NUM_IMAGES)]
  root = tmp_path_factory.mktemp("index") / "index"
  index = CannIndex.build(root, zip(names, images, strict=True), CannConfig())
  queries = [images[i] + 0.3 * rng.standard_normal((9, 8)).astype(np.float32) for i in range(3)]
  collection: Any = types.SimpleNamespace(index=index, search=index.search_many)
  described: Any = types.SimpleNamespace(descriptors=queries)
  truth: Any = types.SimpleNamespace(qimlist=["a", "b", "c"], imlist=names)
  return collection, described, truth


def save_neighbors(path, ids, scores):
  np.save(path, np.stack([scores, ids.astype(np.float32)]))


def find(given, path, k=6):
  with flagsaver.flagsaver(candidates=str(path)):
    return candidates.find(given[0], given[1], given[2], k)


# Cosines, logits, counts of matches, similarities of nothing.
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (30.0, -15.0), (1e6, 5.0), (0.0, 0.0)])
def test_scores_of_others_are_of_no_account(given, tmp_path, capsys, scale, shift):
  collection, queries, _ = given
  rng = np.random.default_rng(1)
  ids = np.stack([rng.permutation(NUM_IMAGES)[:8] for _ in range(3)])
  scores = shift + scale * np.sort(rng.uniform(-1, 1, (3, 8)), axis=1)[:, ::-1]
  save_neighbors(tmp_path / "nn.npy", ids, scores.astype(np.float32))
  order, found = find(given, tmp_path / "nn.npy")
  # The first k of theirs, in their order; by our similarities.
  np.testing.assert_array_equal(order, ids[:, :6])
  np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.sort(ids[:, :6], axis=1))
  for row, descriptors in enumerate(queries.descriptors):
    expected = collection.index.similarities(descriptors, found.ids[row])
    np.testing.assert_array_equal(found.similarities[row], expected)
    assert np.all(np.diff(expected) <= 0.0)
  told = capsys.readouterr().out
  assert "their scores are of another scale than the neighbour lists, and are not used" in told


def test_the_search_of_the_index_is_found_again(given, tmp_path, capsys):
  collection, queries, _ = given
  expected = collection.index.search_many(queries.descriptors, 6)
  with flagsaver.flagsaver(candidates=None):
    order, found = candidates.find(given[0], given[1], given[2], 6)
  assert not capsys.readouterr().out
  np.testing.assert_array_equal(order, expected.ids)
  np.testing.assert_array_equal(found.similarities, expected.similarities)
  assert np.all(expected.ids >= 0)
  scores = np.linspace(9.0, 1.0, 18).reshape(3, 6)
  save_neighbors(tmp_path / "nn.npy", expected.ids, scores)
  _, again = find(given, tmp_path / "nn.npy")
  np.testing.assert_array_equal(again.ids, expected.ids)
  np.testing.assert_allclose(again.similarities, expected.similarities, atol=1e-7)
  assert "runs against" not in capsys.readouterr().out


def test_distances_in_place_of_scores_are_told(given, tmp_path, capsys):
  collection, queries, truth = given
  found = collection.index.search_many(queries.descriptors, NUM_IMAGES)
  lines = [
    f"{query}, {truth.imlist[image]}, {place}\n"
    for query, ids in zip(truth.qimlist, found.ids, strict=True)
    for place, image in enumerate(ids)
    if image >= 0
  ]
  (tmp_path / "results.txt").write_text("".join(lines))
  find(given, tmp_path / "results.txt", NUM_IMAGES)
  assert "That order runs against the index" in capsys.readouterr().out


def test_padding_stays_last(given, tmp_path):
  _, _, truth = given
  lines = [f"a, {name}, {i}\n" for i, name in enumerate(truth.imlist[:5])]
  (tmp_path / "results.csv").write_text("".join([*lines, "b, image-3, 1\nc, image-1, 0.5\n"]))
  order, found = find(given, tmp_path / "results.csv")
  np.testing.assert_array_equal(order[1:], [[3, -1, -1, -1, -1], [1, -1, -1, -1, -1]])
  np.testing.assert_array_equal(found.ids[1:], order[1:])
  np.testing.assert_array_equal(found.similarities[1:, 1:], 0.0)

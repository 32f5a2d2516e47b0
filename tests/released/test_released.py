"""Files that releases wrote, see `tests.released.make`, are opened, searched and changed."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder
from l2g_jax.data import download
from l2g_jax.data.ground_truth import load_ground_truth
from l2g_jax.errors import InputError
from l2g_jax.features import aggregate, store, weights, whitening
from l2g_jax.runtime import files
from mini.make import make_mini
from tests.released import make

RELEASES = sorted(
  path.parent for path in pathlib.Path(make.__file__).parent.glob("*/expected.json")
)


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def root(request, tmp_path):
  return shutil.copytree(request.param, tmp_path / "released")


@pytest.fixture
def expected(root):
  return json.loads((root / "expected.json").read_text())


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", make.IMAGES_PER_PIECE)


def learned():
  return whitening.fit_whitening(
    np.concatenate([values for _, values in make.images()]), dimension=12
  )


def whitened(note):
  """The images as an index takes them: whitened by its note."""
  held = whitening.Whitening.from_note(note)
  assert held is not None
  return [(name, whitening.apply_whitening(held, values)) for name, values in make.images()]


@pytest.mark.fast
def test_an_index_finds_what_it_found(root, expected):
  index = CannIndex.open(root / "index", verify=True)
  expected = expected["index"]
  assert list(index.names) == expected["names"]
  assert index.config == CannConfig(num_lists=3)
  codes = (index.codes(i).values for i in range(len(index.names)))
  assert make.digest(*codes) == expected["codes"]
  found = index.search(whitened(index.whitening)[5][1], 20)
  assert found.ids.tolist() == expected["ids"]
  np.testing.assert_allclose(found.similarities, expected["similarities"], rtol=1e-5)
  lists = index.neighbor_lists(3, show_progress=False)
  assert lists.ids.tolist() == expected["neighbors"]
  np.testing.assert_allclose(lists.similarities, expected["neighbor_similarities"], rtol=1e-5)


def test_neighbour_lists_of_an_index_are_not_made_again(root, monkeypatch):
  index = CannIndex.open(root / "index")
  monkeypatch.setattr(CannIndex, "search_codes", None)
  assert index.neighbor_lists(3, show_progress=False).ids.shape == (10, 3)


def test_an_index_is_changed_as_a_new_one_is(root, tmp_path):
  old = CannIndex.open(root / "index")
  values = whitened(old.whitening)
  old = old.add([("image-002", values[2][1])]).remove(["image-000"]).compact()
  names = [*(f"image-{i:03d}" for i in (1, 3, 4, 5, 6, 7, 8, 9, 11)), "image-002"]
  assert list(old.names) == names
  fresh = CannIndex.build(
    tmp_path / "fresh",
    [(n, dict(values)[n]) for n in names],
    make.CONFIG,
    whitening=learned().to_note(),
  )
  for _, query in values[1:7]:
    first, second = (index.search(query, 10) for index in (old, fresh))
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_allclose(first.similarities, second.similarities, atol=1e-4)


def test_shards_that_a_release_began_are_ended(root, tmp_path):
  note = CannIndex.shard_whitening(root / "shards")
  values = whitened(note)
  report = CannIndex.build_shard(
    root / "shards", values, make.CONFIG, whitening=note, shard_index=1, num_shards=2
  )
  assert report.missing_pieces == 0
  merged = CannIndex.merge_shards(root / "shards")
  assert merged.names == tuple(name for name, _ in values)
  assert [path.name for path in (root / "shards").iterdir() if path.name == "shards"] == []


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.fast
def test_a_store_holds_what_it_held(root, expected, precision):
  directory = root / f"store-{precision}"
  opened, expected = store.open_store(directory), expected[f"store-{precision}"]
  assert list(opened.names) == expected["names"]
  assert opened.key == expected["key"]
  assert opened.failures == expected["failures"]
  assert [
    make.digest(item.descriptors, item.locations, item.scales, item.strengths)
    for item in (opened[i] for i in range(len(opened)))
  ] == expected["features"]
  assert store.has_part(directory, 1, key="key 1")
  store.save_part(
    directory, 2, key="key 2", names=["more"], features=[make.features()[3]], dimension=16
  )
  store.finish(directory, keys=["key 0", "key 1", "key 2"])
  assert store.open_store(directory).names == (*opened.names, "more")


def test_bundles_of_features_hold_what_they_held(root, expected):
  held = whitening.load_whitening(root / "whitening", verify=True)
  assert make.digest(held.mean, held.projection) == expected["bundles"]["whitening"]
  vlad = aggregate.load_vlad(root / "vlad")
  arrays = (vlad.words, vlad.whitening.mean, vlad.whitening.projection)
  assert make.digest(*arrays) == expected["bundles"]["vlad"]


def test_a_ground_truth_is_read(root, expected):
  truth = load_ground_truth(root / "gnd_toy.json")
  assert list(truth.imlist) == expected["truth"]["imlist"]
  assert list(truth.queries[0].bbx or ()) == expected["truth"]["bbx"]
  assert truth.queries[0].easy.tolist() == expected["truth"]["easy"]
  assert truth.queries[1].bbx is None


def test_weights_are_read(root, expected):
  loaded = weights.load_weights(root / "toy.safetensors", model="toy")
  assert make.digest(np.asarray(loaded.params["trunk"]["kernel"])) == expected["weights"]["kernel"]
  assert loaded.metadata["checksum"] == expected["weights"]["checksum"]


def test_a_download_is_not_fetched_again(root):
  source = download.Source("toy", files=["http://there.invalid/toy.txt"])
  assert download.obtain(source, root / "download") == root / "download" / "toy"


def test_the_benchmark_is_found_made(root, expected):
  before = {path: path.stat().st_mtime_ns for path in (root / "mini").rglob("*")}
  folder = make_mini(root, config=make.MINI, num_workers=1, show_progress=False)
  assert sorted(path.name for path in (folder / "jpg").iterdir()) == expected["mini"]
  assert {path: path.stat().st_mtime_ns for path in (root / "mini").rglob("*")} == before


def test_what_was_never_released_is_refused_with_a_way_out(root):
  """Version 1 of the index and of the store was there for a day, before anything was released."""
  path = root / "index" / "index.json"
  files.write_manifest(path, files.read_manifest(path) | {"version": 1})
  with pytest.raises(InputError, match=r"is version 1 of .*; remove .*index and build it again"):
    CannIndex.open(root / "index")
  path = root / "whitening" / "manifest.json"
  files.write_manifest(path, files.read_manifest(path) | {"version": 0})
  with pytest.raises(InputError, match=r"version 0 .* reads version 1; remove it to have it made"):
    whitening.load_whitening(root / "whitening")
  files.write_manifest(path, files.read_manifest(path) | {"version": 9})
  with pytest.raises(InputError, match=r"version 9 .* reads version 1; install a newer l2g_jax"):
    whitening.load_whitening(root / "whitening")

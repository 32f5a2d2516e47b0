import os
import pathlib
import resource
import shutil
import threading

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, lists
from l2g_jax.cann.searcher import Searcher
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.cann import oracle

NUM_IMAGES = 30
CONFIG = CannConfig(num_lists=8, num_probes=8)


@pytest.fixture
def images():
  return oracle.collection(0, num_images=NUM_IMAGES)


@pytest.fixture
def index(tmp_path, images):
  return CannIndex.build(tmp_path / "index", images.items(), CONFIG)


@pytest.fixture
def other(tmp_path, images):
  """The same index in a folder of its own, without lists."""
  return CannIndex.build(tmp_path / "other", images.items(), CONFIG)


@pytest.fixture
def searches(monkeypatch):
  """Counts images that are searched."""
  made = []
  search = Searcher.search

  def count(self, queries, k, reach):
    made.append(len(queries))
    return search(self, queries, k, reach)

  monkeypatch.setattr(Searcher, "search", count)
  return made


def make(index, k, **settings):
  return index.neighbor_lists(k, show_progress=False, **settings)


def folders(index):
  """The names of folders of lists, without their states."""
  found = index.directory.glob("neighbors-*-*")
  return sorted(path.name.replace(index.state, "STATE") for path in found)


@pytest.mark.fast
def test_lists_equal_brute_force_without_the_image_itself(index, images):
  result = make(index, 7, rescoring_depth=NUM_IMAGES)
  assert result.ids.shape == result.similarities.shape == (NUM_IMAGES, 7)
  for number, values in enumerate(images.values()):
    ids, similarities = oracle.ranking(values, list(images.values()))
    other = (ids != number) & (similarities > 0.0)
    expected = ids[other][:7]
    np.testing.assert_array_equal(result.ids[number, : len(expected)], expected)
    np.testing.assert_allclose(
      result.similarities[number, : len(expected)], similarities[other][:7], atol=1e-6
    )
    assert np.all(result.ids[number, len(expected) :] == -1)


def test_lists_longer_than_the_collection_are_padded(index):
  ids, similarities = make(index, NUM_IMAGES + 5)
  assert np.all(ids[:, NUM_IMAGES - 1 :] == -1)
  assert np.all(similarities[:, NUM_IMAGES - 1 :] == 0.0)
  assert not np.any(ids == np.arange(NUM_IMAGES)[:, None])


def test_lists_beyond_the_depth_descend_and_lack_none(index):
  deep = make(index, NUM_IMAGES - 1, rescoring_depth=NUM_IMAGES)
  flat = make(index, NUM_IMAGES - 1, rescoring_depth=3)
  assert np.all(np.diff(flat.similarities) <= 0.0)
  counts = np.sum(flat.ids >= 0, axis=1)
  assert np.all(counts >= np.sum(deep.similarities > 0.02, axis=1))
  np.testing.assert_array_equal(flat.ids[:, 0], deep.ids[:, 0])


def test_lists_are_memory_mapped_and_opened_without_a_search(index, searches):
  whole = make(index, 5)
  assert sum(searches) == NUM_IMAGES
  again = make(CannIndex.open(index.directory), 5)
  assert sum(searches) == NUM_IMAGES
  for result in (whole, again):
    assert isinstance(result.ids, np.memmap)
    assert isinstance(result.similarities, np.memmap)
  np.testing.assert_array_equal(again.ids, whole.ids)
  np.testing.assert_array_equal(again.similarities, whole.similarities)
  assert folders(index) == ["neighbors-STATE-5-64"]
  assert [path.name for path in index.directory.glob("neighbors-*-*/*")] == ["whole"]


def test_parts_of_any_size_make_the_same_lists(index, other, monkeypatch):
  whole = make(index, 5)
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  parted = make(other, 5)
  np.testing.assert_array_equal(parted.ids, whole.ids)
  np.testing.assert_array_equal(parted.similarities, whole.similarities)


def test_more_parts_than_open_files_are_joined(index, other, monkeypatch):
  whole = make(index, 5)
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 1)
  limits = resource.getrlimit(resource.RLIMIT_NOFILE)
  few = max(map(int, os.listdir("/dev/fd"))) + 24
  resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
  try:
    parted = make(other, 5)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
  np.testing.assert_array_equal(parted.ids, whole.ids)


def test_an_interrupted_run_goes_on(index, other, monkeypatch):
  whole = make(index, 4)
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  search = Searcher.search
  calls = []

  def stop(self, queries, k, reach):
    calls.append(len(queries))
    if len(calls) == 3:
      raise KeyboardInterrupt
    return search(self, queries, k, reach)

  with monkeypatch.context() as patch:
    patch.setattr(Searcher, "search", stop)
    with pytest.raises(KeyboardInterrupt):
      make(other, 4)
    assert len([*other.directory.glob("neighbors-*/part-*")]) == 2
    result = make(other, 4)
  assert calls == [8, 8, 8, 8, NUM_IMAGES - 24]
  np.testing.assert_array_equal(result.ids, whole.ids)
  np.testing.assert_array_equal(result.similarities, whole.similarities)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_part_is_made_again(index, other, monkeypatch, searches, damage):
  whole = make(index, 5)
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  shard = {"rescoring_depth": lists.DEPTH, "shard_index": 0, "num_shards": 1}
  assert other.list_shard(5, show_progress=False, **shard) == 0
  spoil(next(other.directory.glob("neighbors-*/part-000001/ids.npy")), damage)
  searches.clear()
  np.testing.assert_array_equal(make(other, 5).ids, whole.ids)
  assert sum(searches) == 8


@pytest.mark.parametrize(("damage", "verify"), [("truncated", False), ("altered", True)])
def test_damaged_lists_are_made_again(index, searches, damage, verify):
  whole = make(index, 5)
  expected = np.array(whole.ids)
  spoil(next(index.directory.glob("neighbors-*/whole/ids.npy")), damage)
  np.testing.assert_array_equal(make(index, 5, verify=verify).ids, expected)
  assert sum(searches) == 2 * NUM_IMAGES


def spoil(path, damage):
  content = path.read_bytes()
  path.unlink()
  path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "altered" else b""))


def to_version_1(index, k, depth):
  """Makes a folder of lists as they were in version 1: parts alone, of ids and similarities."""
  shard = {"rescoring_depth": depth, "shard_index": 0, "num_shards": 1, "show_progress": False}
  assert index.list_shard(k, **shard) == 0
  folder = index.directory / f"neighbors-{index.state}-{k}-{depth}"
  kind = "l2g_jax.cann.neighbors"
  for path in folder.iterdir():
    arrays = files.load_bundle(path, kind=kind, version=1).arrays
    files.save_bundle(
      path,
      kind=kind,
      version=1,
      arrays={name: np.array(arrays[name]) for name in ("ids", "similarities")},
      metadata={"state": index.manifest_checksum},
    )
  key = files.checksum_json([index.manifest_checksum, k, depth])
  return folder.rename(index.directory / f"neighbors-{key}")


def test_lists_of_version_1_are_opened_and_kept_when_the_index_changes(
  index, other, monkeypatch, searches
):
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  expected = make(index, 5)
  folder = to_version_1(other, 5, lists.DEPTH)
  searches.clear()
  found = make(other, 5)
  np.testing.assert_array_equal(found.ids, expected.ids)
  np.testing.assert_array_equal(found.similarities, expected.similarities)
  assert not folder.exists()
  assert folders(other) == ["neighbors-STATE-5-64"]
  make(other.compact(), 5)
  assert not searches


def test_half_of_the_parts_of_version_1_are_not_made_again(index, other, monkeypatch, searches):
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  expected = make(index, 5)
  folder = to_version_1(other, 5, lists.DEPTH)
  for part in ("part-000000", "part-000003"):
    shutil.rmtree(folder / part)
  searches.clear()
  np.testing.assert_array_equal(make(other, 5).ids, expected.ids)
  assert sum(searches) == 8 + NUM_IMAGES - 24


def test_lists_of_version_1_of_another_state_are_removed(other):
  folder = to_version_1(other, 5, lists.DEPTH)
  kept = to_version_1(other, 6, lists.DEPTH)
  make(other, 4)
  assert folder.exists()
  changed = other.remove(["image-001"])
  make(changed, 5)
  assert not folder.exists()
  assert not kept.exists()


def test_several_at_once_make_lists_once(index, searches):
  results = []

  def ask():
    results.append(make(CannIndex.open(index.directory), 5))

  threads = [threading.Thread(target=ask) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(results) == 4
  assert sum(searches) == NUM_IMAGES
  for result in results[1:]:
    np.testing.assert_array_equal(result.ids, results[0].ids)


def test_a_part_that_another_process_makes_meanwhile_is_taken(index, other, monkeypatch):
  expected = make(index, 5)
  search = Searcher.search

  def race(self, queries, k, reach):
    monkeypatch.setattr(Searcher, "search", search)
    shard = {"rescoring_depth": lists.DEPTH, "shard_index": 0, "num_shards": 1}
    assert other.list_shard(5, show_progress=False, **shard) == 0
    return search(self, queries, k, reach)

  monkeypatch.setattr(Searcher, "search", race)
  np.testing.assert_array_equal(make(other, 5).ids, expected.ids)


def test_a_shard_of_lists_that_are_whole_makes_nothing(index, searches):
  make(index, 5)
  shard = {"rescoring_depth": lists.DEPTH, "shard_index": 0, "num_shards": 1}
  assert index.list_shard(5, show_progress=False, **shard) == 0
  assert sum(searches) == NUM_IMAGES


@pytest.mark.parametrize(
  ("k", "depth", "message"),
  [
    (0, 64, "k of at least 1, not 0"),
    (-5, 64, "k of at least 1, not -5"),
    (2.0, 64, "k as a whole number, not 2.0"),
    (2**31 - 1, 64, "k of at most"),
    (5, -1, "rescoring_depth of at least 0, not -1"),
    (5, None, "rescoring_depth as a whole number, not None"),
  ],
)
def test_lists_that_make_no_sense_are_refused(index, k, depth, message):
  with pytest.raises(InputError, match=f"Neighbour lists need {message}"):
    make(index, k, rescoring_depth=depth)
  assert not [*index.directory.glob("neighbors-*")]


def test_lists_of_another_k_stay_while_the_index_stays(index, searches):
  for k in (5, 3, 7):
    make(index, k)
  # Those of 3 are the first of those of 5.
  assert sum(searches) == 2 * NUM_IMAGES
  assert folders(index) == [f"neighbors-STATE-{k}-64" for k in (3, 5, 7)]
  np.testing.assert_array_equal(make(index, 3).ids, make(index, 7).ids[:, :3])


def test_only_what_is_ours_is_removed(index):
  root = index.directory
  make(index, 5)
  old = next(root.glob("neighbors-*-*"))
  (old / "note.txt").write_text("mine")
  foreign = [root / "neighbors-notes", root / f"neighbors-{'g' * 32}", root / "photographs"]
  for path in foreign:
    path.mkdir()
    (path / "photo.jpg").write_bytes(b"mine")
  changed = index.remove(["image-001"])
  make(changed, 5)
  assert [path.name for path in old.iterdir()] == ["note.txt"]
  for path in foreign[:2]:
    assert (path / "photo.jpg").read_bytes() == b"mine"


def test_old_lists_outlive_their_removal_where_they_are_open(index):
  old = make(index, 5)
  expected = np.array(old.ids)
  make(index.remove(["image-001"]), 5)
  assert not pathlib.Path(str(old.ids.filename)).exists()
  np.testing.assert_array_equal(old.ids, expected)


def test_lists_that_another_process_makes_of_an_old_state_stay(index, monkeypatch):
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  changed = index.remove(["image-001"])
  make(changed, 5)
  search = Searcher.search
  calls = []

  def ask(self, queries, k, reach):
    calls.append(k)
    if len(calls) == 3:
      make(CannIndex.open(index.directory), 5)
    return search(self, queries, k, reach)

  monkeypatch.setattr(Searcher, "search", ask)
  # Of a depth of its own, so that all are searched.
  assert make(index, 5, rescoring_depth=7).ids.shape == (NUM_IMAGES, 5)
  assert len(calls) == -(-NUM_IMAGES // lists.IMAGES_PER_PART)
  make(CannIndex.open(index.directory), 5)
  assert set(folders(changed)) == {"neighbors-STATE-5-64", f"neighbors-{index.state}-5-7"}


def test_lists_of_an_old_state_do_not_remove_those_of_the_new(index):
  changed = index.remove(["image-001"])
  make(changed, 5)
  make(index, 5)
  assert len(folders(index)) == 2

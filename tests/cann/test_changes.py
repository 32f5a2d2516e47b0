import errno
import os

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder, exists, scoring, segment, storage
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.cann import oracle

ALL = 10**6
CONFIG = CannConfig(num_lists=10)


@pytest.fixture
def images():
  return oracle.collection(0)


@pytest.fixture
def index(tmp_path, images):
  return CannIndex.build(tmp_path / "index", images.items(), CONFIG)


def search_all(index, query):
  result = index.search(query, len(index.names), num_probes=ALL, rescoring_depth=ALL)
  return [(index.names[i], float(s)) for i, s in zip(result.ids, result.similarities, strict=True)]


def test_an_index_opens_as_it_was_built(index, images):
  query = images["image-005"]
  opened = CannIndex.open(index.directory, verify=True)
  assert opened.names == index.names == tuple(images)
  assert opened.state == index.state
  assert opened.config == CONFIG
  assert search_all(opened, query) == search_all(index, query)


def test_the_same_images_make_the_same_files(tmp_path, images):
  first, second = (
    CannIndex.build(tmp_path / name, images.items(), CONFIG).directory for name in ("a", "b")
  )
  assert contents(first) == contents(second)


def test_add_remove_and_compact_equal_a_fresh_build(tmp_path, index, images):
  more = {f"more-{name}": values for name, values in oracle.collection(1, num_images=9).items()}
  removed = ["image-000", "image-012", "more-image-003"]
  grown = index.add(more.items())
  shrunk = grown.remove(removed)
  compacted = shrunk.compact()
  kept = {name: v for name, v in {**images, **more}.items() if name not in removed}
  fresh = CannIndex.build(tmp_path / "fresh", kept.items(), CONFIG)
  assert index.names == tuple(images)
  assert grown.names == (*images, *more)
  assert shrunk.names == compacted.names == fresh.names
  assert len({index.state, grown.state, shrunk.state, compacted.state}) == 4
  for query in (images["image-005"], more["more-image-001"], images["image-000"]):
    expected = search_all(fresh, query)
    assert search_all(shrunk, query) == expected
    assert search_all(compacted, query) == expected


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_several_segments_equal_one(tmp_path, index, images):
  stream = list(images.items())
  parted = CannIndex.build(tmp_path / "parted", stream[:13], CONFIG).add(stream[13:20])
  parted = parted.add(stream[20:])
  assert len([*parted.directory.glob("lists-*")]) == 3
  query = images["image-020"]
  assert search_all(parted, query) == search_all(index, query)
  for image in (0, 12, 39):
    np.testing.assert_array_equal(parted.codes(image).values, index.codes(image).values)


@pytest.mark.parametrize("size", [1, 7, 39])
def test_pieces_of_any_size_make_the_same_files(tmp_path, index, images, monkeypatch, size):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", size)
  monkeypatch.setattr(segment, "MERGED_BYTES", 4096)
  parted = CannIndex.build(tmp_path / "parted", images.items(), CONFIG)
  assert contents(parted.directory) == contents(index.directory)


def test_an_opened_index_outlives_a_change(index, images):
  query = images["image-007"]
  before = search_all(index, query)
  index.remove(["image-007"]).compact()
  assert search_all(index, query) == before
  with pytest.raises(InputError, match="has changed; open it again"):
    index.remove(["image-008"])


def test_an_index_that_changes_while_it_opens_is_opened_as_it_is_then(index, monkeypatch):
  read = storage.read_manifest
  stale = read(index.directory)
  index.add([("more", np.eye(16))]).compact()
  manifests = [stale]
  monkeypatch.setattr(
    storage, "read_manifest", lambda root: manifests.pop() if manifests else read(root)
  )
  assert CannIndex.open(index.directory).names == (*index.names, "more")
  assert not manifests


@pytest.mark.parametrize(
  ("stream", "message"),
  [
    ([("a", np.eye(16)), ("image-003", np.eye(16))], "Image 'image-003' comes twice"),
    ([("a", np.eye(16)), ("a", np.eye(16))], "Image 'a' comes twice"),
    ([("a", np.eye(16)), ("b", np.eye(15))], r"image 'b' must be \[count, 16\]"),
    ([("a", np.full((1, 16), np.nan))], "image 'a' hold a value that is not finite"),
  ],
)
def test_what_can_not_be_added_changes_nothing(index, stream, message):
  with pytest.raises(InputError, match=message):
    index.add(stream)
  assert CannIndex.open(index.directory, verify=True).state == index.state


def test_an_index_may_become_empty_and_grow_again(index, images):
  empty = index.remove(index.names)
  for emptied in (empty, empty.compact()):
    assert emptied.names == ()
    assert emptied.search(images["image-005"], 3).ids.tolist() == [-1, -1, -1]
    assert emptied.neighbor_lists(3, show_progress=False).ids.shape == (0, 3)
  grown = CannIndex.open(index.directory).add(images.items())
  assert search_all(grown, images["image-005"]) == search_all(index, images["image-005"])


def test_an_unknown_name_can_not_be_removed(index):
  with pytest.raises(InputError, match="holds no image 'other'"):
    index.remove(["image-001", "other"])
  assert CannIndex.open(index.directory).names == index.names


def test_names_to_remove_may_come_one_by_one_but_not_as_one_text(index):
  with pytest.raises(InputError, match=r"as in remove\(\['image-001'\]\)"):
    index.remove("image-001")
  shrunk = index.remove(name for name in ("image-001", "image-002"))
  assert shrunk.names == tuple(n for n in index.names if n not in ("image-001", "image-002"))


@pytest.mark.parametrize("error", [InputError("gone"), FileNotFoundError("gone")], ids=repr)
def test_files_that_a_writer_replaces_while_they_are_opened_are_looked_for_again(
  index, monkeypatch, error
):
  opened = scoring.open_segment

  def replaced(*args, **settings):
    monkeypatch.setattr(scoring, "open_segment", opened)
    index.add([("more", np.eye(16))]).compact()
    raise error

  monkeypatch.setattr(scoring, "open_segment", replaced)
  assert CannIndex.open(index.directory).names == (*index.names, "more")
  monkeypatch.setattr(scoring, "open_segment", _raise(error))
  with pytest.raises(InputError, match=r"gone|is damaged; build it again"):
    CannIndex.open(index.directory)


def _raise(error):
  def function(*args, **settings):
    raise error

  return function


def test_a_build_that_fails_leaves_no_index(tmp_path):
  for stream in ([], [("a", np.eye(3)), ("a", np.eye(3))]):
    with pytest.raises(InputError):
      CannIndex.build(tmp_path / "index", stream)
    assert not exists(tmp_path / "index")
  CannIndex.build(tmp_path / "index", [("a", np.eye(3))])
  with pytest.raises(InputError, match=r"There is an index in .* already"):
    CannIndex.build(tmp_path / "index", [("a", np.eye(3))])


def test_a_second_writer_is_refused(index):
  with (
    storage.locked(index.directory),
    pytest.raises(InputError, match="being written by another process"),
  ):
    index.remove(["image-001"])


def test_a_full_disk_leaves_the_old_index(index, images, monkeypatch):
  def sync(_):
    raise OSError(errno.ENOSPC, "No space left on device")

  for change in (lambda: index.add([("new", np.eye(16))]), index.compact):
    with monkeypatch.context() as patch:
      patch.setattr(os, "fsync", sync)
      with pytest.raises(OSError, match="No space left"):
        change()
  assert CannIndex.open(index.directory, verify=True).state == index.state
  assert index.add([("new", np.eye(16))]).names == (*images, "new")


def test_a_damaged_file_is_named(index):
  oracle.check_damage_is_named(index, {"values", "blocks", "cells", "rotation"})


def test_a_manifest_that_is_not_ours_is_refused(index):
  path = index.directory / "index.json"
  manifest = files.read_manifest(path)
  path.write_text(path.read_text().replace("lists-000002", "lists-000009"))
  with pytest.raises(InputError, match=r"index\.json was altered"):
    CannIndex.open(index.directory)
  files.write_manifest(path, {**manifest, "version": 99})
  with pytest.raises(InputError, match="is version 99"):
    CannIndex.open(index.directory)
  path.write_text("{")
  with pytest.raises(InputError, match="truncated or not a manifest"):
    CannIndex.open(index.directory)
  with pytest.raises(InputError, match="There is no index in"):
    CannIndex.open(index.directory.parent)

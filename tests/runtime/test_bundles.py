import errno
import json
import multiprocessing
import os
import threading

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.runtime.bundles import (
  ARRAYS,
  METADATA,
  load,
  names_in,
  offset_of,
  save,
  save_values,
  values_of,
)


@pytest.mark.parametrize("calls", range(4))
def test_a_bundle_that_fails_at_any_sync_leaves_the_old_one(bundle, monkeypatch, calls):
  # Two arrays, the manifest, its directory.
  sync, left = os.fsync, calls

  def fail_after_some(descriptor):
    nonlocal left
    if left == 0:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    left -= 1
    sync(descriptor)

  monkeypatch.setattr(os, "fsync", fail_after_some)
  with pytest.raises(OSError, match="No space left"):
    save(bundle, 1)
  assert offset_of(bundle) == 0
  assert names_in(bundle.parent) == ["bundle"]


@pytest.mark.fast
def test_a_bundle_is_read_as_written(bundle):
  loaded = load(bundle)
  assert loaded.metadata == METADATA
  assert loaded.arrays.keys() == ARRAYS.keys()
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(loaded.arrays[name], array, strict=True)
    assert isinstance(loaded.arrays[name], np.memmap)
    assert not loaded.arrays[name].flags.writeable


def test_a_bundle_is_replaced_as_a_whole(bundle):
  files.save_bundle(bundle, kind="test", version=3, arrays={"one": np.ones(2)}, metadata={})
  assert load(bundle).arrays.keys() == {"one"}
  assert names_in(bundle) == ["manifest.json", "one.npy"]
  assert names_in(bundle.parent) == ["bundle"]


def test_arrays_of_objects_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"Object arrays"):
    files.save_bundle(
      tmp_path / "b", kind="test", version=3, arrays={"a": np.array([{}])}, metadata={}
    )
  assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ARRAYS)
def test_a_damaged_file_of_a_bundle_is_named(bundle, name):
  path = bundle / f"{name}.npy"
  content = path.read_bytes()
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(InputError, match=rf"{name}\.npy was altered; remove"):
    load(bundle, verify=True)
  path.write_bytes(content[:-1])
  with pytest.raises(InputError, match=rf"{name}\.npy is truncated; remove"):
    load(bundle)
  path.unlink()
  with pytest.raises(InputError, match=rf"{name}\.npy is missing; remove"):
    load(bundle)
  path.write_bytes(content)
  load(bundle, verify=True)


def test_values_are_compared_only_when_asked(bundle):
  path = bundle / "descriptors.npy"
  content = path.read_bytes()
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  assert load(bundle).arrays["descriptors"].shape == (6, 4)
  with pytest.raises(InputError, match=r"descriptors\.npy was altered; remove"):
    files.verify_bundle(bundle)


def test_other_kinds_and_versions_are_refused(bundle):
  with pytest.raises(InputError, match="holds 'test', not 'other'"):
    load(bundle, kind="other")
  with pytest.raises(InputError, match="has version 3 of test; this program reads version 4"):
    load(bundle, version=4)
  files.write_manifest(bundle / "manifest.json", {"segments": []})
  with pytest.raises(InputError, match=r"manifest\.json is no manifest of a bundle"):
    load(bundle)
  with pytest.raises(InputError, match=r"manifest\.json is missing"):
    load(bundle.parent / "absent")


@pytest.mark.parametrize("name", ["../stray.npy", "sub/../../stray.npy", "manifest.json"])
def test_files_outside_a_bundle_are_refused(bundle, name):
  np.save(bundle.parent / "stray.npy", np.ones(3))
  manifest = files.read_manifest(bundle / "manifest.json")
  manifest["files"][name] = manifest["files"]["empty.npy"]
  files.write_manifest(bundle / "manifest.json", manifest)
  with pytest.raises(InputError, match="names a file outside its directory"):
    load(bundle)


def test_a_bundle_that_is_replaced_again_and_again_keeps_no_old_files(tmp_path):
  for value in range(4):
    save_values(tmp_path / "b", value, ("first", "second") if value % 3 else ("first", "a.1"))
    loaded = load(tmp_path / "b", verify=True)
    assert loaded.metadata == {"value": value}
    assert loaded.arrays.keys() == ({"first", "second"} if value % 3 else {"first", "a.1"})
    assert values_of(loaded) == {value}
    assert len(names_in(tmp_path / "b")) == 3
  assert names_in(tmp_path) == ["b"]


def test_a_bundle_that_is_open_outlives_its_replacement(tmp_path):
  save_values(tmp_path / "b", 1)
  before = load(tmp_path / "b")
  save_values(tmp_path / "b", 2)
  assert values_of(before) == {1}
  assert values_of(load(tmp_path / "b")) == {2}


def replace_for_ever(directory):
  for value in range(10**9):
    save_values(directory, value)


def test_who_opens_a_bundle_while_it_is_replaced_gets_one_of_them_whole(tmp_path):
  save_values(tmp_path / "b", 0)
  process = multiprocessing.get_context("spawn").Process(
    target=replace_for_ever, args=(tmp_path / "b",)
  )
  process.start()
  seen = set()
  try:
    while len(seen) < 20:
      loaded = load(tmp_path / "b", verify=len(seen) % 2 == 0)
      assert values_of(loaded) == {loaded.metadata["value"]}
      seen.add(loaded.metadata["value"])
  finally:
    process.kill()
    process.join()


def test_writers_of_one_bundle_take_turns(tmp_path):
  threads = [
    threading.Thread(target=save_values, args=(tmp_path / "b", value)) for value in range(8)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  loaded = load(tmp_path / "b", verify=True)
  assert values_of(loaded) == {loaded.metadata["value"]}
  assert names_in(tmp_path) == ["b"]


def test_a_bundle_replaces_a_damaged_one(tmp_path):
  save_values(tmp_path / "b", 1)
  (tmp_path / "b" / "first.npy").unlink()
  (tmp_path / "b" / "second.npy").write_bytes(b"")
  save_values(tmp_path / "b", 2)
  assert values_of(load(tmp_path / "b", verify=True)) == {2}
  for content in ("", "\0" * 9, "{", json.dumps({"kind": "", "files": {}, "checksum": ""})):
    (tmp_path / "b" / "manifest.json").write_text(content)
    save_values(tmp_path / "b", 3)
    assert values_of(load(tmp_path / "b", verify=True)) == {3}
    assert len(names_in(tmp_path / "b")) == 3


@pytest.mark.parametrize("name", ["photo.jpg", "notes.npy", "manifest.json", "first.npy", "a/b"])
def test_a_bundle_does_not_replace_what_is_not_ours(tmp_path, name):
  path = tmp_path / "b" / name
  path.parent.mkdir(parents=True)
  path.write_text('{"name": "an app of the web"}')
  with pytest.raises(InputError, match="b holds what is no bundle of ours; move it or give"):
    save_values(tmp_path / "b", 1)
  assert path.read_text() == '{"name": "an app of the web"}'
  assert names_in(tmp_path) == ["b"]
  assert len(list((tmp_path / "b").iterdir())) == 1


def test_a_bundle_with_a_file_of_ones_own_is_not_replaced(tmp_path):
  save_values(tmp_path / "b", 1)
  (tmp_path / "b" / "photo.jpg").touch()
  with pytest.raises(InputError, match="holds what is no bundle of ours"):
    save_values(tmp_path / "b", 2)
  assert values_of(load(tmp_path / "b")) == {1}


def test_an_empty_folder_becomes_a_bundle(tmp_path):
  (tmp_path / "b").mkdir()
  save_values(tmp_path / "b", 1)
  assert values_of(load(tmp_path / "b")) == {1}


def test_an_array_with_another_header_is_named(bundle):
  path = bundle / "descriptors.npy"
  path.write_bytes(bytes(path.stat().st_size))
  with pytest.raises(InputError, match=r"descriptors\.npy was altered; remove"):
    load(bundle)

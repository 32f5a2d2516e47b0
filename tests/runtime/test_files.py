import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import resource
import signal
import tempfile
import threading
import time

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import files, locks

ARRAYS = {
  "descriptors": np.arange(24, dtype=np.float32).reshape(6, 4),
  "empty": np.zeros((0, 3), np.float16),
}
METADATA = {"names": ["a", "b"], "dimension": 4}


@pytest.fixture
def bundle(tmp_path):
  save(tmp_path / "bundle", 0)
  return tmp_path / "bundle"


def save(directory, offset):
  arrays = {name: array + array.dtype.type(offset) for name, array in ARRAYS.items()}
  files.save_bundle(directory, kind="test", version=3, arrays=arrays, metadata=METADATA)


def load(directory, **options):
  return files.load_bundle(directory, **{"kind": "test", "version": 3, **options})


def offset_of(directory):
  return load(directory).arrays["descriptors"][0, 0]


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def test_checksums_are_those_of_blake2b(tmp_path):
  (tmp_path / "abc").write_bytes(b"abc")
  assert files.checksum_file(tmp_path / "abc") == "cf4ab791c62b8d2b2109c90275287816"
  (tmp_path / "large").write_bytes(bytes(3 << 20))
  (tmp_path / "larger").write_bytes(bytes((3 << 20) + 1))
  assert files.checksum_file(tmp_path / "large") != files.checksum_file(tmp_path / "larger")


def test_checksum_of_json_depends_on_the_value_alone():
  first = files.checksum_json({"a": 1, "b": [1.5, None]})
  assert first == files.checksum_json({"b": [1.5, None], "a": 1})
  assert first != files.checksum_json({"a": 1, "b": [1.5, 0]})
  with pytest.raises(ValueError, match="JSON compliant"):
    files.checksum_json(float("nan"))


@pytest.mark.fast
def test_an_atomic_file_appears_under_its_name_alone(tmp_path):
  target = tmp_path / "new" / "report.json"
  with files.atomic_path(target) as temporary:
    assert temporary.parent.parent == target.parent
    assert temporary.name == "report.json"
    temporary.write_text("whole")
    assert not target.exists()
  assert names_in(target.parent) == ["report.json"]
  assert target.read_text() == "whole"
  assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("reason", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, reason):
  target = tmp_path / "report.json"
  target.write_text("old")

  def write():
    with files.atomic_path(target) as temporary:
      temporary.write_text("ne")
      raise reason

  with pytest.raises(reason):
    write()
  assert names_in(tmp_path) == ["report.json"]
  assert target.read_text() == "old"


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
  files.write_json(tmp_path / "report.json", {"map": 0.5})
  with pytest.raises(ValueError, match="JSON compliant"):
    files.write_json(tmp_path / "report.json", {"map": float("nan")})
  assert names_in(tmp_path) == ["report.json"]
  assert json.loads((tmp_path / "report.json").read_text()) == {"map": 0.5}


@contextlib.contextmanager
def full_disk():
  """Refuses what a file has beyond 4 kB, as a full disk would."""
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_leaves_the_old_state(tmp_path):
  files.write_json(tmp_path / "report.json", [1])
  with full_disk(), pytest.raises(OSError, match="too large"):
    files.write_json(tmp_path / "report.json", list(range(10_000)))
  assert json.loads((tmp_path / "report.json").read_text()) == [1]
  save(tmp_path / "bundle", 0)
  arrays = {"descriptors": np.ones((100, 100))}
  with full_disk(), pytest.raises(OSError, match=r"bundle can't be written; is the disk full\?"):
    files.save_bundle(tmp_path / "bundle", kind="test", version=3, arrays=arrays, metadata={})
  assert offset_of(tmp_path / "bundle") == 0
  assert names_in(tmp_path) == ["bundle", "report.json"]


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
def test_manifests_are_read_as_written(tmp_path):
  path, body = tmp_path / "m.json", {"kind": "test", "names": ["é", "b"], "share": 0.1}
  files.write_manifest(path, body)
  assert files.read_manifest(path) == body


@pytest.mark.parametrize("keep", [0, 1, 30, -3])
def test_a_truncated_manifest_is_refused(tmp_path, keep):
  path = tmp_path / "m.json"
  files.write_manifest(path, {"kind": "test", "names": ["a", "b"]})
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(InputError, match=r"m\.json is truncated or not a manifest"):
    files.read_manifest(path)


@pytest.mark.parametrize("content", [b"null", b"[1]", b"{}", b"3", b'"checksum"', b"\xff\xfe"])
def test_other_files_are_no_manifests(tmp_path, content):
  (tmp_path / "m.json").write_bytes(content)
  with pytest.raises(InputError, match="not a manifest"):
    files.read_manifest(tmp_path / "m.json")


def test_an_altered_or_missing_manifest_is_refused(tmp_path):
  path = tmp_path / "m.json"
  with pytest.raises(InputError, match=r"m\.json is missing"):
    files.read_manifest(path)
  files.write_manifest(path, {"names": ["a", "b"]})
  path.write_text(path.read_text().replace('"b"', '"c"'))
  with pytest.raises(InputError, match=r"m\.json was altered"):
    files.read_manifest(path)


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


def test_a_lock_that_is_held_is_refused_until_it_is_free(tmp_path):
  with files.locked(tmp_path / "new", refusal="held"):
    assert names_in(tmp_path / "new") == ["lock"]
    with (
      pytest.raises(InputError, match=r"^another holds it$"),
      files.locked(tmp_path / "new", refusal="another holds it"),
    ):
      pass
    with files.locked(tmp_path / "other", refusal="held"):
      pass
  with pytest.raises(KeyError), files.locked(tmp_path / "new", refusal="held"):
    raise KeyError
  with files.locked(tmp_path / "new", refusal="held"):
    pass


def test_who_waits_for_a_lock_says_so_at_once_and_then_with_the_seconds(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(locks, "NOTICE_SECONDS", 0.6)
  order, said = [], ""

  def wait(notice):
    with files.locked(tmp_path, refusal=None, notice=notice):
      order.append(notice)

  waiting = [threading.Thread(target=wait, args=(notice,)) for notice in ("It is built.", None)]
  with files.locked(tmp_path, refusal=None, notice="never said"):
    for thread in waiting:
      thread.start()
    while said.count("\n") < 2:
      time.sleep(0.01)
      said += capsys.readouterr().err
    assert order == []
  for thread in waiting:
    thread.join()
  assert set(order) == {"It is built.", None}
  assert re.match(r"It is built\.\nIt is built\. \([1-9]\d* s\)\n", said)


def hold_lock(directory, held):
  with files.locked(directory, refusal="held"):
    held.set()
    signal.pause()


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path):
  context = multiprocessing.get_context("spawn")
  held = context.Event()
  process = context.Process(target=hold_lock, args=(tmp_path, held))
  process.start()
  assert held.wait(60)
  with pytest.raises(InputError, match="held"), files.locked(tmp_path, refusal="held"):
    pass
  process.kill()
  process.join()
  with files.locked(tmp_path, refusal="held"):
    pass


def hold_lock_with_a_child(directory, child):
  with files.locked(directory, refusal="held"):
    if pid := os.fork():
      child.value = pid
    signal.pause()


def test_a_lock_is_not_held_by_a_child_that_outlives_its_holder(tmp_path):
  context = multiprocessing.get_context("spawn")
  child = context.Value("i")
  process = context.Process(target=hold_lock_with_a_child, args=(tmp_path, child))
  process.start()
  while not child.value:
    time.sleep(0.01)
  try:
    process.kill()
    process.join()
    with files.locked(tmp_path, refusal="held"):
      pass
  finally:
    os.kill(child.value, signal.SIGKILL)


def test_locks_of_many_processes_exclude_each_other(tmp_path):
  (tmp_path / "count").write_text("0")
  context = multiprocessing.get_context("spawn")
  processes = [context.Process(target=count_up, args=(tmp_path, 20)) for _ in range(4)]
  for process in processes:
    process.start()
  for process in processes:
    process.join()
  assert (tmp_path / "count").read_text() == "80"


def count_up(directory, times):
  for _ in range(times):
    with files.locked(directory, refusal=None):
      count = int((directory / "count").read_text())
      (directory / "count").write_text(str(count + 1))


def save_values(directory, value, names=("first", "second")):
  arrays = {name: np.full(5, value) for name in names}
  files.save_bundle(directory, kind="test", version=3, arrays=arrays, metadata={"value": value})


def values_of(bundle):
  return {int(value) for array in bundle.arrays.values() for value in array}


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


@pytest.mark.parametrize("content", ['// an extension\n{"name": "mine"}', "cargo: 3 boxes"])
def test_a_manifest_that_is_no_json_and_not_ours_is_kept(tmp_path, content):
  (tmp_path / "manifest.json").write_text(content)
  with pytest.raises(InputError, match="holds what is no bundle of ours"):
    save_values(tmp_path, 1)
  assert (tmp_path / "manifest.json").read_text() == content
  assert names_in(tmp_path) == ["manifest.json"]


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


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
  (tmp_path / ".b.l2g" / "b").mkdir(parents=True)
  (tmp_path / ".b.l2g" / "lock").touch()
  (tmp_path / ".b.l2g" / "b" / "first.npy").write_bytes(b"half")
  (tmp_path / ".report.json.l2g").mkdir()
  (tmp_path / ".report.json.l2g" / "report.json").write_text("half")
  save_values(tmp_path / "b", 1)
  files.write_json(tmp_path / "report.json", 1)
  assert names_in(tmp_path) == ["b", "report.json"]
  assert values_of(load(tmp_path / "b", verify=True)) == {1}


def test_leftovers_are_removed_but_not_what_is_being_written(tmp_path):
  (tmp_path / ".dead.json.l2g").mkdir()
  (tmp_path / ".dead.json.l2g" / "lock").touch()
  (tmp_path / ".dead.json.l2g" / "dead.json").write_text("half")
  (tmp_path / ".mine.l2g").mkdir()
  (tmp_path / ".mine.l2g" / "photo.jpg").touch()
  with files.atomic_path(tmp_path / "live.json") as temporary:
    temporary.write_text("whole")
    files.remove_leftovers(tmp_path)
    assert names_in(tmp_path) == [".live.json.l2g", ".mine.l2g"]
  assert names_in(tmp_path) == [".mine.l2g", "live.json"]


def test_only_what_is_provably_ours_is_removed(tmp_path):
  root = tmp_path / "root"
  save_values(root / "bundle", 1)
  save_values(root / "replaced", 1)
  save_values(root / "replaced", 2)
  save_values(root / "with-a-photo", 1)
  (root / "with-a-photo" / "photo.jpg").touch()
  save_values(root / "with-a-link", 1)
  (root / "with-a-link" / "third.npy").symlink_to(root / "with-a-link" / "first.npy")
  save_values(tmp_path / "elsewhere", 1)
  (root / "link").symlink_to(tmp_path / "elsewhere")
  (root / "photos").mkdir()
  (root / "photos" / "a.jpg").touch()
  (root / "web").mkdir()
  (root / "web" / "manifest.json").write_text('{"name": "an app of the web"}')
  (root / "web" / "first.npy").touch()
  files.write_manifest(root / "job.json", {"a": 1})
  files.write_json(root / "report.json", {"a": 1})
  (root / "lock").touch()
  (root / "ours").mkdir()
  save_values(root / "ours" / "part", 1)
  assert not files.remove_ours(root)
  left = ["link", "photos", "report.json", "web", "with-a-link", "with-a-photo"]
  assert names_in(root) == left
  assert values_of(load(root / "link")) == {1}
  assert len(names_in(root / "with-a-photo")) == 4
  assert len(names_in(root / "web")) == 2
  assert files.remove_ours(root / "absent")
  assert not files.remove_ours(root / "link")
  assert values_of(load(tmp_path / "elsewhere")) == {1}


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
  (tmp_path / "far").mkdir()
  target, link = tmp_path / "far" / "report.json", tmp_path / "link.json"
  target.write_text("old")
  target.chmod(0o640)
  link.symlink_to(target)
  files.write_json(link, [1])
  assert link.is_symlink()
  assert json.loads(target.read_text()) == [1]
  assert target.stat().st_mode & 0o777 == 0o640
  assert names_in(tmp_path / "far") == ["report.json"]


def test_what_is_no_file_is_not_replaced(tmp_path):
  (tmp_path / "report.json").mkdir()
  os.mkfifo(tmp_path / "pipe")
  for name in ("report.json", "pipe"):
    with pytest.raises(InputError, match=f"{name} is no plain file; give another name"):
      files.write_json(tmp_path / name, [1])
  assert names_in(tmp_path) == ["pipe", "report.json"]
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match=r"file/report\.json can't be written"):
    files.write_json(tmp_path / "file" / "report.json", [1])


def write_as_nobody(directory, name):
  os.setuid(65534)
  with pytest.raises(OSError, match=rf"{name} can't be written"):
    files.write_json(directory / name, [1])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="drops the rights of root")
def test_a_file_that_may_not_be_written_is_named(tmp_path):
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / "report.json").write_text("old")
  tmp_path.chmod(0o777)
  root = pathlib.Path(tempfile.gettempdir())
  for parent in itertools.takewhile(lambda path: path != root, tmp_path.parents):
    parent.chmod(0o755)

  (tmp_path / "mine.json").write_text("old")
  for name in ("folder/report.json", "folder/new.json", "mine.json"):
    process = multiprocessing.get_context("spawn").Process(
      target=write_as_nobody, args=(tmp_path, name)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
  assert (tmp_path / "folder" / "report.json").read_text() == "old"
  assert (tmp_path / "mine.json").read_text() == "old"


def test_a_system_that_can_not_sync_folders_is_no_error(tmp_path, monkeypatch):
  sync = os.fsync

  def refuse_folders(descriptor):
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
      raise OSError(errno.EINVAL, "Invalid argument")
    sync(descriptor)

  monkeypatch.setattr(os, "fsync", refuse_folders)
  save_values(tmp_path / "b", 1)
  save_values(tmp_path / "b", 2)
  assert values_of(load(tmp_path / "b")) == {2}


def test_an_array_with_another_header_is_named(bundle):
  path = bundle / "descriptors.npy"
  path.write_bytes(bytes(path.stat().st_size))
  with pytest.raises(InputError, match=r"descriptors\.npy was altered; remove"):
    load(bundle)

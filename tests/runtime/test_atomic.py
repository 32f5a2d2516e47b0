import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import tempfile

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.runtime.bundles import load, names_in, offset_of, save, save_values, values_of


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

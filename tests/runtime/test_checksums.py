import hashlib
import os
import pathlib

import pytest

from l2g_jax.runtime import checksums, digests, files
from l2g_jax.runtime.checksums import checksum_files

# Long before now, so that a file is not one that may just be changing.
OLD = 10**18
CONTENTS = [b"one", b"two", b"one"]
KNOWN = [hashlib.blake2b(content, digest_size=16).hexdigest() for content in CONTENTS]


@pytest.fixture
def read(monkeypatch):
  """Which files were read."""
  seen = []
  original = digests.checksum_file

  def checksum_file(path):
    seen.append(pathlib.Path(path).name)
    return original(path)

  monkeypatch.setattr(digests, "checksum_file", checksum_file)
  return seen


@pytest.fixture
def paths(tmp_path, monkeypatch):
  monkeypatch.setattr(checksums, "RACY_NS", -(10**18))  # times of entries can't be set
  made = [tmp_path / name for name in "abc"]
  for path, content in zip(made, CONTENTS, strict=True):
    path.write_bytes(content)
    os.utime(path, ns=(OLD, OLD))
  return made


def test_checksums_are_those_of_the_contents(tmp_path, paths, read):
  odd = [tmp_path / "missing", tmp_path]
  assert checksum_files([*paths, *odd]) == [*KNOWN, None, None]
  os.mkfifo(tmp_path / "pipe")
  assert checksum_files([tmp_path / "pipe"]) == [None]
  assert sorted(read) == ["a", "b", "c"]


def test_files_are_read_once(tmp_path, paths, read):
  memory = tmp_path / "memory.json"
  for _ in range(3):
    assert checksum_files(paths, memory) == KNOWN
  assert sorted(read) == ["a", "b", "c"]
  # Paths may come in any order, and twice.
  assert checksum_files(paths[::-1] + paths, memory) == KNOWN[::-1] + KNOWN
  assert len(read) == 3


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path, paths, read):
  memory = tmp_path / "memory.json"
  checksum_files(paths, memory)
  paths[1].write_bytes(b"six")
  os.utime(paths[1], ns=(OLD, OLD))
  found = checksum_files(paths, memory)
  assert found == checksum_files(paths)
  assert found[1] != KNOWN[1]
  # One that takes its place.
  other = tmp_path / "other"
  other.write_bytes(b"ten")
  os.utime(other, ns=(OLD, OLD))
  other.replace(paths[2])
  assert checksum_files(paths, memory) == checksum_files(paths)


def test_what_may_just_be_changing_is_not_remembered(tmp_path, paths, read, monkeypatch):
  monkeypatch.setattr(checksums, "RACY_NS", 3_000_000_000)
  memory = tmp_path / "memory.json"
  for _ in range(2):
    assert checksum_files(paths, memory) == KNOWN
  assert len(read) == 6


def test_what_is_gone_is_forgotten_and_what_was_not_asked_for_is_not(tmp_path, paths, read):
  memory = tmp_path / "memory.json"
  checksum_files(paths[:2], memory)
  paths[0].unlink()
  assert checksum_files(paths, memory) == [None, *KNOWN[1:]]
  assert sorted(files.read_manifest(memory)["files"]) == [str(path) for path in paths[1:]]
  read.clear()
  checksum_files(paths, memory)
  assert read == []


@pytest.mark.parametrize("content", ["", "[]", '{"checksum": "x"}'])
def test_a_damaged_memory_is_made_again(tmp_path, paths, content):
  memory = tmp_path / "memory.json"
  memory.write_text(content)
  assert checksum_files(paths, memory) == KNOWN
  assert len(files.read_manifest(memory)["files"]) == 3


def test_a_memory_that_can_not_be_written_is_no_error(paths):
  for _ in range(2):
    assert checksum_files(paths, paths[0] / "memory.json") == KNOWN

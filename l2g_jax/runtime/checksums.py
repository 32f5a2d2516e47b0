"""Checksums of many files, remembered for as long as the files stay as they are."""

import concurrent.futures
import contextlib
import os
import pathlib
import stat
import time
from collections.abc import Mapping, Sequence

from l2g_jax.errors import InputError
from l2g_jax.runtime import digests
from l2g_jax.runtime.manifests import read_manifest, write_manifest
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import available_cores

NAME = "checksums.json"
_KIND = "l2g_jax.checksums"
_VERSION = 1
# A file that changed so shortly before it was read may change again within one tick of the file
# system's clock, unseen; that of FAT counts two seconds.
RACY_NS = 3_000_000_000
# Size of a file, times of change of its content and its entry in ns, inode; then the checksum.
_Entry = list[int | str]


def checksum_files(
  paths: Sequence[os.PathLike | str],
  memory: os.PathLike | str | None = None,
  *,
  show_progress: bool = True,
) -> list[str | None]:
  """Returns the checksum of every file's content.

  Args:
    paths: the files.
    memory: a file of ours that remembers checksums by path, size, times of change and inode, if it
      can be written; None = read every file.
    show_progress: whether to show a bar where this takes longer than a second.

  Returns:
    The checksum of `digests.checksum_file` for every path; None where there is no file, or it can't
    be read.
  """
  absolute = [os.path.abspath(path) for path in paths]
  remembered = {} if memory is None else _read(pathlib.Path(memory))
  found: dict[str, _Entry] = {}
  unknown: list[str] = []
  for path in dict.fromkeys(absolute):
    state = _state(path)
    entry = remembered.get(path)
    if state is None:
      continue
    if entry is not None and entry[:-1] == state:
      found[path] = entry
    else:
      unknown.append(path)
  if unknown:
    fresh = _hash(unknown, show_progress=show_progress)
    found |= {path: entry for path, (entry, _) in fresh.items()}
    settled = {path: entry for path, (entry, is_settled) in fresh.items() if is_settled}
    if memory is not None and settled:
      # On a full or read-only disk the files are read again next time.
      with contextlib.suppress(OSError):
        _write(pathlib.Path(memory), settled)
  return [str(found[path][-1]) if path in found else None for path in absolute]


def checksum_file(path: os.PathLike | str) -> str | None:
  """Reads one file and returns its checksum, or None, as `checksum_files` does."""
  try:
    return digests.checksum_file(path) if _state(os.fspath(path)) is not None else None
  except OSError:
    return None


def _hash(paths: Sequence[str], *, show_progress: bool) -> dict[str, tuple[_Entry, bool]]:
  """Reads files; returns an entry for each readable one, and whether to remember it."""
  with (
    concurrent.futures.ThreadPoolExecutor(available_cores()) as pool,
    Meter(
      "checksums", total=len(paths), unit="files", delay=1.0, disabled=not show_progress
    ) as meter,
  ):
    made = {}
    for path, result in zip(paths, pool.map(_hash_file, paths), strict=True):
      meter.advance()
      if result is not None:
        made[path] = result
    return made


def _hash_file(path: str) -> tuple[_Entry, bool] | None:
  start = time.time_ns()
  before, checksum = _state(path), checksum_file(path)
  if before is None or checksum is None:
    return None
  _, modified, changed, _ = before
  return [*before, checksum], _state(path) == before and start - max(modified, changed) > RACY_NS


def _state(path: str) -> list[int] | None:
  """Returns properties that change with a file's content, but for malice; None without a file."""
  try:
    status = os.stat(path)
  except OSError:
    return None
  if not stat.S_ISREG(status.st_mode):
    return None
  return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(memory: pathlib.Path) -> Mapping[str, _Entry]:
  """Reads the remembered entries; none where they were never written or are damaged."""
  try:
    content = read_manifest(memory)
  except InputError:
    return {}
  fits = (content.get("kind"), content.get("version")) == (_KIND, _VERSION)
  return content["files"] if fits else {}


def _write(memory: pathlib.Path, fresh: Mapping[str, _Entry]) -> None:
  """Remembers more files, and forgets those that are gone."""
  kept = {path: entry for path, entry in _read(memory).items() if os.path.exists(path)}
  body = {"kind": _KIND, "version": _VERSION, "files": {**kept, **fresh}}
  write_manifest(memory, body)

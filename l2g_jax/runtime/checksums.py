"""Checksums of files' contents, remembered for as long as the files are as they were."""

import concurrent.futures
import contextlib
import os
import pathlib
import stat
import time
from collections.abc import Mapping, Sequence

from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import available_cores

NAME = "checksums.json"
_KIND = "l2g_jax.checksums"
_VERSION = 1
# A file that changed this shortly before it was read may change again without another time of
# change: clocks of file systems are coarse, that of FAT counts two seconds.
_RACY_NS = 3_000_000_000
# Of a file: its size, times of change of content and of entry, in ns, and inode; then the checksum.
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
      can be written; None reads every file.
    show_progress: whether to show a bar where this takes longer than a second.

  Returns:
    For every path the checksum that `files.checksum_file` gives; None where there is no file, or it
    can't be read.
  """
  places = [os.path.abspath(path) for path in paths]
  remembered = {} if memory is None else _read(pathlib.Path(memory))
  found: dict[str, _Entry] = {}
  unknown: list[str] = []
  for place in dict.fromkeys(places):
    state = _state(place)
    entry = remembered.get(place)
    if state is None:
      continue
    if entry is not None and entry[:-1] == state:
      found[place] = entry
    else:
      unknown.append(place)
  if unknown:
    fresh = _hash(unknown, show_progress=show_progress)
    found |= {place: entry for place, (entry, _) in fresh.items()}
    settled = {place: entry for place, (entry, is_settled) in fresh.items() if is_settled}
    if memory is not None and settled:
      # What can't be remembered, on a full or read-only disk, is read again.
      with contextlib.suppress(OSError):
        _write(pathlib.Path(memory), settled)
  return [str(found[place][-1]) if place in found else None for place in places]


def checksum_file(path: os.PathLike | str) -> str | None:
  """Returns what `checksum_files` does of one file, which is read."""
  try:
    return files.checksum_file(path) if _state(os.fspath(path)) is not None else None
  except OSError:
    return None


def _hash(places: Sequence[str], *, show_progress: bool) -> dict[str, tuple[_Entry, bool]]:
  """Reads files; returns an entry of each that can be read, and whether it may be remembered."""
  with (
    concurrent.futures.ThreadPoolExecutor(available_cores()) as pool,
    Meter(
      "checksums", total=len(places), unit="files", delay=1.0, disabled=not show_progress
    ) as meter,
  ):
    made = {}
    for place, result in zip(places, pool.map(_hash_file, places), strict=True):
      meter.advance()
      if result is not None:
        made[place] = result
    return made


def _hash_file(place: str) -> tuple[_Entry, bool] | None:
  start = time.time_ns()
  before, checksum = _state(place), checksum_file(place)
  if before is None or checksum is None:
    return None
  _, modified, changed, _ = before
  return [*before, checksum], _state(place) == before and start - max(modified, changed) > _RACY_NS


def _state(place: str) -> list[int] | None:
  """Returns what changes with a file's content, unless it is changed by malice."""
  try:
    status = os.stat(place)
  except OSError:
    return None
  if not stat.S_ISREG(status.st_mode):
    return None
  return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(memory: pathlib.Path) -> Mapping[str, _Entry]:
  """Reads what is remembered; nothing where that was never written or is damaged."""
  try:
    content = files.read_manifest(memory)
  except InputError:
    return {}
  fits = (content.get("kind"), content.get("version")) == (_KIND, _VERSION)
  return content["files"] if fits else {}


def _write(memory: pathlib.Path, fresh: Mapping[str, _Entry]) -> None:
  """Remembers more files, and forgets those that are gone; what is lost is read again."""
  kept = {place: entry for place, entry in _read(memory).items() if os.path.exists(place)}
  body = {"kind": _KIND, "version": _VERSION, "files": {**kept, **fresh}}
  files.write_manifest(memory, body)

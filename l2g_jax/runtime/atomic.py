"""Files that are whole or absent: locks, atomic writes, and manifests with their own checksum.

Whatever is written is written in a folder `.<name>.l2g` beside its target, whose lock the writer
holds. The next writer of that target takes over what a killed one left there.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import filelock

from l2g_jax.errors import InputError

LOCK = "lock"
_WORKPLACE = ".l2g"
_CHUNK_BYTES = 1 << 20
# Between two lines of somebody who waits for a lock.
_NOTICE_SECONDS = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What systems answer that can't sync a directory.
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def checksum_file(path: os.PathLike | str) -> str:
  """Returns the BLAKE2b-128 checksum of a file's content as hexadecimal digits."""
  digest = hashlib.blake2b(digest_size=16)
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
  return digest.hexdigest()


def checksum_json(value: Any) -> str:
  """Returns the BLAKE2b-128 checksum of a JSON value's canonical text, for keys and manifests."""
  text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sync_directory(path: os.PathLike | str) -> None:
  """Makes renames and new names in a directory durable, where the system can."""
  if os.name == "nt":
    return
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno not in _UNSUPPORTED:
      raise
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def locked(
  directory: os.PathLike | str, *, refusal: str | None, notice: str | None = None
) -> Iterator[None]:
  """Holds the lock of a directory, which is made; a process that is killed lets go of it.

  Locks of one process exclude each other as those of two do. A forked child does not hold the lock
  of its parent.

  Args:
    directory: where the lock is.
    refusal: what an InputError says where it is held already; None = wait until it is free.
    notice: what stderr is told at once by one who has to wait, and every ten seconds again.

  Raises:
    InputError: the lock is held, and there is a refusal.
    OSError: the directory can't be written.
  """
  # A link may lead to a folder that is not there yet.
  root = pathlib.Path(os.path.realpath(directory))
  # Whoever leaves the context lets go of the lock, be it another thread.
  lock = filelock.FileLock(root / LOCK, thread_local=False)
  start, patience = time.monotonic(), 0.0
  while not lock.is_locked:
    root.mkdir(parents=True, exist_ok=True)
    try:
      lock.acquire(timeout=patience)
    except FileNotFoundError:  # who held it removed the directory
      continue
    except filelock.Timeout:
      if refusal is not None:
        raise InputError(refusal) from None
      if notice is not None:
        waited = f" ({time.monotonic() - start:.0f} s)" if patience else ""
        print(f"{notice}{waited}", file=sys.stderr, flush=True)
      patience = _NOTICE_SECONDS
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def atomic_path(path: os.PathLike | str) -> Iterator[pathlib.Path]:
  """Yields a temporary path of the same name; what is written there is synced and moved on success.

  On an exception `path` is as it was before. A link stays, and what it leads to is replaced.

  Raises:
    InputError: there is something that is no file.
    OSError: the disk is full or can't be written; the message names the file.
  """
  target = pathlib.Path(os.path.realpath(path))
  if target.exists() and not target.is_file():
    raise InputError(f"{path} is no plain file; give another name.")
  with writing(target), workplace(target) as place:
    temporary = place / target.name
    yield temporary
    if target.exists():
      if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "It is write-protected", str(target))
      shutil.copymode(target, temporary)
    with open(temporary, "r+b") as file:
      os.fsync(file.fileno())
    temporary.replace(target)
    sync_directory(target.parent)


@contextlib.contextmanager
def writing(target: pathlib.Path) -> Iterator[None]:
  """Lets an OSError name what was being written."""
  try:
    yield
  except OSError as error:
    reason = "; is the disk full?" if error.errno in _FULL else "."
    raise OSError(f"{target} can't be written{reason} {error}") from error


@contextlib.contextmanager
def workplace(target: pathlib.Path, *, refusal: str | None = None) -> Iterator[pathlib.Path]:
  """Holds the folder beside a target in which that is made, under its own name.

  Writers of one target take turns. What a killed one left is gone when the next begins; what is
  left under the target's name is gone in the end.
  """
  place = target.with_name(f".{target.name}{_WORKPLACE}")
  if place.is_symlink():
    raise InputError(f"{place} is a link where a folder of ours would be; remove it.")
  notice = f"{target} is being written by another process; waiting for it."
  try:
    with locked(place, refusal=refusal, notice=notice):
      try:
        _clear(place / target.name)
        yield place
      finally:
        _clear(place / target.name)
        # While it is held: who waits for it sees that it is gone, and makes another.
        with contextlib.suppress(OSError):
          (place / LOCK).unlink()
  finally:
    with contextlib.suppress(OSError):
      place.rmdir()


def _clear(path: pathlib.Path) -> None:
  """Removes a file or folder that was not finished."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def target_of(path: pathlib.Path) -> str | None:
  """Returns the name of what is or was being written in a folder; None = it is no such folder."""
  match = re.fullmatch(rf"\.(.+){re.escape(_WORKPLACE)}", path.name)
  return match[1] if match else None


def write_json(path: os.PathLike | str, value: Any) -> None:
  """Writes a JSON value atomically, with sorted keys and no NaN."""
  with atomic_path(path) as temporary:
    temporary.write_text(_json_text(value), encoding="utf-8")


def write_manifest(path: os.PathLike | str, body: Mapping[str, Any]) -> None:
  """Writes a JSON object with its own checksum, atomically."""
  with atomic_path(path) as temporary:
    temporary.write_text(manifest_text(body), encoding="utf-8")


def manifest_text(body: Mapping[str, Any]) -> str:
  """Returns what `write_manifest` writes."""
  return _json_text({**body, "checksum": checksum_json(dict(body))})


def _json_text(value: Any) -> str:
  return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_manifest(path: os.PathLike | str) -> dict[str, Any]:
  """Reads what `write_manifest` wrote; InputError where it is missing, truncated or altered."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing.")
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    intact = manifest.pop("checksum") == checksum_json(manifest)
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise InputError(f"{path} is truncated or not a manifest.") from error
  if not intact:
    raise InputError(f"{path} was altered.")
  return manifest

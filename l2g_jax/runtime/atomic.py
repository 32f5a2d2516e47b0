"""Atomic writes: a file or folder appears under its name whole, or not at all.

Everything is first written in a folder `.<name>.l2g` beside its target. The writer holds the lock
of that folder; the next writer of the target clears what a killed one left there.
"""

import contextlib
import errno
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from l2g_jax.errors import InputError
from l2g_jax.runtime.locks import LOCK, locked

_SUFFIX = ".l2g"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors of systems that can't sync a folder.
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def atomic_path(path: os.PathLike | str) -> Iterator[pathlib.Path]:
  """Yields a temporary path of the same name; the file written there replaces `path` on success.

  An exception leaves `path` as it was. A link stays, and the file that it leads to is replaced.

  Raises:
    InputError: `path` is there and is not a file.
    OSError: the disk is full or can't be written; the message names the file.
  """
  target = pathlib.Path(os.path.realpath(path))
  if target.exists() and not target.is_file():
    raise InputError(f"{path} is no plain file; give another name.")
  with writing(target), workplace(target) as folder:
    temporary = folder / target.name
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
def workplace(target: pathlib.Path, *, refusal: str | None = None) -> Iterator[pathlib.Path]:
  """Yields the folder beside a target in which the target is made, under its own name.

  Writers of one target take turns. The folder is empty when a turn begins; a target that is still
  in it at the end is removed.

  Args:
    target: the file or folder to be.
    refusal: the message of the InputError if another writer is at work; None = wait.
  """
  folder = target.with_name(f".{target.name}{_SUFFIX}")
  if folder.is_symlink():
    raise InputError(f"{folder} is a link where a folder of ours would be; remove it.")
  notice = f"{target} is being written by another process; waiting for it."
  try:
    with locked(folder, refusal=refusal, notice=notice):
      try:
        _clear(folder / target.name)
        yield folder
      finally:
        _clear(folder / target.name)
        # While the lock is held: whoever waits for it finds it gone and makes another.
        with contextlib.suppress(OSError):
          (folder / LOCK).unlink()
  finally:
    with contextlib.suppress(OSError):
      folder.rmdir()


def _clear(path: pathlib.Path) -> None:
  """Removes an unfinished file or folder."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def target_of(path: pathlib.Path) -> str | None:
  """Returns the name of the target that is made in a folder; None = the folder is no workplace."""
  match = re.fullmatch(rf"\.(.+){re.escape(_SUFFIX)}", path.name)
  return match[1] if match else None


@contextlib.contextmanager
def writing(target: pathlib.Path) -> Iterator[None]:
  """Names the target in an OSError of the block."""
  try:
    yield
  except OSError as error:
    reason = "; is the disk full?" if error.errno in _FULL else "."
    raise OSError(f"{target} can't be written{reason} {error}") from error


def sync_directory(path: os.PathLike | str) -> None:
  """Makes renames and new names in a folder durable, where the system can."""
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

"""Locks of folders, which end with the process that holds them."""

import contextlib
import multiprocessing
import os
import pathlib
import stat
import sys
import time
from collections.abc import Iterator

import filelock

from l2g_jax.errors import InputError

LOCK = "lock"
# How often somebody who waits says so.
NOTICE_SECONDS = 10.0


@contextlib.contextmanager
def locked(
  directory: os.PathLike | str, *, refusal: str | None, notice: str | None = None
) -> Iterator[None]:
  """Holds the lock of a folder, which is made if it is missing.

  A process that is killed lets go of its locks. Two locks in one process exclude each other as
  those in two processes do. A forked child does not hold the lock of its parent.

  filelock waits without a word and expects the folder to stay, so the loop around it is ours.

  Args:
    directory: the folder.
    refusal: the message of the InputError if the lock is held; None = wait until it is free.
    notice: a line for stderr, at once and every ten seconds while the lock is held.

  Raises:
    InputError: the lock is held, and there is a refusal; or a worker process that is only starting
      asks for it, which would wait for its own parent.
    OSError: the folder can't be written.
  """
  # A script without a guard is run again by every worker that it starts, as these import it.
  if getattr(multiprocessing.current_process(), "_inheriting", False):
    raise InputError(
      "Worker processes import the script that starts them, and this one would begin anew in each:"
      ' put what it does under `if __name__ == "__main__":`.'
    )
  # A link may lead to a folder that is not there yet.
  root = pathlib.Path(os.path.realpath(directory))
  # Another thread than the one that took the lock may leave the context.
  lock = filelock.FileLock(root / LOCK, thread_local=False)
  start, patience = time.monotonic(), 0.0
  while not lock.is_locked:
    try:
      lock.acquire(timeout=patience)  # makes the folder
    except (FileExistsError, FileNotFoundError):  # the last holder removed it meanwhile
      if not _is_folder_or_missing(root):
        raise
    except filelock.Timeout:
      if refusal is not None:
        raise InputError(refusal) from None
      if notice is not None:
        waited = f" ({time.monotonic() - start:.0f} s)" if patience else ""
        print(f"{notice}{waited}", file=sys.stderr, flush=True)
      patience = NOTICE_SECONDS
  try:
    yield
  finally:
    lock.release()


def _is_folder_or_missing(path: pathlib.Path) -> bool:
  try:
    return stat.S_ISDIR(path.stat().st_mode)
  except FileNotFoundError:
    return True

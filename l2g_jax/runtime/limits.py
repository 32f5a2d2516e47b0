"""Limits that the system sets to a process and to names."""

import contextlib
import errno
import pathlib

try:
  import resource
except ImportError:  # Windows has no such limit
  resource = None


def allow_open_files(count: int) -> None:
  """Raises the number of files that this process may have open to `count`, as far as it may.

  A memory map keeps its file open, and systems begin with a limit of 256 or 1024 files. psutil sets
  limits on Linux alone.
  """
  if resource is None:
    return
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = count if hard == resource.RLIM_INFINITY else min(count, hard)
  if soft != resource.RLIM_INFINITY and soft < most:
    # A system may have a lower limit of its own; opening too many files is then an error.
    with contextlib.suppress(OSError, ValueError):
      resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def is_file(path: pathlib.Path) -> bool:
  """Returns whether there is a file; False too for a name that is too long for one.

  Names out of files may be so. pathlib says the same of names with a zero byte.
  """
  try:
    return path.is_file()
  except OSError as error:
    if error.errno != errno.ENAMETOOLONG:
      raise
    return False

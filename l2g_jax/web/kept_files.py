"""A folder of files that can be made again, of bounded size: what is unused for longest goes."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator

from l2g_jax.data.photo_folders import mark_work_folder

# After so much of the limit was taken up, files are removed until so much of it is left.
_KEPT_SHARE = 0.9


class KeptFiles:
  """Files by name in a folder; any number of threads and processes may share it.

  Attributes:
    root: the folder.
  """

  def __init__(self, root: pathlib.Path, *, most_bytes: int, most_files: int | None = None):
    """Makes the folder.

    Args:
      root: the folder; nothing else may lie in it.
      most_bytes: of all files together.
      most_files: None = any number.
    """
    self.root = root
    self._most_bytes, self._most_files = most_bytes, most_files
    self._lock = threading.Lock()
    self._making: dict[str, threading.Lock] = {}
    mark_work_folder(root)
    self._num_bytes, self._num_files = 0, 0
    self._trim()

  def find(self, name: str) -> pathlib.Path | None:
    """Returns a file that is there, and notes that it was used."""
    path = self.root / name
    try:
      os.utime(path)
    except OSError:
      return None
    return path

  def make(self, name: str, write: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """Returns a file, which is written if it is not there.

    Args:
      name: of the file.
      write: writes it whole or not at all; two threads never write one file at once.
    """
    with self._making_one(name):
      path = self.find(name)
      if path is None:
        path = self.root / name
        write(path)
        self.count(path)
    return path

  def count(self, path: pathlib.Path) -> None:
    """Counts a file that was written, and removes others where there are too many."""
    with self._lock:
      self._num_bytes += path.stat().st_size
      self._num_files += 1
      is_full = self._num_bytes > self._most_bytes
      is_full |= self._most_files is not None and self._num_files > self._most_files
    if is_full:
      self._trim()

  @contextlib.contextmanager
  def _making_one(self, name: str) -> Iterator[None]:
    with self._lock:
      lock = self._making.setdefault(name, threading.Lock())
    with lock:
      yield
    with self._lock:
      self._making.pop(name, None)

  def _trim(self) -> None:
    """Counts all files, and removes those that were not used for longest."""
    with self._lock:
      found = []
      with os.scandir(self.root) as scan:
        for entry in scan:
          # Another process may remove it meanwhile.
          with contextlib.suppress(OSError):
            if entry.is_file(follow_symlinks=False) and entry.name != "CACHEDIR.TAG":
              status = entry.stat()
              found.append((status.st_mtime_ns, entry.path, status.st_size))
      found.sort()
      self._num_bytes, self._num_files = sum(size for *_, size in found), len(found)
      bytes_left, files_left = self._most_bytes, self._most_files
      if not self._is_full(bytes_left, files_left):
        return
      for _, path, size in found:
        if not self._is_full(
          int(_KEPT_SHARE * bytes_left), files_left and int(_KEPT_SHARE * files_left)
        ):
          break
        with contextlib.suppress(OSError):
          os.unlink(path)
        self._num_bytes -= size
        self._num_files -= 1

  def _is_full(self, num_bytes: int, num_files: int | None) -> bool:
    return self._num_bytes > num_bytes or (num_files is not None and self._num_files > num_files)

"""Runs something in a forked child, which ends at a given write, rename, removal or sync.

The child counts every moment at which a folder may change: before each file is opened for writing,
before and in the middle of each write, before each rename, removal, new folder and sync.
"""

import builtins
import io
import os
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_KILLED = 17
# Longer than anything takes here: whatever does not end by then hangs.
_SECONDS = 120.0


class _Points:
  """Counts points below a folder, and ends the process at one."""

  def __init__(self, root: pathlib.Path, last: int | None):
    self.root, self.last, self.count = os.fspath(root), last, 0

  def reach(self) -> None:
    if self.count == self.last:
      os._exit(_KILLED)
    self.count += 1

  def watch(self) -> None:
    """Watches this process, until it ends."""
    sys.addaudithook(self._hear)
    real, points = builtins.open, self

    class Writer(io.FileIO):
      def write(self, content):
        view = memoryview(content).cast("B")
        points.reach()
        written = super().write(view[: len(view) // 2])
        points.reach()
        return written + super().write(view[len(view) // 2 :])

    def open_counted(file, mode="r", buffering=-1, encoding=None, *arguments, **options):
      if not set(mode) & set("wax") or not self._is_inside(file):
        return real(file, mode, buffering, encoding, *arguments, **options)
      raw = Writer(os.fspath(file), mode.replace("b", "").replace("t", ""))
      buffered = io.BufferedWriter(raw)
      return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding=encoding)

    # A killed process loses nothing that it has written, synced or not.
    builtins.open = io.open = open_counted
    os.fsync = lambda descriptor: self.reach()

  def _hear(self, event: str, arguments: tuple) -> None:
    changing = event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITING)
    if changing and self._is_inside(arguments[0]):
      self.reach()

  def _is_inside(self, path: object) -> bool:
    return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)


def _end(change: Callable[[pathlib.Path], object], root: pathlib.Path) -> NoReturn:
  try:
    change(root)
  except BaseException:
    traceback.print_exc()
    os._exit(1)
  os._exit(0)


def count(change: Callable[[pathlib.Path], object], root: pathlib.Path) -> int:
  """Runs a change to its end in a child, and returns how many points it passes."""
  reader, writer = os.pipe()
  if not (child := os.fork()):
    points = _Points(root, None)
    points.watch()

    def change_and_tell(root: pathlib.Path) -> None:
      change(root)
      os.write(writer, str(points.count).encode())

    _end(change_and_tell, root)
  os.close(writer)
  with open(reader) as pipe:
    passed = pipe.read()
  assert os.waitpid(child, 0)[1] == 0
  return int(passed)


def kill_at(change: Callable[[pathlib.Path], object], root: pathlib.Path, point: int) -> None:
  """Runs a change in a child that ends at a point."""
  if not (child := os.fork()):
    points = _Points(root, point)
    points.watch()
    _end(change, root)
  assert os.waitstatus_to_exitcode(_wait(child)) == _KILLED


def kill_after(
  change: Callable[[pathlib.Path], object], root: pathlib.Path, seconds: float
) -> bool:
  """Runs a change in a child that is killed after some time; whether it was hit."""
  if not (child := os.fork()):
    os.fsync = lambda descriptor: None
    _end(change, root)
  time.sleep(seconds)
  os.kill(child, signal.SIGKILL)
  code = os.waitstatus_to_exitcode(_wait(child))
  assert code in (0, -signal.SIGKILL), code
  return code != 0


def _wait(child: int) -> int:
  deadline = time.monotonic() + _SECONDS
  while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
      return status
    time.sleep(0.001)
  os.kill(child, signal.SIGKILL)
  os.waitpid(child, 0)
  raise TimeoutError("The child hangs.")

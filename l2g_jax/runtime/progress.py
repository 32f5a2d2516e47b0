"""Shows on stderr how far long work is: as a bar in a terminal, elsewhere as a line now and then.

A log gets a line at most every ten seconds, and none for work that takes less.
"""

import collections
import contextlib
import contextvars
import functools
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import rich.console
import rich.filesize
import rich.progress

T = TypeVar("T")

BYTES = "bytes"

# A reader sees a bar move, and tight loops spend their time on their work.
_BAR_SECONDS = 0.1
_LINE_SECONDS = 10.0
# The speed is that of the last minute or so: what was done before is often done in no time.
_LINES_REMEMBERED = 6

_OPEN: contextvars.ContextVar[list["Meter"] | None] = contextvars.ContextVar("open", default=None)


class Meter(contextlib.AbstractContextManager):
  """Counts how much of some work is done, and shows it from the beginning to the end of a context.

  Threads may share a meter. In worker processes nobody needs one: who waits for them counts.

  Attributes:
    description: names the work.
    done: how much is done.
    total: how much there is to do; None = nobody knows.
  """

  def __init__(
    self,
    description: str,
    *,
    total: int | None = None,
    done: int = 0,
    unit: str = "items",
    delay: float = 0.0,
    disabled: bool = False,
  ):
    """Starts to count.

    Args:
      description: names the work.
      total: how much there is to do, if that is known.
      done: how much was done before.
      unit: in the plural; `BYTES` are shown as kB, MB and so on.
      delay: seconds before a terminal shows a bar.
      disabled: whether to show nothing at all.
    """
    self.description, self.done, self.total = description, done, total
    self._unit, self._note = unit, ""
    self._lock = threading.Lock()
    self._start = time.monotonic()
    self._samples = collections.deque([(self._start, done)], maxlen=_LINES_REMEMBERED)
    self._bar: rich.progress.Progress | None = None
    self._task = rich.progress.TaskID(0)
    self._open = None if disabled else _OPEN.get()
    self._interval, wait = _LINE_SECONDS, _LINE_SECONDS
    if disabled or sys.stderr is None:
      wait = float("inf")
    elif _in_terminal():
      self._bar = _make_bar()
      self._interval, wait = _BAR_SECONDS, delay
    self._next = self._start + wait

  def __enter__(self) -> "Meter":
    if self._open is not None:
      self._open.append(self)
    if self._next <= self._start:
      self._show(self._start)
    return self

  def advance(self, count: int = 1) -> None:
    """Counts more as done."""
    with self._lock:
      self.done += count
      self._show_if_due()

  def update(
    self, *, done: int | None = None, total: int | None = None, note: str | None = None
  ) -> None:
    """Changes how much is done, how much there is to do, or what is said beside it."""
    with self._lock:
      self.done = self.done if done is None else done
      self.total = self.total if total is None else total
      self._note = self._note if note is None else note
      self._show_if_due()

  def __exit__(self, kind: object, *_: object) -> None:
    if self._open is not None:
      self._open.remove(self)
    with self._lock:
      now, self._next = time.monotonic(), float("inf")
      if self._bar is not None:
        if self._bar.tasks:
          self._show(now)
          self._bar.stop()
      elif kind is None and len(self._samples) > 1:
        seconds = _duration(now - self._start)
        _write(f"{self.description}: {self._amount(self.done)} in {seconds}{self._note_text()}")

  def _show_if_due(self) -> None:
    now = time.monotonic()
    if now >= self._next:
      self._show(now)

  def _show(self, now: float) -> None:
    amount = self._amount(self.done)
    if self.total is not None:
      amount = f"{self._amount(self.done, counted=False)} of {self._amount(self.total)}"
    amount += self._note_text()
    if self._bar is None:
      _write(f"{self.description}: {amount}{self._time_left()}")
      self._samples.append((now, self.done))
    elif self._bar.tasks:
      self._bar.update(self._task, completed=self.done, total=self.total, amount=amount)
    else:
      self._task = self._bar.add_task(
        self.description, completed=self.done, total=self.total, amount=amount
      )
      self._bar.start()
    self._next = now + self._interval

  def _amount(self, count: int, *, counted: bool = True) -> str:
    if self._unit == BYTES:
      return rich.filesize.decimal(count)
    return f"{count} {self._unit}" if counted else str(count)

  def _note_text(self) -> str:
    return f", {self._note}" if self._note else ""

  def seconds_left(self) -> float | None:
    """Returns the seconds until all is done, by the speed so far; None = nobody knows."""
    before, done = self._samples[0]
    if self.total is None or self.done <= done:
      return None
    passed = time.monotonic() - before
    return max((self.total - self.done) * passed / (self.done - done), 0.0)

  def _time_left(self) -> str:
    seconds = self.seconds_left()
    return "" if seconds is None else f", {_duration(seconds)} left"


@contextlib.contextmanager
def open_meters() -> Iterator[list[Meter]]:
  """Gives the meters that are open in this thread, for as long as the context lasts.

  Another thread may read the list at any time. The work that began first stands first; meters that
  show nothing are not among them.
  """
  meters: list[Meter] = []
  token = _OPEN.set(meters)
  try:
    yield meters
  finally:
    _OPEN.reset(token)


def track(
  iterable: Iterable[T],
  description: str,
  *,
  total: int | None = None,
  unit: str = "items",
  disabled: bool = False,
) -> Iterator[T]:
  """Yields the items of an iterable, and shows how many of them are done.

  Args:
    iterable: of the items.
    description: names the work.
    total: how many there are; None = as many as the iterable says, if it does.
    unit: in the plural.
    disabled: whether to show nothing at all.
  """
  if total is None and isinstance(iterable, Sized):
    total = len(iterable)
  with Meter(description, total=total, unit=unit, disabled=disabled) as meter:
    for item in iterable:
      yield item
      meter.advance()


def _in_terminal() -> bool:
  # Only a terminal has lines that can be written over, whatever the environment says of colours.
  console = _console()
  return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal


@functools.cache
def _console() -> rich.console.Console:
  # One for all: bars of one console stand below one another.
  return rich.console.Console(stderr=True)


def _make_bar() -> rich.progress.Progress:
  return rich.progress.Progress(
    # Square brackets in names of files are no markup.
    rich.progress.TextColumn("{task.description}", markup=False),
    rich.progress.BarColumn(),
    rich.progress.TextColumn("{task.fields[amount]}", markup=False),
    rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
    console=_console(),
    # What is printed to a terminal appears above the bar; what goes elsewhere still goes there.
    redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
  )


def _duration(seconds: float) -> str:
  if seconds < 100:
    return f"{seconds:.0f} s"
  if seconds < 100 * 60:
    return f"{seconds / 60:.0f} min"
  return f"{seconds / 3600:.1f} h"


def _write(line: str) -> None:
  # In one piece, so that lines of several processes do not mix.
  sys.stderr.write(f"{line}\n")
  sys.stderr.flush()

"""Whose turn it is to use the cores: what people wait for goes before what can follow."""

import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class Turns:
  """A queue before the cores; it belongs to one event loop."""

  def __init__(self, count: int):
    """Has so many turns at once."""
    self._free = count
    self._threads = anyio.CapacityLimiter(count)
    self._numbers = itertools.count()
    # Whether it can wait, when it came, and what is set at its turn.
    self._waiting: list[tuple[bool, int, anyio.Event]] = []

  async def run(self, work: Callable[[], T], *, can_wait: bool = False) -> T:
    """Does work in a thread when its turn has come; who waits holds up nothing else.

    Args:
      work: what is done.
      can_wait: whether all other work goes first, that which comes later included.
    """
    async with self._turn(can_wait):
      return await anyio.to_thread.run_sync(work, limiter=self._threads)

  @contextlib.asynccontextmanager
  async def _turn(self, can_wait: bool) -> AsyncIterator[None]:
    if self._free:
      self._free -= 1
    else:
      entry = (can_wait, next(self._numbers), anyio.Event())
      heapq.heappush(self._waiting, entry)
      try:
        await entry[2].wait()
      except BaseException:
        if entry in self._waiting:
          self._waiting.remove(entry)
          heapq.heapify(self._waiting)
        else:
          self._pass_on()
        raise
    try:
      yield
    finally:
      self._pass_on()

  def _pass_on(self) -> None:
    if self._waiting:
      heapq.heappop(self._waiting)[2].set()
    else:
      self._free += 1

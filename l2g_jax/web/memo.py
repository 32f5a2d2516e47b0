"""Results that are kept in memory: what was used last stays, and nothing is made twice at once."""

import collections
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(Generic[Key, Value]):
  """The results of the last keys."""

  def __init__(self, size: int):
    """Starts empty.

    Args:
      size: the most results that are kept, at least 1.
    """
    self._size = size
    self._lock = threading.Lock()
    self._futures: collections.OrderedDict[Key, Future[Value]] = collections.OrderedDict()

  def get(self, key: Key, make: Callable[[], Value]) -> Value:
    """Returns what is kept for a key, or else makes it; who asks meanwhile waits for it.

    An error is raised in all who wait, and not kept.
    """
    with self._lock:
      future = self._futures.get(key)
      is_new = future is None
      if future is None:
        future = self._futures[key] = Future()
        while len(self._futures) > self._size:
          self._futures.popitem(last=False)
      self._futures.move_to_end(key)
    if not is_new:
      return future.result()
    try:
      future.set_result(make())
    except BaseException as error:
      with self._lock:
        if self._futures.get(key) is future:
          del self._futures[key]
      future.set_exception(error)
    return future.result()

  def clear(self) -> None:
    """Forgets all results."""
    with self._lock:
      self._futures.clear()

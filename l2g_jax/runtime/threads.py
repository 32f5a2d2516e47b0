"""Work spread over the cores by threads; results do not depend on their number."""

import contextlib
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import threadpoolctl

from l2g_jax.runtime.workers import available_cores

T = TypeVar("T")
# As `nice` counts; 0 is how a program starts.
_NICENESS = 10


def give_way() -> None:
  """Lets this thread, and the threads and processes that it starts, give way to all others.

  Linux alone counts each thread for itself; elsewhere this does nothing.
  """
  if sys.platform == "linux":
    with contextlib.suppress(OSError):
      os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def spread(count: int) -> list[slice]:
  """Cuts a range into even parts, one a thread and none empty."""
  bounds = np.linspace(0, count, min(available_cores(), count) + 1).astype(int)
  return [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]


def in_threads(function: Callable[[Any], T], items: Sequence[Any] | np.ndarray) -> list[T]:
  """Maps a function over items, one core an item: matrix products within stay on that core.

  A matrix product of one thread has the same bits for any number of cores.
  """
  workers = min(available_cores(), len(items))
  with _controller().limit(limits=1, user_api="blas"):
    if workers < 2:
      return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
      return list(pool.map(function, items))


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
  return threadpoolctl.ThreadpoolController()

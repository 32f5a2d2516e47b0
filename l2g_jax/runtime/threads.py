"""Work spread over the cores by threads; results do not depend on their number."""

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import threadpoolctl

from l2g_jax.runtime.workers import available_cores

T = TypeVar("T")


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

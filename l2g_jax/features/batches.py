"""Many photographs through a network: threads read ahead, and one batch holds one input shape."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features.protocol import Features, Network

_Item = TypeVar("_Item")
# So many inputs wait for the device beside those being read. Each is a whole image as float32.
_NUM_WAITING = 2


def read_ahead(
  items: Iterable[_Item], read: Callable[[_Item], Any], *, num_threads: int
) -> Generator[Any, None, None]:
  """Reads items in threads, a few ahead of the caller.

  Args:
    items: the items to read.
    read: reads one item; called in a thread.
    num_threads: number of threads.

  Yields:
    The result of each item in order, or the error that kept it from being read.
  """
  remaining = iter(items)
  pending: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
  pool = concurrent.futures.ThreadPoolExecutor(num_threads)
  try:
    while True:
      for item in itertools.islice(remaining, num_threads + _NUM_WAITING - len(pending)):
        pending.append(pool.submit(read, item))
      if not pending:
        return
      try:
        result = pending.popleft().result()
      except InputError as error:
        result = error
      yield result
  finally:
    pool.shutdown(cancel_futures=True)


def describe_part(
  network: Network[Features], inputs: Iterable[Any]
) -> Iterator[list[tuple[int, Features | InputError]]]:
  """Describes inputs in batches of one shape, and yields each batch when it is ready.

  Args:
    network: the network.
    inputs: each as `network.prepare` makes it, or the error that stands in its stead.

  Yields:
    Pairs of an input's number, from 0, and its features or error; every number comes once.
  """
  waiting: dict[Any, list[tuple[int, Any]]] = {}
  for number, values in enumerate(inputs):
    if isinstance(values, InputError):
      yield [(number, values)]
      continue
    shape = tuple(array.shape for array in jax.tree.leaves(values))
    batch = waiting.setdefault(shape, [])
    batch.append((number, values))
    if len(batch) == network.batch_size:
      yield _describe(network, waiting.pop(shape))
  for batch in waiting.values():
    yield _describe(network, batch)


def _describe(
  network: Network[Features], batch: Sequence[tuple[int, Any]]
) -> list[tuple[int, Features | InputError]]:
  numbers = [number for number, _ in batch]
  # A smaller batch would be another shape to compile.
  num_blank = network.batch_size - len(batch)
  inputs = jax.tree.map(
    lambda *arrays: np.stack([*arrays, *[np.zeros_like(arrays[0])] * num_blank]),
    *(values for _, values in batch),
  )
  features = network.describe(inputs)
  return list(zip(numbers, features[: len(batch)], strict=True))

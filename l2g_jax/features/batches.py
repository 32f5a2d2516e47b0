"""Passing many photographs through a network: read ahead by threads, in batches of one size."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features.protocol import Features, Network

_Item = TypeVar("_Item")
# Inputs that wait for the device beside those being read; each is a whole image as float32.
_NUM_WAITING = 2


def read_ahead(
  items: Iterable[_Item], read: Callable[[_Item], np.ndarray], *, num_threads: int
) -> Generator[np.ndarray | InputError, None, None]:
  """Yields what was read of each item, in order, or why it can't be; few at a time.

  Args:
    items: of what to read.
    read: called in a thread.
    num_threads: how many there are.
  """
  remaining = iter(items)
  pending: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
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
  network: Network[Features], inputs: Iterable[np.ndarray | InputError]
) -> Iterator[list[tuple[int, Features | InputError]]]:
  """Describes inputs, those of one size together, and yields them as they become ready.

  Args:
    network: what describes them.
    inputs: each `[h, w, 3]`, or why there is none.

  Yields:
    Some inputs' numbers, from 0, and features; every number once.
  """
  waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
  for number, values in enumerate(inputs):
    if isinstance(values, InputError):
      yield [(number, values)]
      continue
    batch = waiting.setdefault(values.shape, [])
    batch.append((number, values))
    if len(batch) == network.batch_size:
      yield _describe(network, waiting.pop(values.shape))
  for batch in waiting.values():
    yield _describe(network, batch)


def _describe(
  network: Network[Features], batch: Sequence[tuple[int, np.ndarray]]
) -> list[tuple[int, Features | InputError]]:
  numbers = [number for number, _ in batch]
  inputs = np.stack([values for _, values in batch])
  # Another number of images would be another shape to compile.
  blank = np.zeros((network.batch_size - len(batch), *inputs.shape[1:]), inputs.dtype)
  features = network.describe(np.concatenate([inputs, blank]))
  return list(zip(numbers, features[: len(batch)], strict=True))

"""Many photographs through a network: threads read ahead; a batch has one shape."""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from l2g_jax.errors import InputError
from l2g_jax.features.protocol import Features, Input, Network, stack_inputs

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")
# Inputs of one shape with their numbers, or one error.
_Batch = list[tuple[int, Input | InputError]]
# So many inputs wait for the device beside those being read. Each is a whole image as float32.
_NUM_WAITING = 2


def read_ahead(
  items: Iterable[_Item], read: Callable[[_Item], _Read], *, num_threads: int
) -> Generator[_Read | InputError, None, None]:
  """Reads items in threads, a few ahead of the caller.

  Args:
    items: the items to read.
    read: reads one item; called in a thread.
    num_threads: number of threads.

  Yields:
    The result of each item in order, or the error that kept it from being read.
  """
  remaining = iter(items)
  pending: collections.deque[concurrent.futures.Future[_Read]] = collections.deque()
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
  network: Network[Features], inputs: Iterable[Input | InputError]
) -> Iterator[list[tuple[int, Features | InputError]]]:
  """Describes inputs in batches of one shape, and yields each batch when it is ready.

  Args:
    network: the network; it says how many batches are described at once.
    inputs: inputs of the network, or the errors that stand in their stead.

  Yields:
    Pairs of an input's number, from 0, and its features or error; every number comes once.
  """
  parts = read_ahead(
    _batches(inputs, network.batch_size),
    functools.partial(_describe, network),
    num_threads=network.num_threads,
  )
  for described in parts:
    if isinstance(described, InputError):
      raise described
    yield described


def _batches(inputs: Iterable[Input | InputError], size: int) -> Iterator[_Batch]:
  """Collects inputs of one shape; an error is alone."""
  waiting: dict[tuple[tuple[int, ...], ...], _Batch] = {}
  for number, values in enumerate(inputs):
    if isinstance(values, InputError):
      yield [(number, values)]
      continue
    arrays = values if isinstance(values, tuple) else (values,)
    shapes = tuple(array.shape for array in arrays)
    batch = waiting.setdefault(shapes, [])
    batch.append((number, values))
    if len(batch) == size:
      yield waiting.pop(shapes)
  yield from waiting.values()


def _describe(network: Network[Features], batch: _Batch) -> list[tuple[int, Features | InputError]]:
  numbers, inputs = zip(*batch, strict=True)
  if isinstance(inputs[0], InputError):
    return list(zip(numbers, inputs, strict=True))
  # A smaller batch would be another shape to compile.
  missing = network.batch_size - len(batch)
  features = network.describe(stack_inputs([*inputs, *[inputs[0]] * missing]))
  return list(zip(numbers, features[: len(batch)], strict=True))

"""Tasks that run on the nodes of a cluster, and are begun again where a node dies."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from l2g_jax.cluster.nodes import Needs, check_room
from l2g_jax.errors import InputError
from l2g_jax.runtime.workers import CORES

Task = TypeVar("Task")
Shared = TypeVar("Shared")
Result = TypeVar("Result")

# Tasks that are handed to Ray at a time: enough for many nodes, and few to keep account of.
_MOST_AHEAD = 1000


def run(
  function: Callable[[Task, Shared], Result],
  tasks: Iterable[Task],
  shared: Shared,
  needs: Needs,
) -> Iterator[Result]:
  """Yields the results of tasks as they are done.

  A task may be done twice, or twice at a time, if its node seems dead: it must leave the same then.

  Args:
    function: does a task; a function of a module that every node has.
    tasks: picklable, and small.
    shared: what all tasks are given; it is sent to a process once.
    needs: of each task.

  Raises:
    InputError: no node has what a task needs, or a task died as often as it may be begun.
  """
  check_room(needs)
  remote = ray.remote(_call).options(
    num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=needs.attempts - 1
  )
  # In a tuple it is a reference, of which a process remembers what it refers to.
  reference = (ray.put(shared),)
  left = iter(tasks)
  running = {
    remote.remote(function, task, reference, needs.cpus)
    for task in itertools.islice(left, _MOST_AHEAD)
  }
  try:
    while running:
      done, _ = ray.wait([*running], fetch_local=True)
      for result in done:
        running.remove(result)
        running |= {
          remote.remote(function, task, reference, needs.cpus) for task in itertools.islice(left, 1)
        }
        with errors_as_ours():
          value = ray.get(result)
        yield value
  finally:
    for result in running:
      ray.cancel(result)


@contextlib.contextmanager
def errors_as_ours() -> Iterator[None]:
  """Raises errors of the work as they were raised on a node, and others as an InputError."""
  try:
    yield
  except RayTaskError as error:
    raise error.cause from None
  except RayError as error:
    reason = str(error).strip().splitlines()[0]
    raise InputError(
      f"Work on a node died as often as it may be begun, perhaps for lack of memory: {reason}"
    ) from error


def use_cores(count: int) -> None:
  """Bounds the threads of this process, which shares its node with others."""
  os.environ[CORES] = str(count)


def _call(function: Callable[[Any, Any], Any], task: Any, reference: tuple[Any], cores: int) -> Any:
  use_cores(cores)
  return function(task, _fetch(reference[0]))


@functools.lru_cache(maxsize=1)
def _fetch(reference: Any) -> Any:
  return ray.get(reference)

"""Worker processes that share a list of tasks and end with the process that started them."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import psutil

from l2g_jax.errors import InputError

# The environment variable that bounds the cores of a process: several may share a machine.
CORES = "L2G_JAX_CORES"

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
  """Returns the number of cores that this process may use, or all where the system won't say.

  Raises:
    InputError: the environment variable `CORES`, the most that they are, is no number from 1 on.
  """
  process = psutil.Process()
  has_affinity = hasattr(process, "cpu_affinity")  # not on macOS
  cores = len(process.cpu_affinity()) if has_affinity else os.cpu_count() or 1
  most = os.environ.get(CORES, "")
  if not most:
    return cores
  if not most.isdecimal() or int(most) < 1:
    raise InputError(f"The environment variable {CORES} must be at least 1, not {most!r}.")
  return min(cores, int(most))


def run_tasks(
  function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int | None
) -> Iterator[Result]:
  """Yields the results of tasks as they are done.

  Args:
    function: does a task; a function of a module, so that processes can find it.
    tasks: picklable; they are started in order.
    num_workers: the number of processes, at most one a task; None = one a core. A single worker is
      this process.
  """
  workers = min(num_workers or available_cores(), len(tasks))
  if workers <= 1:
    yield from map(function, tasks)
    return
  # Forked processes would inherit locks that JAX's threads hold.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_follow_parent
  ) as pool:
    futures = [pool.submit(function, task) for task in tasks]
    try:
      for future in concurrent.futures.as_completed(futures):
        yield future.result()
    finally:
      pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
  """Ends this worker with its parent, even one that is killed, which the pool does not notice."""
  parent = multiprocessing.parent_process()
  assert parent is not None

  def follow() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=follow, daemon=True).start()

"""Worker processes that decode pictures, and are killed where one takes too long."""

import concurrent.futures
import contextlib
import multiprocessing
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.web.failures import DAMAGED, TOO_SLOW, Refusal

# A fresh process imports NumPy and Pillow, which a loaded machine takes its time for.
_START_SECONDS = 60.0
# Forked processes would inherit locks that JAX's threads hold.
_CONTEXT = multiprocessing.get_context("spawn")


class Decoders:
  """Runs functions of modules in processes of their own, so many at once; others wait."""

  def __init__(self, num_workers: int, seconds: float):
    """Starts nothing: a process starts when it is first needed.

    Args:
      num_workers: the most processes.
      seconds: that a call may take; then its process is killed.
    """
    self._seconds = seconds
    self._slots: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
    self._workers: set[_Worker] = set()
    self._lock = threading.Lock()
    self._closed = False
    for _ in range(num_workers):
      self._slots.put(None)

  def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a worker process, and returns its result.

    Args:
      function: of a module, so that processes can find it.
      arguments: picklable.

    Raises:
      Refusal: it took too long, or its process died.
      InputError: what the function raised.
    """
    worker = self._slots.get()
    try:
      if worker is None:
        worker = self._start()
      succeeded, result = worker.call(self._seconds, function, *arguments)
    except concurrent.futures.TimeoutError:
      self._end(worker)
      worker = None
      raise Refusal(
        TOO_SLOW, f"The picture took longer than {self._seconds:g} s to decode."
      ) from None
    except (EOFError, OSError):
      self._end(worker)
      worker = None
      raise Refusal(DAMAGED, "The picture can't be decoded with the memory at hand.") from None
    finally:
      self._slots.put(worker)
    if not succeeded:
      raise result
    return result

  def close(self) -> None:
    """Ends the processes; calls that are running fail."""
    with self._lock:
      self._closed = True
      workers = list(self._workers)
    for worker in workers:
      self._end(worker)

  def _start(self) -> "_Worker":
    with self._lock:
      if self._closed:
        raise OSError("The server is shutting down.")
      worker = _Worker()
      self._workers.add(worker)
    worker.wait(_START_SECONDS)
    return worker

  def _end(self, worker: "_Worker | None") -> None:
    if worker is not None:
      worker.kill()
      with self._lock:
        self._workers.discard(worker)


class _Worker:
  """A process, and the pipe to it."""

  def __init__(self):
    self._pipe, theirs = _CONTEXT.Pipe()
    self._process = _CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
    self._process.start()
    theirs.close()

  def wait(self, seconds: float) -> Any:
    """Returns the next message; TimeoutError where none comes in time."""
    if not self._pipe.poll(seconds):
      raise concurrent.futures.TimeoutError
    return self._pipe.recv()

  def call(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    """Returns whether a call succeeded, and its result or error."""
    self._pipe.send((function, arguments))
    return self.wait(seconds)

  def kill(self) -> None:
    """Ends the process at once."""
    self._process.kill()
    self._process.join()
    self._pipe.close()


def _work(pipe: Connection) -> None:
  """Answers calls until the other end of the pipe is closed, or its process is gone."""
  with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
    pipe.send(None)
    while True:
      function, arguments = pipe.recv()
      try:
        answer = True, function(*arguments)
      except InputError as error:
        answer = False, error
      except MemoryError:
        answer = False, Refusal(DAMAGED, "The picture is too large for the memory at hand.")
      except Exception as error:  # Plug-ins of decoders raise exceptions of many kinds.
        answer = False, Refusal(DAMAGED, f"The picture can't be decoded: {type(error).__name__}.")
      pipe.send(answer)

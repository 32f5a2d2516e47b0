"""Seconds by stage."""

import contextlib
import time
from collections.abc import Iterator

import jax

_COMPILATION = "/jax/core/compile/"


class Stopwatch:
  """Seconds by stage, in the order in which the stages began; compilation is a stage of its own."""

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self._compilation = 0.0
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  @contextlib.contextmanager
  def measure(self, stage: str) -> Iterator[None]:
    """Adds the time of the block to a stage, without the time that JAX spent on compiling."""
    start, compiled = time.perf_counter(), self._compilation
    self.seconds.setdefault(stage, 0.0)
    try:
      yield
    finally:
      compilation = self._compilation - compiled
      self.seconds[stage] += time.perf_counter() - start - compilation
      if compilation:
        self.seconds["compilation"] = self.seconds.get("compilation", 0.0) + compilation

  def _listen(self, event: str, duration_secs: float, **_) -> None:
    if event.startswith(_COMPILATION):
      self._compilation += duration_secs

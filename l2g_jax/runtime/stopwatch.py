"""Seconds by stage."""

import contextlib
import time
from collections.abc import Iterator

import jax

_COMPILATION = "/jax/core/compile/"
_PROGRAM = f"{_COMPILATION}backend_compile_duration"


class Stopwatch:
  """Seconds by stage, in the order in which the stages began; compilation is a stage of its own.

  Attributes:
    seconds: by stage.
    kept: by stage, whether an earlier run had left its results for all images; see `tell_kept`.
    programs: by stage, how many programs were compiled in it, or read from a cache of JAX.
  """

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self.kept: dict[str, bool] = {}
    self.programs: dict[str, int] = {}
    self._compilation = 0.0
    self._programs = 0
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  @contextlib.contextmanager
  def measure(self, stage: str) -> Iterator[None]:
    """Adds the time of the block to a stage, without the time that JAX spent on compiling."""
    start, compiled, programs = time.perf_counter(), self._compilation, self._programs
    self.seconds.setdefault(stage, 0.0)
    try:
      yield
    finally:
      compilation = self._compilation - compiled
      self.seconds[stage] += time.perf_counter() - start - compilation
      self.programs[stage] = self.programs.get(stage, 0) + self._programs - programs
      if compilation:
        self.seconds["compilation"] = self.seconds.get("compilation", 0.0) + compilation

  def tell_kept(self, stage: str, *, kept: bool) -> None:
    """Notes whether a part of a stage was read from an earlier run; a stage is where all parts are.

    Args:
      stage: as `measure` names it.
      kept: whether nothing of the part was made.
    """
    self.kept[stage] = self.kept.get(stage, True) and kept

  def _listen(self, event: str, duration_secs: float, **_) -> None:
    if event.startswith(_COMPILATION):
      self._compilation += duration_secs
      self._programs += event == _PROGRAM

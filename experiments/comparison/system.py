"""A system of the table: what it makes beforehand, and how it ranks."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.material import Base, Material
from l2g_jax.runtime.stopwatch import Stopwatch

# Stages of a system's own stopwatch.
ONCE, QUERIES = "once", "queries"


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a system gave.

  Attributes:
    rankings: `[Q, N]` int32, permutations.
    bytes_an_image: of memory or disk that it needs at query time.
    weight: w, where it has one.
  """

  rankings: np.ndarray
  bytes_an_image: float
  weight: float | None = None


@dataclasses.dataclass(frozen=True)
class System:
  """A row of the table.

  Attributes:
    name: of the row.
    base: the search that comes before; None = it searches by itself.
    run: ranks; measures what is made beforehand as `ONCE` and the work for queries as `QUERIES`.
    settings: JSON values on which the result depends besides the material.
    missing: a sentence that says what it lacks, and how that is made; None = it can run.
  """

  name: str
  base: Base | None
  run: Callable[[Material, Stopwatch], Outcome]
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  missing: str | None = None

"""A cell of a sweep: the settings at which the method is measured."""

import dataclasses
from typing import Literal, TypeAlias

from l2g_jax.pipeline.config import L2GConfig

# Whose similarity counts: the query's to the image, as in the method; or the mean, or the lesser,
# of both directions.
Direction = Literal["query", "mean", "least"]
Value: TypeAlias = str | int | float


@dataclasses.dataclass(frozen=True)
class Cell:
  """Settings at which the method is measured.

  Attributes:
    config: of the method; `num_embedded` is k, and M is k where it is None.
    weight: w.
    k: candidates that are embedded.
    kernel: f, of the search and the lists, as a text.
    direction: whose similarity counts.
  """

  config: L2GConfig
  weight: float
  k: int
  kernel: str
  direction: Direction = "query"

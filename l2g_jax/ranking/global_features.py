"""Global features of queries and of a collection: one vector an image."""

import dataclasses

import numpy as np

from l2g_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class GlobalFeatures:
  """Global features of Q queries and of the N images of a collection, in the order of their ids.

  Norms do not matter; a zero row stands for an image without a feature.

  Attributes:
    queries: `[Q, D]` floating.
    database: `[N, D]` floating; may be memory-mapped.
  """

  queries: np.ndarray
  database: np.ndarray


def check_global_shapes(queries: tuple[int, ...], database: tuple[int, ...]) -> None:
  """Refuses shapes of global features that are not `[Q, D]` and `[N, D]`; raises InputError."""
  if len(queries) != 2 or len(database) != 2 or queries[1] != database[1]:
    raise InputError(
      f"Global features must be [Q, D] and [N, D], not {list(queries)} and {list(database)}."
    )

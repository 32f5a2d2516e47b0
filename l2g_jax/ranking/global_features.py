"""Global features of queries and of a collection: one vector an image."""

import dataclasses

import numpy as np

from l2g_jax.errors import InputError

# Rows of norm 1 to rounding keep their bits.
_ROUNDING = 1e-6


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


def check_rankings(rankings: np.ndarray, num_queries: int, num_images: int) -> None:
  """Refuses rankings that are not ids `[num_queries, k]` of a collection; raises InputError."""
  if rankings.ndim != 2 or len(rankings) != num_queries or not rankings.size:
    raise InputError(f"Rankings must be [{num_queries}, k] ids, not {list(rankings.shape)}.")
  if not np.issubdtype(rankings.dtype, np.integer):
    raise InputError(f"The ids of rankings must be integers, not {rankings.dtype}.")
  if rankings.min() < 0 or rankings.max() >= num_images:
    raise InputError(f"Rankings hold an id outside 0 .. {num_images - 1}.")


def unit_rows(rows: np.ndarray) -> np.ndarray:
  """Returns rows `[n, D]` as float32 of unit norm, zero rows as they are; InputError if not finite.

  The squares of float32 do not leave the range of the sums, which are float64.
  """
  norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
  if not np.all(np.isfinite(norms)):
    raise InputError("Global features hold a value that is not finite.")
  norms[(np.abs(norms - 1.0) <= _ROUNDING) | (norms == 0.0)] = 1.0
  if np.all(norms == 1.0):
    return np.asarray(rows, np.float32)
  return (rows / norms[:, None]).astype(np.float32)

"""Degenerate problems, and what SMACOF says of them."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.embedding.dissimilarity import Completion, KnownPairs
from l2g_jax.report import Cell, Column, Table

# More points than dimensions, as in the method, so that not everything fits.
_POINTS, _DIMENSIONS = 24, 8


def make_table() -> Table:
  """Returns a row for each degenerate problem."""
  rows: list[list[Cell]] = []
  for name, similarities, completion, num_points in problems():
    known = similarities >= 0.0
    pairs = KnownPairs(
      jnp.asarray(np.where(known, similarities, 0.0), jnp.float32),
      jnp.asarray(known),
      jnp.asarray(np.arange(_POINTS) < num_points),
    )
    delta, weights = dissimilarity.dissimilarities(pairs, completion=completion)
    result = mds.smacof(delta, weights=weights, num_dimensions=_DIMENSIONS)
    rows.append(
      [
        name,
        num_points,
        int(np.sum(known)) // 2,
        float(result.stress),
        float(result.normalized_stress),
        int(result.num_iterations),
        "yes" if result.converged else "no",
        str(result.explain()),
      ]
    )
  return Table(
    "Degenerate problems",
    [
      Column("problem"),
      Column("points"),
      Column("known pairs"),
      Column("raw stress", 4, "sum over pairs of (d - delta)^2"),
      Column("normalised", 4, "stress-1"),
      Column("iterations"),
      Column("converged"),
      Column("what smacof says"),
    ],
    rows,
    note=(
      f"In {_DIMENSIONS} dimensions. Where no pair of a query is similar, the method keeps the"
      " order of the search."
    ),
  )


def problems() -> Iterator[tuple[str, np.ndarray, Completion, int]]:
  """Yields names, similarities `[n, n]` of which -1 is unknown, completions, and valid points."""
  unknown = np.full((_POINTS, _POINTS), -1.0)
  none = "no neighbour: nothing is known, all dissimilarities are 1"
  yield none, unknown, "one", _POINTS
  yield "no neighbour, unknown pairs masked", unknown, "masked", _POINTS
  upper = np.triu(np.random.default_rng(0).uniform(0.1, 1.0, unknown.shape), 1)
  yield "all pairs are known", _off_diagonal(upper + upper.T), "one", _POINTS
  same = _off_diagonal(np.ones_like(unknown))
  yield "all pairs are known and as similar", same, "one", _POINTS
  copies = np.arange(_POINTS) % 4
  copied = _off_diagonal(np.where(copies[:, None] == copies[None], 1.0, -1.0))
  yield "duplicates: 4 images, 6 times each", copied, "one", _POINTS
  yield "duplicates, unknown pairs masked", copied, "masked", _POINTS
  one = unknown.copy()
  one[0, 1] = one[1, 0] = 1.0
  yield "one candidate, known; the other points are padding", one, "one", 2


def _off_diagonal(values: np.ndarray) -> np.ndarray:
  return np.where(np.eye(len(values), dtype=bool), -1.0, values)

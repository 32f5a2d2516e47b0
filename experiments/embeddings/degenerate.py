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
  for name, similarities, completion in problems():
    known = similarities >= 0.0
    pairs = KnownPairs(
      jnp.asarray(np.where(known, similarities, 0.0), jnp.float32),
      jnp.asarray(known),
      jnp.ones(len(known), bool),
    )
    delta, weights = dissimilarity.dissimilarities(pairs, completion=completion)
    result = mds.smacof(delta, weights=weights, num_dimensions=_DIMENSIONS)
    rows.append(
      [
        name,
        len(known),
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


def problems() -> Iterator[tuple[str, np.ndarray, Completion]]:
  """Yields names, similarities `[n, n]` of which -1 is unknown, and the completion."""
  unknown = np.full((_POINTS, _POINTS), -1.0)
  yield "no neighbour: nothing is known, all dissimilarities are 1", unknown, "one"
  yield "no neighbour, unknown pairs masked", unknown, "masked"
  rng = np.random.default_rng(0)
  upper = np.triu(rng.uniform(0.1, 1.0, unknown.shape), 1)
  yield "all pairs are known", _off_diagonal(upper + upper.T), "one"
  yield "all pairs are known and as similar", _off_diagonal(np.ones_like(unknown)), "one"
  copies = np.arange(_POINTS) % 4
  same = copies[:, None] == copies[None]
  yield "duplicates: 4 images, 6 times each", _off_diagonal(np.where(same, 1.0, -1.0)), "one"
  yield "duplicates, unknown pairs masked", _off_diagonal(np.where(same, 1.0, -1.0)), "masked"
  yield "one candidate, known", _off_diagonal(np.ones((2, 2))), "one"


def _off_diagonal(values: np.ndarray) -> np.ndarray:
  return np.where(np.eye(len(values), dtype=bool), -1.0, values)

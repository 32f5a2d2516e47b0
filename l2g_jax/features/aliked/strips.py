"""Rows of images computed a strip at a time, so that what lies between stays in the cache."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Rows of a strip; smaller strips would compute more rows twice, at their edges.
_MOST_ROWS = 64
# Strips have so many rows or a multiple of it, so that they can be pooled.
_MULTIPLE = 4


def in_strips(
  compute: Callable[[Any, int], Sequence[jax.Array]], num_rows: int, margins: Sequence[int]
) -> tuple[jax.Array, ...]:
  """Computes all rows of some results, on a CPU a strip at a time.

  A CPU would otherwise wait for memory: fresh pages for every large array between two layers.

  Args:
    compute: maps the first row and the number of rows of a strip to results `[B, rows, ...]`, which
      may have fewer rows by a factor.
    num_rows: number of all rows.
    margins: for each result, number of rows of zeros to put before and after its own.
  """
  sides = range(_MULTIPLE, min(_MOST_ROWS, num_rows) + 1, _MULTIPLE)
  rows = max((side for side in sides if num_rows % side == 0), default=num_rows)
  if rows == num_rows or jax.default_backend() != "cpu":
    results = compute(0, num_rows)
    return tuple(
      jnp.pad(result, [(0, 0), (margin, margin), *[(0, 0)] * (result.ndim - 2)])
      for result, margin in zip(results, margins, strict=True)
    )
  count = num_rows // rows
  empty = tuple(
    jnp.zeros((strip.shape[0], count * strip.shape[1] + 2 * margin, *strip.shape[2:]), strip.dtype)
    for strip, margin in zip(jax.eval_shape(lambda: compute(0, rows)), margins, strict=True)
  )

  def add_strip(number: jax.Array, results: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    strips = compute(number * rows, rows)
    return tuple(
      jax.lax.dynamic_update_slice_in_dim(result, strip, number * strip.shape[1] + margin, 1)
      for result, strip, margin in zip(results, strips, margins, strict=True)
    )

  return jax.lax.fori_loop(0, count, add_strip, empty)


def rows_of(values: jax.Array, first: Any, count: int) -> jax.Array:
  """Returns rows of `[B, height, ...]`; all of them must be there."""
  return jax.lax.dynamic_slice_in_dim(values, first, count, axis=1)

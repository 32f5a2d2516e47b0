"""Rows of images computed a strip at a time, so that what lies between stays in the cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Strips have so many rows or a multiple of it, so that they can be pooled.
_MULTIPLE = 4


def in_strips(compute: Callable[[Any, int], Any], num_rows: int, *, most_rows: int) -> Any:
  """Computes all rows of some results, on a CPU a strip at a time.

  A CPU would otherwise wait for memory: fresh pages for every large array between two layers.

  Args:
    compute: maps the first row and the number of rows of a strip to results `[B, rows, ...]`; their
      rows may be fewer by a factor.
    num_rows: number of all rows.
    most_rows: of a strip.
  """
  sides = range(_MULTIPLE, min(most_rows, num_rows) + 1, _MULTIPLE)
  rows = max((side for side in sides if num_rows % side == 0), default=num_rows)
  if rows == num_rows or jax.default_backend() != "cpu":
    return compute(0, num_rows)
  strips = jax.lax.map(lambda first: compute(first, rows), jnp.arange(0, num_rows, rows))
  return jax.tree.map(_joined, strips)


def rows_of(values: jax.Array, first: Any, count: int) -> jax.Array:
  """Returns rows of `[B, height, ...]`; all of them must be there."""
  return jax.lax.dynamic_slice_in_dim(values, first, count, axis=1)


def _joined(strips: jax.Array) -> jax.Array:
  strips = jnp.moveaxis(strips, 0, 1)
  return strips.reshape(strips.shape[0], strips.shape[1] * strips.shape[2], *strips.shape[3:])

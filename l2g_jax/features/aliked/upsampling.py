"""Bilinear upsampling in which corners of a map are corners of its image."""

from typing import Any

import jax
import jax.numpy as jnp


def upsample_columns(values: jax.Array, true_widths: jax.Array, width: int) -> jax.Array:
  """Upsamples rows.

  Args:
    values: `[B, h, w, channels]`.
    true_widths: `[B]`, the width of each image after it; columns beyond have no meaning.
    width: the width of the array after it, a multiple of w.

  Returns:
    `[B, h, width, channels]`.
  """
  factor = width // values.shape[2]
  lower, upper, fractions = source_positions(jnp.arange(width)[None], true_widths[:, None], factor)
  fractions = fractions[:, None, :, None]
  left, right = (_take_columns(values, index) for index in (lower, upper))
  return left * (1 - fractions) + right * fractions


def upsample_rows(
  values: jax.Array, true_heights: jax.Array, height: int, first: Any, count: int
) -> jax.Array:
  """Upsamples columns, for some rows of the result.

  Args:
    values: `[B, h, w, channels]`.
    true_heights: `[B]`, the height of each image after it; rows beyond have no meaning.
    height: the height of the array after it, a multiple of h.
    first: the first row; rows that are not there have no meaning.
    count: number of rows.

  Returns:
    `[B, count, w, channels]`.
  """
  factor = height // values.shape[1]
  rows = (first + jnp.arange(count))[None]
  lower, upper, fractions = source_positions(rows, true_heights[:, None], factor)
  fractions = fractions[:, :, None, None]
  above, below = (_take_rows(values, index) for index in (lower, upper))
  return above * (1 - fractions) + below * fractions


def source_positions(
  positions: jax.Array, true_sizes: jax.Array, factor: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the pixels before the upsampling between which pixels after it lie, along one axis.

  Args:
    positions: int32, of pixels after the upsampling.
    true_sizes: int32, number of pixels after it; shapes are broadcast.
    factor: of the upsampling.

  Returns:
    The lower and the upper pixel, which are there, and the fraction of the upper, float32.
  """
  last = jnp.maximum(true_sizes // factor - 1, 0)
  ratio = last.astype(jnp.float32) / jnp.maximum(true_sizes - 1, 1).astype(jnp.float32)
  sources = positions.astype(jnp.float32) * ratio
  lower = jnp.clip(sources.astype(jnp.int32), 0, last)
  upper = jnp.minimum(lower + 1, last)
  return lower, upper, sources - lower.astype(jnp.float32)


@jax.vmap
def _take_rows(image: jax.Array, rows: jax.Array) -> jax.Array:
  return image.at[rows].get(mode="promise_in_bounds")


@jax.vmap
def _take_columns(image: jax.Array, columns: jax.Array) -> jax.Array:
  return image.at[:, columns].get(mode="promise_in_bounds")

"""Images of many sizes in one padded shape: which pixels count, and which do not.

The network pads an image to the next multiples of 32, its true size, and computes all that follows
on that. An array may be larger: pixels beyond the true size are zero wherever a convolution reads
them, as those beyond the edge of an array are.
"""

from typing import Any

import jax
import jax.numpy as jnp

from l2g_jax.features.aliked.config import STRIDE


def true_sizes(sizes: jax.Array) -> jax.Array:
  """Returns the true sizes `[B, 2]` of images of the sizes `[B, 2]`, height before width."""
  return -(-sizes // STRIDE) * STRIDE


def origins(sizes: jax.Array) -> jax.Array:
  """Returns row and column `[B, 2]` of the first pixels of images in their true sizes."""
  return (true_sizes(sizes) - sizes) // 2


def inside(shape: tuple[int, ...], starts: jax.Array, stops: jax.Array) -> jax.Array:
  """Returns `[B, height, width]`, true from some row and column to before others.

  Args:
    shape: of an array `[B, height, width, ...]`.
    starts: `[B, 2]`, the first row and column.
    stops: `[B, 2]`, the row and the column after the last.
  """
  rows, columns = (
    (jnp.arange(side)[None] >= starts[:, axis, None])
    & (jnp.arange(side)[None] < stops[:, axis, None])
    for axis, side in enumerate(shape[1:3])
  )
  return rows[:, :, None] & columns[:, None, :]


def rows_inside(true_heights: jax.Array, first: Any, count: int) -> jax.Array:
  """Returns `[B, count, 1, 1]`, true for those of some rows that an image has.

  Args:
    true_heights: `[B]`, number of rows of each image.
    first: the first row; it may be negative.
    count: number of rows.
  """
  rows = (first + jnp.arange(count))[None]
  return ((rows >= 0) & (rows < true_heights[:, None]))[:, :, None, None]


def columns_inside(true_widths: jax.Array, width: int, group: int, channels: int) -> jax.Array:
  """Returns `[B, 1, width / group, group * channels]`, true for the columns that an image has.

  Args:
    true_widths: `[B]`, number of columns of each image.
    width: number of columns of the array.
    group: see `layers.Convolution`.
    channels: of a pixel.
  """
  is_inside = jnp.arange(width)[None] < true_widths[:, None]
  return jnp.repeat(is_inside, channels, axis=1).reshape(len(true_widths), 1, width // group, -1)

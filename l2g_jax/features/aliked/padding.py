"""Images of many sizes in one padded shape: which pixels count, and which do not.

The network pads an image to the next multiples of 32, its true size, and computes all that follows
on that. An array may be larger: pixels beyond the true size are zero wherever a convolution reads
them, as those beyond the edge of an array are.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax.features.aliked.config import STRIDE


def true_sizes(sizes: jax.Array) -> jax.Array:
  """Returns the true sizes `[B, 2]` of images of the sizes `[B, 2]`, height before width."""
  return -(-sizes // STRIDE) * STRIDE


def origins(sizes: jax.Array) -> jax.Array:
  """Returns row and column `[B, 2]` of the first pixels of images in their true sizes."""
  return (true_sizes(sizes) - sizes) // 2


def inside(shape: tuple[int, ...], starts: ArrayLike, stops: jax.Array) -> jax.Array:
  """Returns `[B, height, width]`, true from some row and column to before others.

  Args:
    shape: of an array `[B, height, width, ...]`.
    starts: first row and column, `[B, 2]` or one number for all.
    stops: `[B, 2]`, the row and column after the last.
  """
  starts = jnp.asarray(starts)
  starts = jnp.broadcast_to(starts, stops.shape)
  rows, columns = (
    (jnp.arange(side)[None] >= starts[:, axis, None])
    & (jnp.arange(side)[None] < stops[:, axis, None])
    for axis, side in enumerate(shape[1:3])
  )
  return rows[:, :, None] & columns[:, None, :]


def masked(values: jax.Array, sizes: jax.Array) -> jax.Array:
  """Returns values `[B, height, width, channels]`, zero beyond so many rows and columns.

  Args:
    values: the values.
    sizes: `[B, 2]`, number of rows and of columns of each image.
  """
  is_inside = inside(values.shape, 0, sizes)[..., None]
  return jnp.where(is_inside, values, jnp.zeros((), values.dtype))

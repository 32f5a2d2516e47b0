"""Deformable 3x3 convolutions (Dai et al. 2017): each tap reads at an offset of its own."""

import chex
import jax
import jax.numpy as jnp

NUM_TAPS = 9


def deformable_convolution(
  values: jax.Array, offsets: jax.Array, kernel: jax.Array, *, dtype=jnp.float32
) -> jax.Array:
  """Convolves with a 3x3 kernel whose taps are moved; pixels beyond the edge are zero.

  Args:
    values: `[B, height, width, channels]`.
    offsets: `[B, height, width, 18]` float32; tap t = 3 * row + column of the kernel is moved by
      channel 2t down, and by channel 2t + 1 to the right. Reads are bilinear.
    kernel: `[3, 3, channels, width_out]`.
    dtype: of the product.

  Returns:
    `[B, height, width, width_out]`.
  """
  batch, height, width, channels = values.shape
  chex.assert_shape(offsets, (batch, height, width, 2 * NUM_TAPS))
  offsets = offsets.reshape(batch, height * width, NUM_TAPS, 2)
  taps = jnp.arange(NUM_TAPS)[None]
  rows = (jnp.repeat(jnp.arange(height), width)[:, None] - 1 + taps // 3).astype(jnp.float32)
  columns = (jnp.tile(jnp.arange(width), height)[:, None] - 1 + taps % 3).astype(jnp.float32)

  def read(values: jax.Array, offsets: jax.Array) -> jax.Array:
    return read_bilinearly(values, rows + offsets[..., 0], columns + offsets[..., 1])

  reads = jax.vmap(read)(values, offsets)
  reads = reads.reshape(batch, height, width, NUM_TAPS * channels).astype(dtype)
  kernel = kernel.reshape(NUM_TAPS * channels, -1).astype(dtype)
  return jnp.dot(reads, kernel, precision="highest")


def read_bilinearly(values: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Reads a map bilinearly; each neighbour beyond its edge counts as zero.

  Args:
    values: `[height, width, channels]`.
    rows: `[...]` float32; whole numbers are centres of pixels.
    columns: likewise.

  Returns:
    `[..., channels]`.
  """
  height, width, channels = values.shape
  # A margin of zeros; the four neighbours of each pixel become one row.
  padded = jnp.pad(values, ((1, 2), (1, 2), (0, 0)))
  table = jnp.concatenate(
    [padded[i : height + 2 + i, j : width + 2 + j] for i in (0, 1) for j in (0, 1)], axis=2
  ).reshape((height + 2) * (width + 2), 4 * channels)
  # Farther than a pixel beyond the edge there are only zeros.
  rows, columns = jnp.clip(rows, -1.0, height), jnp.clip(columns, -1.0, width)
  top, left = jnp.floor(rows), jnp.floor(columns)
  down, right = ((x - y)[..., None].astype(values.dtype) for x, y in ((rows, top), (columns, left)))
  found = table[(top.astype(jnp.int32) + 1) * (width + 2) + left.astype(jnp.int32) + 1]
  corners = jnp.split(found, 4, axis=-1)
  upper = corners[0] * (1 - right) + corners[1] * right
  lower = corners[2] * (1 - right) + corners[3] * right
  return upper * (1 - down) + lower * down

"""Deformable 3x3 convolutions (Dai et al. 2017): each tap reads at an offset of its own."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from l2g_jax.features.aliked.parameters import NUM_TAPS


def deformable_convolution(
  values: jax.Array, offsets: jax.Array, kernel: jax.Array, dtype: Any = jnp.float32
) -> jax.Array:
  """Convolves with a 3x3 kernel whose taps are moved; pixels beyond the edge are zero.

  Args:
    values: `[B, height, width, channels]`.
    offsets: `[B, height, width, 18]` float32; tap t = 3 * row + column of the kernel is moved by
      channel 2t down, and by channel 2t + 1 to the right. Reads are bilinear.
    kernel: `[3, 3, channels, width_out]`.
    dtype: of the products.

  Returns:
    `[B, height, width, width_out]`.
  """
  batch, height, width, channels = values.shape
  chex.assert_shape(offsets, (batch, height, width, 2 * NUM_TAPS))
  # A margin of zeros, to which reads from beyond the edge are moved.
  step = width + 3
  table = jnp.pad(values.astype(dtype), ((0, 0), (1, 2), (1, 2), (0, 0))).reshape(-1, channels)
  moves = offsets.reshape(-1, NUM_TAPS, 2).transpose(1, 0, 2)
  taps = jnp.arange(NUM_TAPS)[:, None]
  pixels = jnp.arange(moves.shape[1])[None]
  rows = (pixels // width % height - 1 + taps // 3).astype(jnp.float32) + moves[..., 0]
  columns = (pixels % width - 1 + taps % 3).astype(jnp.float32) + moves[..., 1]
  rows, columns = jnp.clip(rows, -1.0, height), jnp.clip(columns, -1.0, width)
  top, left = jnp.floor(rows), jnp.floor(columns)
  index = (top.astype(jnp.int32) + 1) * step + left.astype(jnp.int32) + 1
  index += pixels // (width * height) * ((height + 3) * step)

  # A tap at a time: what it reads stays in the cache.
  def add_tap(total: jax.Array, tap: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    index, down, along, matrix = tap
    down, along = down.astype(dtype)[:, None], along.astype(dtype)[:, None]

    def read(offset: int) -> jax.Array:
      return table.at[index + offset].get(mode="promise_in_bounds")

    upper = read(0) * (1 - along) + read(1) * along
    lower = read(step) * (1 - along) + read(step + 1) * along
    reads = upper * (1 - down) + lower * down
    product = jnp.dot(reads, matrix, precision="highest", preferred_element_type=jnp.float32)
    return total + product, None

  matrices = kernel.astype(dtype).reshape(NUM_TAPS, channels, -1)
  total = jnp.zeros((moves.shape[1], kernel.shape[3]))
  total, _ = jax.lax.scan(add_tap, total, (index, rows - top, columns - left, matrices))
  return total.astype(dtype).reshape(batch, height, width, -1)

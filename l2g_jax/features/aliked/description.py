"""Descriptors at key points, from the few pixels of the levels that they touch.

The feature map of an image, with `dimension` channels for each pixel, is never made as a whole.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2g_jax.features.aliked.config import STRIDES, Sizes
from l2g_jax.features.aliked.upsampling import source_positions

_SMALLEST_NORM = 1e-12

Read = Callable[[jax.Array, jax.Array], jax.Array]


class Descriptor(nn.Module):
  """Describes the key points of one image at positions that it chooses around each."""

  sizes: Sizes

  @nn.compact
  def __call__(
    self,
    levels: tuple[jax.Array, ...],
    positions: jax.Array,
    image_size: jax.Array,
    true_size: jax.Array,
    origin: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns descriptors `[k, dimension]` of unit norm, and offsets `[k, M, 2]`, down first.

    Args:
      levels: four maps `[h, w, dimension / 4]`, finest first.
      positions: `[k, 2]` float32, row and column in the image.
      image_size: `[2]`, height and width.
      true_size: `[2]`, those of the padded image.
      origin: `[2]`, of the image in the padded one.
    """
    dimension, count = self.sizes.dimension, self.sizes.num_samples

    def parameter(name: str, *shape: int) -> Any:
      return self.param(name, nn.initializers.normal(), shape)

    def read(rows: jax.Array, columns: jax.Array) -> jax.Array:
      return read_features(levels, rows + origin[0], columns + origin[1], true_size)

    # A patch that would leave the image moves inwards; at the far edges, a pixel early.
    rows, columns = (
      jnp.clip(positions[:, axis].astype(jnp.int32) - 1, 0, jnp.maximum(image_size[axis] - 4, 0))
      for axis in (0, 1)
    )
    taps = jnp.arange(9)[None]
    patches = read(rows[:, None] + taps // 3, columns[:, None] + taps % 3)
    patches = patches.reshape(len(positions), 9 * dimension)
    kernel = parameter("hidden_kernel", 3, 3, dimension, 2 * count).reshape(9 * dimension, -1)
    hidden = nn.selu(_product(patches, kernel) + parameter("hidden_bias", 2 * count)[None])
    kernel = parameter("offset_kernel", 2 * count, 2 * count)
    offsets = _product(hidden, kernel) + parameter("offset_bias", 2 * count)[None]
    limit = jnp.max(image_size).astype(jnp.float32) / 4
    offsets = jnp.clip(offsets, -limit, limit)
    # Channels are all moves to the right, then all moves down.
    offsets = jnp.stack([offsets[:, count:], offsets[:, :count]], axis=2)
    rows, columns = (positions[:, None, axis] + offsets[..., axis] for axis in (0, 1))
    sampled = _sample(read, rows, columns, image_size)
    sampled = nn.selu(_product(sampled, parameter("sample_kernel", dimension, dimension)))
    total = _product(
      sampled.reshape(len(positions), count * dimension),
      parameter("aggregate", count, dimension, dimension).reshape(count * dimension, dimension),
    )
    norms = jnp.sqrt(jnp.sum(total * total, axis=1, keepdims=True))
    return total / jnp.maximum(norms, _SMALLEST_NORM), offsets


def read_features(
  levels: tuple[jax.Array, ...], rows: jax.Array, columns: jax.Array, true_size: jax.Array
) -> jax.Array:
  """Returns the feature map at some pixels, `[..., dimension]` of unit norm.

  Args:
    levels: four maps `[h, w, dimension / 4]`, finest first.
    rows: `[...]` int32, of pixels of the padded image.
    columns: likewise.
    true_size: `[2]`, height and width of the padded image.
  """
  parts = []
  for level, stride in zip(levels, STRIDES, strict=True):
    width = level.shape[1]
    table = level.reshape(-1, level.shape[2])
    if stride == 1:
      parts.append(table[rows * width + columns])
      continue
    top, bottom, down = source_positions(rows, true_size[0], stride)
    left, right, along = source_positions(columns, true_size[1], stride)
    down, along = down[..., None], along[..., None]
    upper, lower = (
      table[row * width + left] * (1 - along) + table[row * width + right] * along
      for row in (top, bottom)
    )
    parts.append(upper * (1 - down) + lower * down)
  features = jnp.concatenate(parts, axis=-1)
  norms = jnp.sqrt(jnp.sum(features * features, axis=-1, keepdims=True))
  return features / jnp.maximum(norms, _SMALLEST_NORM)


def _sample(read: Read, rows: jax.Array, columns: jax.Array, image_size: jax.Array) -> jax.Array:
  """Reads the feature map `[..., dimension]` bilinearly, zero beyond the edge of the image."""
  height, width = image_size[0], image_size[1]
  rows = jnp.clip(rows, -1.0, height.astype(jnp.float32))
  columns = jnp.clip(columns, -1.0, width.astype(jnp.float32))
  floors = jnp.floor(rows), jnp.floor(columns)
  down, along = rows - floors[0], columns - floors[1]
  top, left = (floor.astype(jnp.int32) for floor in floors)
  total = jnp.zeros(())
  for row, row_weight in ((top, 1 - down), (top + 1, down)):
    for column, column_weight in ((left, 1 - along), (left + 1, along)):
      is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
      weight = jnp.where(is_inside, row_weight * column_weight, 0.0)
      inner_row = jnp.clip(row, 0, jnp.maximum(height - 1, 0))
      inner_column = jnp.clip(column, 0, jnp.maximum(width - 1, 0))
      total += read(inner_row, inner_column) * weight[..., None]
  return total


def _product(values: jax.Array, kernel: jax.Array) -> jax.Array:
  return jnp.dot(values, kernel, precision="highest")

"""Descriptors at key points, from the few pixels of the levels that they touch.

The feature map of an image, with `dimension` channels for each pixel, is never made as a whole.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from l2g_jax.features.aliked.config import STRIDES
from l2g_jax.features.aliked.layers import Layer, multiply
from l2g_jax.features.aliked.network import MARGIN, Maps, Params, first_level
from l2g_jax.features.aliked.parameters import NUM_TAPS
from l2g_jax.features.aliked.upsampling import source_positions

_SMALLEST_NORM = 1e-12

Read = Callable[[jax.Array, jax.Array], jax.Array]


def describe(
  params: Params,
  maps: Maps,
  positions: jax.Array,
  image_size: jax.Array,
  true_size: jax.Array,
  origin: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Describes the key points of one image at positions that the network chooses around each.

  Args:
    params: see `parameters.parameter_shapes`.
    maps: of one image, without the axis of the batch.
    positions: `[k, 2]` float32, row and column in the image.
    image_size: `[2]`, height and width.
    true_size: `[2]`, those of the padded image.
    origin: `[2]`, of the image in the padded one.

  Returns:
    Descriptors `[k, dimension]` of unit norm, and offsets `[k, M, 2]`, down first.
  """
  layers = params["descriptor"]
  aggregate = layers["aggregate"]["kernel"]
  count, dimension, _ = aggregate.shape

  def read(rows: jax.Array, columns: jax.Array) -> jax.Array:
    return read_features(params, maps, rows + origin[0], columns + origin[1], true_size)

  # A patch that would leave the image moves inwards; at the far edges, a pixel early.
  rows, columns = (
    jnp.clip(positions[:, axis].astype(jnp.int32) - 1, 0, jnp.maximum(image_size[axis] - 4, 0))
    for axis in (0, 1)
  )
  taps = jnp.arange(NUM_TAPS)[None]
  patches = read(rows[:, None] + taps // 3, columns[:, None] + taps % 3)
  kernel = layers["hidden"]["kernel"].reshape(NUM_TAPS * dimension, -1)
  hidden = Layer(kernel, layers["hidden"]["bias"])
  values = jax.nn.selu(multiply(patches.reshape(len(positions), -1), hidden))
  limit = jnp.max(image_size).astype(jnp.float32) / 4
  values = jnp.clip(multiply(values, Layer(**layers["offset"])), -limit, limit)
  # Channels are all moves to the right, then all moves down.
  offsets = jnp.stack([values[:, count:], values[:, :count]], axis=2)
  rows, columns = (positions[:, None, axis] + offsets[..., axis] for axis in (0, 1))
  sampled = _sample(read, rows, columns, image_size)
  sampled = jax.nn.selu(multiply(sampled, Layer(**layers["sample"])))
  total = multiply(
    sampled.reshape(len(positions), -1), Layer(aggregate.reshape(count * dimension, dimension))
  )
  return _unit(total), offsets


def read_features(
  params: Params, maps: Maps, rows: jax.Array, columns: jax.Array, true_size: jax.Array
) -> jax.Array:
  """Returns the feature map at some pixels, `[..., dimension]` of unit norm.

  Args:
    params: see `parameters.parameter_shapes`.
    maps: of one image, without the axis of the batch.
    rows: `[...]` int32, of pixels of the padded image.
    columns: likewise.
    true_size: `[2]`, height and width of the padded image.
  """
  parts = [first_level(params, _take(maps.finest, rows + MARGIN, columns))]
  for level, stride in zip(maps.levels, STRIDES[1:], strict=True):
    top, bottom, down = source_positions(rows, true_size[0], stride)
    left, right, along = source_positions(columns, true_size[1], stride)
    down, along = down[..., None], along[..., None]
    upper, lower = (
      _take(level, row, left) * (1 - along) + _take(level, row, right) * along
      for row in (top, bottom)
    )
    parts.append(upper * (1 - down) + lower * down)
  return _unit(jnp.concatenate(parts, axis=-1))


def _take(values: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Takes pixels of a map `[height, width, channels]`; all must be there."""
  table = values.reshape(-1, values.shape[2])
  return table.at[rows * values.shape[1] + columns].get(mode="promise_in_bounds")


def _unit(values: jax.Array) -> jax.Array:
  norms = jnp.sqrt(jnp.sum(values * values, axis=-1, keepdims=True))
  return values / jnp.maximum(norms, _SMALLEST_NORM)


def _sample(read: Read, rows: jax.Array, columns: jax.Array, image_size: jax.Array) -> jax.Array:
  """Reads the feature map `[..., dimension]` bilinearly, zero beyond the edge of the image."""
  height, width = image_size[0], image_size[1]
  rows = jnp.clip(rows, -1.0, height.astype(jnp.float32))
  columns = jnp.clip(columns, -1.0, width.astype(jnp.float32))
  floors = jnp.floor(rows), jnp.floor(columns)
  down, along = rows - floors[0], columns - floors[1]
  top, left = (floor.astype(jnp.int32) for floor in floors)
  # All four neighbours are read at once.
  rows = jnp.stack([top, top, top + 1, top + 1])
  columns = jnp.stack([left, left + 1, left, left + 1])
  weights = jnp.stack(
    [(1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along]
  )
  is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  weights = jnp.where(is_inside, weights, 0.0)
  rows = jnp.clip(rows, 0, jnp.maximum(height - 1, 0))
  columns = jnp.clip(columns, 0, jnp.maximum(width - 1, 0))
  return jnp.sum(read(rows, columns) * weights[..., None], axis=0)

"""The trunk of ALIKED and its score head.

Source: Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE Transactions on Instrumentation and Measurement, 2023. The published weights
are licensed BSD-3-Clause, (c) 2022 Zhao Xiaoming.

All large maps are made in strips of rows, together with what is made of them.
"""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from l2g_jax.features.aliked import padding
from l2g_jax.features.aliked.config import SCORE_WIDTHS, STRIDES
from l2g_jax.features.aliked.deformable import deformable_convolution
from l2g_jax.features.aliked.layers import Layer, convolution, grouped, multiply
from l2g_jax.features.aliked.strips import in_strips, rows_of
from l2g_jax.features.aliked.upsampling import upsample_columns, upsample_rows

# Three convolutions of the score head reach so many rows beyond a strip.
MARGIN = len(SCORE_WIDTHS)
_PAIR = ("first", "second")

Params = Mapping[str, Any]


@flax.struct.dataclass
class Maps:
  """Results of the network for images in one padded shape `height, width`.

  Attributes:
    scores: `[B, height, width]` float32 in [0, 1], of each pixel as a key point.
    finest: `[B, height + 2 * MARGIN, width, c1]`, of block 1, with rows of zeros before and after;
      `first_level` makes level 1 of it.
    levels: of blocks 2 to 4, `[B, height / s, width / s, dimension / 4]` float32 for a stride s of
      2, 8 and 32.
  """

  scores: jax.Array
  finest: jax.Array
  levels: tuple[jax.Array, jax.Array, jax.Array]


def compute_maps(params: Params, images: jax.Array, true_sizes: jax.Array, dtype: Any) -> Maps:
  """Runs the network.

  Args:
    params: see `parameters.parameter_shapes`.
    images: `[B, height, width, 3]` uint8; sides are multiples of 32, and pixels beyond the true
      size are zero.
    true_sizes: `[B, 2]`, height and width, multiples of 32.
    dtype: type of the convolutions of the trunk.
  """
  finest, pooled = _block1(params["block1"], images, true_sizes, dtype)
  sizes = {stride: true_sizes // stride for stride in STRIDES}
  level2, mixed2, pooled = _block2(params, pooled, sizes[2], images.shape[2], dtype)
  block3 = _deformable_block(params["block3"], pooled, sizes[8], dtype)
  pooled = _mean_pool(block3, STRIDES[3] // STRIDES[2])
  block4 = _deformable_block(params["block4"], pooled, sizes[32], dtype)
  level3, mixed3 = _level(params, 3, block3)
  level4, mixed4 = _level(params, 4, block4)
  mixed3, mixed4 = (
    upsample_columns(mixed, true_sizes[:, 1], images.shape[2]) for mixed in (mixed3, mixed4)
  )
  scores = _scores(params, finest, [mixed2, mixed3, mixed4], true_sizes)
  return Maps(scores, finest, (level2, level3, level4))


def first_level(params: Params, finest: jax.Array) -> jax.Array:
  """Returns level 1 `[..., dimension / 4]` of pixels of block 1, `[..., c1]`."""
  return _level(params, 1, finest)[0]


def _block1(
  params: Params, images: jax.Array, true_sizes: jax.Array, dtype: Any
) -> tuple[jax.Array, jax.Array]:
  """Returns the map of the block, and its means over 2x2 pixels.

  Rows of zeros are before and after them, `MARGIN` and two, for the convolutions that follow.
  """
  _, height, width, _ = images.shape
  # Two convolutions reach two rows beyond a strip.
  images = jnp.pad(images, ((0, 0), (2, 2), (0, 0), (0, 0)))
  first, second = (convolution(params[name]["kernel"], width, dtype) for name in _PAIR)
  settle = [
    _Settler(params[name]["bias"], true_sizes, width, second.group, dtype) for name in _PAIR
  ]

  def compute(row: Any, count: int) -> tuple[jax.Array, jax.Array]:
    values = grouped(rows_of(images, row, count + 4), width, first.group)
    values = first(values.astype(dtype) / 255, pads_rows=False)
    values = settle[0](values, row - 1)
    values = settle[1](second(values, pads_rows=False), row)
    values = grouped(values, width, 1)
    return values, _mean_pool(values, STRIDES[1])

  finest, pooled = in_strips(compute, height, (MARGIN, 2))
  return finest, pooled


def _block2(
  params: Params, values: jax.Array, true_sizes: jax.Array, full_width: int, dtype: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns level 2, its part of the score head, `full_width` wide, and 4x4 means of the block."""
  _, height, width, _ = values.shape
  layers = params["block2"]
  first, second = (convolution(layers[name]["kernel"], width, dtype) for name in _PAIR)
  project = Layer(layers["project"]["kernel"])
  biases = layers["first"]["bias"], layers["second"]["bias"] + layers["project"]["bias"]
  settle = [_Settler(bias, true_sizes, width, second.group, dtype) for bias in biases]

  def compute(row: Any, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    strip = rows_of(values, row, count + 4)
    hidden = first(grouped(strip, width, first.group), pads_rows=False)
    result = second(settle[0](hidden, row - 1), pads_rows=False)
    shortcut = grouped(multiply(strip[:, 2:-2], project, dtype=dtype), width, second.group)
    result = grouped(settle[1](result + shortcut, row), width, 1)
    level, mixed = _level(params, 2, result)
    mixed = upsample_columns(mixed, true_sizes[:, 1] * STRIDES[1], full_width)
    return level, mixed, _mean_pool(result, STRIDES[2] // STRIDES[1])

  level, mixed, pooled = in_strips(compute, height - 4, (0, 0, 0))
  return level, mixed, pooled


def _deformable_block(
  params: Params, values: jax.Array, true_sizes: jax.Array, dtype: Any
) -> jax.Array:
  """Returns the map of block 3 or 4."""
  width = values.shape[2]
  limit = jnp.max(true_sizes, axis=1).astype(jnp.float32)[:, None, None, None] / 4

  def convolve(values: jax.Array, name: str) -> jax.Array:
    layer = params[f"{name}_offset"]
    plain = convolution(layer["kernel"], width, dtype)
    offsets = grouped(plain(grouped(values, width, plain.group)), width, 1).astype(jnp.float32)
    offsets = jnp.clip(offsets + layer["bias"][None, None, None], -limit, limit)
    return deformable_convolution(values, offsets, params[name]["kernel"], dtype)

  shortcut = multiply(values, Layer(params["project"]["kernel"]), dtype=dtype)
  biases = params["first"]["bias"], params["second"]["bias"] + params["project"]["bias"]
  settle = [_Settler(bias, true_sizes, width, 1, dtype) for bias in biases]
  hidden = settle[0](convolve(values, "first"), 0)
  return settle[1](convolve(hidden, "second") + shortcut, 0)


def _scores(
  params: Params, finest: jax.Array, mixed: list[jax.Array], true_sizes: jax.Array
) -> jax.Array:
  """Scores every pixel.

  The first layer of the head is linear. It was applied to the levels before they were upsampled.
  """
  width, height = finest.shape[2], finest.shape[1] - 2 * MARGIN
  layers = [convolution(params["score"][f"conv{n + 1}"]["kernel"], width) for n in range(MARGIN)]
  settle = [
    _Settler(jnp.zeros(channels), true_sizes, width, layer.group, jnp.float32)
    for layer, channels in zip(layers, SCORE_WIDTHS, strict=True)
  ]
  mixed = [grouped(part, width, layers[0].group) for part in mixed]

  def compute(row: Any, count: int) -> tuple[jax.Array]:
    row, count = row - MARGIN, count + 2 * MARGIN
    _, values = _level(params, 1, rows_of(finest, row + MARGIN, count))
    values = grouped(values, width, layers[0].group)
    for part in mixed:
      values += upsample_rows(part, true_sizes[:, 0], height, row, count)
    for number, (layer, activate) in enumerate(zip(layers, settle, strict=True)):
      values = layer(activate(values, row + number), pads_rows=False)
    return (jax.nn.sigmoid(grouped(values, width, 1)[..., 0]),)

  return in_strips(compute, height, (0,))[0]


class _Settler:
  """Adds a bias, activates, and zeroes pixels that an image does not have.

  It works on groups of pixels, as the next convolution wants them. Its arrays are made outside of
  loops: only then does XLA make vector code of what is within.
  """

  def __init__(
    self, bias: jax.Array, true_sizes: jax.Array, width: int, group: int, dtype: Any
  ) -> None:
    self.heights = true_sizes[:, 0]
    self.bias = jnp.tile(bias.astype(dtype), group)[None, None, None]
    self.columns = padding.columns_inside(true_sizes[:, 1], width, group, len(bias))

  def __call__(self, values: jax.Array, row: Any) -> jax.Array:
    """Settles rows from `row` on."""
    values = values.reshape(*values.shape[:2], *self.columns.shape[2:])
    rows = padding.rows_inside(self.heights, row, values.shape[1])
    settled = jax.nn.selu(values + self.bias)
    return jnp.where(rows & self.columns, settled, jnp.zeros((), settled.dtype))


def _level(params: Params, number: int, block: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns a level, and its part of the first layer of the score head."""
  shape = block.shape[:-1]
  # XLA makes vector code of it if pixels are one axis.
  block = block.reshape(-1, block.shape[-1]).astype(jnp.float32)
  level = jax.nn.selu(multiply(block, Layer(params["levels"][f"level{number}"]["kernel"])))
  part = jnp.split(params["score"]["mix"]["kernel"], len(STRIDES))[number - 1]
  return level.reshape(*shape, -1), multiply(level, Layer(part)).reshape(*shape, -1)


def _mean_pool(values: jax.Array, side: int) -> jax.Array:
  """Returns the means of squares of `side` pixels."""
  batch, height, width, channels = values.shape
  shape = (batch, height // side, side, width // side, side, channels)
  return jnp.mean(values.reshape(shape), axis=(2, 4), dtype=jnp.float32).astype(values.dtype)

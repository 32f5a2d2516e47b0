"""The trunk of ALIKED and its score head.

Source: Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE Transactions on Instrumentation and Measurement, 2023. The published weights
are licensed BSD-3-Clause, (c) 2022 Zhao Xiaoming. Batch norms are folded into convolutions.
"""

import itertools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from l2g_jax.features.aliked.config import SCORE_WIDTHS, STRIDES, Sizes
from l2g_jax.features.aliked.deformable import NUM_TAPS, deformable_convolution
from l2g_jax.features.aliked.padding import masked
from l2g_jax.features.aliked.upsampling import upsample


@flax.struct.dataclass
class Maps:
  """Results of the network for images in one padded shape `height, width`.

  Attributes:
    scores: `[B, height, width]` float32 in [0, 1], of each pixel as a key point.
    levels: `[B, height / s, width / s, dimension / 4]` float32 for a stride s of 1, 2, 8 and 32.
  """

  scores: jax.Array
  levels: tuple[jax.Array, ...]


class Network(nn.Module):
  """The trunk and the score head.

  Attributes:
    sizes: of the variant.
    dtype: type of the convolutions of the trunk; parameters stay float32.
  """

  sizes: Sizes
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, true_sizes: jax.Array) -> Maps:
    """Returns the maps of images.

    Args:
      images: `[B, height, width, 3]` float32 in [0, 1]; sides are multiples of 32, and pixels
        beyond the true size are zero.
      true_sizes: `[B, 2]`, height and width, multiples of 32.
    """
    blocks = Trunk(self.sizes.widths, self.dtype, name="trunk")(images, true_sizes)
    quarter = self.sizes.dimension // 4
    levels = [
      nn.selu(_Linear(quarter, use_bias=False, name=f"level{number}")(block.astype(jnp.float32)))
      for number, block in enumerate(blocks, start=1)
    ]
    scores = ScoreHead(name="score")(levels, true_sizes)
    return Maps(scores, tuple(levels))


class Trunk(nn.Module):
  """Four blocks at strides 1, 2, 8 and 32; the last two convolve deformably."""

  widths: tuple[int, int, int, int]
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, true_sizes: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the maps of the blocks, zero beyond the true sizes; see `Network`."""
    values = images.astype(self.dtype)
    first = Convolution(self.widths[0], self.dtype, name="block1_first")
    values = masked(nn.selu(first(values)), true_sizes)
    values = nn.selu(Convolution(self.widths[0], self.dtype, name="block1_second")(values))
    maps = [masked(values, true_sizes)]
    for number, (finer, stride) in enumerate(itertools.pairwise(STRIDES), start=2):
      pooled = _mean_pool(maps[-1], stride // finer)
      block = Block(self.widths[number - 1], number > 2, self.dtype, name=f"block{number}")
      maps.append(block(pooled, true_sizes // stride))
    return tuple(maps)


class Block(nn.Module):
  """Two 3x3 convolutions, deformable if `deforms`, beside a 1x1 convolution."""

  width: int
  deforms: bool
  dtype: Any

  @nn.compact
  def __call__(self, values: jax.Array, true_sizes: jax.Array) -> jax.Array:
    """Returns `[B, h, w, width]`; `true_sizes` are those of the values."""
    kind = Deformable if self.deforms else Convolution
    inner = kind(self.width, self.dtype, name="first")
    outer = kind(self.width, self.dtype, name="second")
    extra = (true_sizes,) if self.deforms else ()
    hidden = masked(nn.selu(inner(values, *extra)), true_sizes)
    shortcut = _Linear(self.width, self.dtype, name="project")(values)
    return masked(nn.selu(outer(hidden, *extra) + shortcut), true_sizes)


class Convolution(nn.Module):
  """A 3x3 convolution that pads with zeros."""

  width: int
  dtype: Any = jnp.float32
  use_bias: bool = True

  @nn.compact
  def __call__(self, values: jax.Array) -> jax.Array:
    """Returns `[B, h, w, width]`."""
    shape = (3, 3, values.shape[3], self.width)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    result = jax.lax.conv_general_dilated(
      values.astype(self.dtype),
      kernel.astype(self.dtype),
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision="highest",
    )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.width,))
      result += bias.astype(self.dtype)[None, None, None]
    return result


class Deformable(nn.Module):
  """A deformable 3x3 convolution; a plain one makes its offsets."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, values: jax.Array, true_sizes: jax.Array) -> jax.Array:
    """Returns `[B, h, w, width]`; offsets reach up to a quarter of the longer true side."""
    offsets = Convolution(2 * NUM_TAPS, self.dtype, name="offset")(values).astype(jnp.float32)
    limit = jnp.max(true_sizes, axis=1).astype(jnp.float32)[:, None, None, None] / 4
    offsets = jnp.clip(offsets, -limit, limit)
    shape = (3, 3, values.shape[3], self.width)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.width,))
    result = deformable_convolution(values, offsets, kernel, dtype=self.dtype)
    return result + bias.astype(self.dtype)[None, None, None]


class ScoreHead(nn.Module):
  """Scores every pixel from the four levels.

  Its first layer is linear: it is applied to the levels before they are upsampled.
  """

  @nn.compact
  def __call__(self, levels: list[jax.Array], true_sizes: jax.Array) -> jax.Array:
    """Returns `[B, height, width]` in [0, 1]."""
    first, *others = SCORE_WIDTHS
    shape = levels[0].shape
    channels = sum(level.shape[3] for level in levels)
    mix = self.param("mix", nn.initializers.lecun_normal(), (channels, first))
    total = jnp.zeros((*shape[:3], first))
    for level, part in zip(levels, jnp.split(mix, len(levels)), strict=True):
      total += upsample(jnp.dot(level, part, precision="highest"), true_sizes, shape[1:3])
    values = masked(nn.selu(total), true_sizes)
    for number, width in enumerate(others, start=1):
      values = nn.selu(Convolution(width, use_bias=False, name=f"conv{number}")(values))
      values = masked(values, true_sizes)
    last = Convolution(1, use_bias=False, name=f"conv{len(SCORE_WIDTHS)}")(values)
    return nn.sigmoid(last[..., 0])


class _Linear(nn.Module):
  """A 1x1 convolution as a matrix product."""

  width: int
  dtype: Any = jnp.float32
  use_bias: bool = True

  @nn.compact
  def __call__(self, values: jax.Array) -> jax.Array:
    shape = (values.shape[3], self.width)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    result = jnp.dot(values.astype(self.dtype), kernel.astype(self.dtype), precision="highest")
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.width,))
      result += bias.astype(self.dtype)[None, None, None]
    return result


def _mean_pool(values: jax.Array, side: int) -> jax.Array:
  """Returns the means of squares of `side` pixels."""
  batch, height, width, channels = values.shape
  shape = (batch, height // side, side, width // side, side, channels)
  return jnp.mean(values.reshape(shape), axis=(2, 4), dtype=jnp.float32).astype(values.dtype)

"""The ResNet trunk that SuperGlobal and FIRe share, with batch norms folded into convolutions.

Source: He et al. 2016, with a block's stride in its 3x3 convolution; ReLUP of Shao et al. 2023.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
STEM_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Stage:
  """One resolution of the trunk.

  Attributes:
    num_blocks: number of bottlenecks; the first halves the resolution, except in stage 1.
    inner_floor: least value after the first two convolutions of a block; 0 is ReLU.
    outer_floor: least value after the sum that ends a block; 0 is ReLU.
  """

  num_blocks: int
  inner_floor: float = 0.0
  outer_floor: float = 0.0


class ResNet(nn.Module):
  """A bottleneck ResNet without a head.

  Attributes:
    stages: stages from the finest to the coarsest.
    dtype: type of the convolutions; parameters stay float32.
  """

  stages: tuple[Stage, ...]
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the maps of the stem and of every stage, `[B, height, width, channels]` each.

    Args:
      images: `[B, height, width, 3]`, normalised.
    """
    stem = _convolution(STEM_WIDTH, 7, 2, self.dtype, "stem")(images)
    maps = [_max_pool(jnp.maximum(stem, 0.0))]
    for number, (stage, width) in enumerate(zip(self.stages, WIDTHS, strict=False), start=1):
      values = maps[-1]
      for block in range(1, stage.num_blocks + 1):
        stride = 2 if block == 1 and number > 1 else 1
        name = f"stage{number}_block{block}"
        values = _Bottleneck(width, stride, block == 1, stage, self.dtype, name=name)(values)
      maps.append(values)
    return tuple(maps)


class _Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions beside a shortcut, which is projected if `projects`."""

  width: int
  stride: int
  projects: bool
  stage: Stage
  dtype: Any

  @nn.compact
  def __call__(self, values: jax.Array) -> jax.Array:
    inner = _pointwise(self.width, self.dtype, "reduce")(values)
    inner = jnp.maximum(inner, self.stage.inner_floor)
    inner = _convolution(self.width, 3, self.stride, self.dtype, "spatial")(inner)
    inner = jnp.maximum(inner, self.stage.inner_floor)
    inner = _pointwise(EXPANSION * self.width, self.dtype, "expand")(inner)
    if self.projects:
      values = values[:, :: self.stride, :: self.stride]
      values = _pointwise(EXPANSION * self.width, self.dtype, "project")(values)
    return jnp.maximum(values + inner, self.stage.outer_floor)


def _max_pool(values: jax.Array) -> jax.Array:
  """Halves the resolution by the maximum of 3x3 windows."""
  lowest = jnp.asarray(-jnp.inf, values.dtype)
  margins = ((0, 0), (1, 1), (1, 1), (0, 0))
  return jax.lax.reduce_window(values, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), margins)


def _pointwise(width: int, dtype: Any, name: str) -> nn.Dense:
  """Returns a 1x1 convolution as a matrix product, which XLA runs faster on a CPU."""
  return nn.Dense(width, dtype=dtype, precision="highest", name=name)


def _convolution(width: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
  return nn.Conv(
    width,
    (size, size),
    stride,
    padding=size // 2,
    dtype=dtype,
    precision="highest",
    name=name,
  )

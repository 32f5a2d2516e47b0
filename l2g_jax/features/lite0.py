"""EfficientNet-Lite0: one global feature per image, from a small network trained on classes.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019, in the form Lite0 that Google released for TensorFlow; GeM is of Radenovic et al. 2019. Batch
norms are folded into convolutions.

Pictures of many sizes pass it on canvases of few. TensorFlow pads as the size of a picture demands:
where a side is odd, the windows of a stride of 2 begin a pixel earlier. A picture therefore ends,
down and to the right, at a multiple of 32. Then at all five strides the windows lie alike on the
canvas, for every size. What is outside of the picture is set to zero before each convolution, which
sees what TensorFlow's padding would show it. A picture that is higher than wide lies on its side,
and meets kernels that do too: so there are half as many canvases to compile for.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import ArrayLike

from l2g_jax.features.protocol import Dtype
from l2g_jax.features.superglobal import normalize

DIMENSION = 1280
NUM_CLASSES = 1000
STEM_WIDTH = 32
# Pixels of a picture to one of the last map, along each side.
STRIDE = 32

# A finer step would leave less of a canvas empty, and have more of them to compile.
_CANVAS_STEP = 128
# This grey becomes zero, and lies around a picture.
_GREY = 127
_SCALE = 128.0
_POWER = 3.0
_LEAST = 1e-6


class Stage(NamedTuple):
  """Blocks of one width; the first of them may halve the resolution."""

  num_blocks: int
  kernel: int
  stride: int
  expansion: int
  width: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class Lite0(nn.Module):
  """The network before its pooling.

  Attributes:
    dtype: type of the convolutions; parameters stay float32.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, canvases: jax.Array, layouts: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the maps of the stem, of every stage and of the head.

    Args:
      canvases: `[B, height, width, 3]` uint8, see `apply`.
      layouts: `[B, 3]` int32, see `place`.

    Returns:
      `[B, height / stride, width / stride, channels]` each, turned as their pictures are; they have
      no meaning outside of a picture.
    """
    chex.assert_shape(canvases, (None, None, None, 3))
    images = ((canvases.astype(jnp.float32) - _GREY) / _SCALE).astype(self.dtype)
    is_turned = layouts[:, 2] == 1
    maps = [_relu6(_Stem(self.dtype, name="stem")(images, is_turned))]
    stride, number = 2, 0
    for stage in STAGES:
      values = maps[-1]
      for step in range(stage.num_blocks):
        mask = inside(layouts, stride, values.shape).astype(self.dtype)
        block = _Block(stage, step, self.dtype, name=f"block{number}")
        values = block(values, mask, is_turned)
        stride *= stage.stride if step == 0 else 1
        number += 1
      maps.append(values)
    maps.append(_relu6(_pointwise(DIMENSION, self.dtype, "head")(maps[-1])))
    return tuple(maps)


class _Stem(nn.Module):
  """A 3x3 convolution of stride 2."""

  dtype: Any

  @nn.compact
  def __call__(self, images: jax.Array, is_turned: jax.Array) -> jax.Array:
    shape = (3, 3, images.shape[3], STEM_WIDTH)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros, (STEM_WIDTH,)).astype(self.dtype)
    # Both kernels of one picture cost little: the stem is a fortieth of the work.
    both = jax.lax.conv_general_dilated(
      images,
      jnp.concatenate([kernel, kernel.transpose(1, 0, 2, 3)], axis=3),
      (2, 2),
      _padding(3, 2),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision="highest",
    )
    upright, turned = jnp.split(both, 2, axis=3)
    return jnp.where(is_turned[:, None, None, None], turned, upright) + bias[None, None, None]


class _Block(nn.Module):
  """An inverted residual: 1x1 to more channels, a convolution of each channel, 1x1 to few."""

  stage: Stage
  step: int
  dtype: Any

  @nn.compact
  def __call__(self, values: jax.Array, mask: jax.Array, is_turned: jax.Array) -> jax.Array:
    stage = self.stage
    inner = values
    if stage.expansion > 1:
      width = stage.expansion * values.shape[3]
      inner = _relu6(_pointwise(width, self.dtype, "expand")(values))
    stride = stage.stride if self.step == 0 else 1
    spatial = _Depthwise(stage.kernel, stride, name="spatial")
    inner = _relu6(spatial(inner * mask, is_turned))
    inner = _pointwise(stage.width, self.dtype, "project")(inner)
    return inner + values if self.step else inner


class _Depthwise(nn.Module):
  """A convolution of each channel with a kernel of its own, as a sum of shifted products.

  XLA's own takes 12 to 42 times as long on a CPU.
  """

  size: int
  stride: int

  @nn.compact
  def __call__(self, values: jax.Array, is_turned: jax.Array) -> jax.Array:
    size, stride = self.size, self.stride
    batch, height, width, channels = values.shape
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, size, channels))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    turned = kernel.transpose(1, 0, 2)
    kernels = jnp.where(is_turned[:, None, None, None], turned[None], kernel[None])
    padding = _padding(size, stride)
    # Without the barrier XLA pads anew for each product.
    padded = jax.lax.optimization_barrier(jnp.pad(values, ((0, 0), *padding, (0, 0))))
    total = jnp.broadcast_to(bias, (batch, height // stride, width // stride, channels))
    for row in range(size):
      for column in range(size):
        shifted = jax.lax.slice(
          padded,
          (0, row, column, 0),
          (batch, row + height - stride + 1, column + width - stride + 1, channels),
          (1, stride, stride, 1),
        )
        total += shifted.astype(jnp.float32) * kernels[:, row, column][:, None, None]
    return total.astype(values.dtype)


def place(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Puts a picture on a canvas, on the host.

  Args:
    image: `[height, width, 3]` uint8, RGB.

  Returns:
    The canvas, uint8, of which there are few sizes, and the layout, `[3]` int32: height and width
    of the picture on the canvas, and 1 if its rows became columns, else 0.
  """
  is_turned = image.shape[0] > image.shape[1]
  image = image.transpose(1, 0, 2) if is_turned else image
  size = np.array(image.shape[:2], np.int32)
  height, width = -(-size // _CANVAS_STEP) * _CANVAS_STEP
  bottom, right = -(-size // STRIDE) * STRIDE
  canvas = np.full((height, width, 3), _GREY, np.uint8)
  canvas[bottom - size[0] : bottom, right - size[1] : right] = image
  return canvas, np.append(size, np.int32(is_turned))


def inside(layouts: ArrayLike, stride: int, shape: tuple[int, ...]) -> jax.Array:
  """Returns which pixels of a map belong to a picture.

  Args:
    layouts: `[B, 3]` int32, see `place`.
    stride: pixels of a canvas to one of the map.
    shape: the shape of the map, `[B, height, width, channels]`.

  Returns:
    `[B, height, width, 1]` bool.
  """
  layouts = jnp.asarray(layouts)
  chex.assert_shape(layouts, (shape[0], 3))
  sizes = layouts[:, :2]
  ends = -(-sizes // STRIDE) * (STRIDE // stride)
  starts = ends + -sizes // stride
  rows, columns = (
    (jnp.arange(length)[None] >= starts[:, axis, None])
    & (jnp.arange(length)[None] < ends[:, axis, None])
    for axis, length in enumerate(shape[1:3])
  )
  return (rows[:, :, None] & columns[:, None, :])[..., None]


@functools.partial(jax.jit, static_argnames="dtype")
def apply(
  params: Mapping[str, Any], canvases: ArrayLike, layouts: ArrayLike, *, dtype: Dtype = "float32"
) -> jax.Array:
  """Describes pictures by the generalised mean of the last map.

  Args:
    params: parameters of `Lite0`.
    canvases: `[B, height, width, 3]` uint8, RGB, as `place` makes them.
    layouts: `[B, 3]` int32, likewise.
    dtype: type of the convolutions; the function is compiled for each and for each canvas.

  Returns:
    Features `[B, 1280]` float32 of unit norm.
  """
  features, mask = _last_map(params, canvases, layouts, dtype)
  powers = jnp.maximum(features, _LEAST) ** _POWER
  return normalize(_mean(powers, mask) ** (1.0 / _POWER))


@jax.jit
def classify(params: Mapping[str, Any], canvases: ArrayLike, layouts: ArrayLike) -> jax.Array:
  """Returns logits `[B, 1000]` of ImageNet's classes, in PyTorch's order; see `apply`."""
  classifier = nn.Dense(NUM_CLASSES, precision="highest")
  pooled = _mean(*_last_map(params, canvases, layouts, "float32"))
  logits = classifier.apply({"params": params["classifier"]}, pooled)
  assert isinstance(logits, jax.Array)
  return logits


def _last_map(
  params: Mapping[str, Any], canvases: ArrayLike, layouts: ArrayLike, dtype: Dtype
) -> tuple[jax.Array, jax.Array]:
  """Returns the map of the head, and which of its pixels belong to a picture, both float32."""
  module = Lite0(jnp.dtype(dtype))
  maps: Any = module.apply({"params": params}, jnp.asarray(canvases), jnp.asarray(layouts))
  features = maps[-1].astype(jnp.float32)
  return features, inside(layouts, STRIDE, features.shape).astype(jnp.float32)


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  return jnp.sum(values * mask, axis=(1, 2)) / jnp.sum(mask, axis=(1, 2))


def _padding(size: int, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
  """Returns the pixels before and after each side of a canvas: TensorFlow's of an even side."""
  before = (size - stride) // 2
  side = (before, size - stride - before)
  return side, side


def _pointwise(width: int, dtype: Any, name: str) -> nn.Dense:
  """Returns a 1x1 convolution as a matrix product, which XLA runs faster on a CPU."""
  return nn.Dense(width, dtype=dtype, precision="highest", name=name)


def _relu6(values: jax.Array) -> jax.Array:
  return jnp.clip(values, 0.0, 6.0)

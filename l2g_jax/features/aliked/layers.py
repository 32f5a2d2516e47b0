"""Layers: 3x3 convolutions of few channels, several pixels at a time, and matrix products."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Convolutions of fewer channels leave most of a processor's vectors empty.
_ENOUGH_CHANNELS = 32


class Layer(NamedTuple):
  """The parameters of a convolution or a matrix product.

  Attributes:
    kernel: `[3, 3, channels, width]` or `[channels, width]`.
    bias: `[width]`, or None.
  """

  kernel: jax.Array
  bias: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Convolution:
  """A 3x3 convolution between groups of pixels.

  Some neighbours of a row are taken for one pixel that has the channels of all. The kernel between
  such pixels is mostly zeros, and yet it costs less: half of the time for 3 to 16 channels, a
  third for 4 to 4.

  Attributes:
    kernel: `[3, 3, group * channels, group * width_out]`.
    group: number of pixels in a group.
  """

  kernel: jax.Array
  group: int

  def __call__(self, values: jax.Array, *, pads_rows: bool = True) -> jax.Array:
    """Returns `[B, height, width / group, group * width_out]`, without the bias.

    Args:
      values: `[B, height, width / group, group * channels]`; beyond the edge there are zeros.
      pads_rows: False leaves out the first and the last row of the result.
    """
    return jax.lax.conv_general_dilated(
      values.astype(self.kernel.dtype),
      self.kernel,
      (1, 1),
      ((1, 1) if pads_rows else (0, 0), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision="highest",
    )


def convolution(kernel: jax.Array, width: int, dtype: Any = jnp.float32) -> Convolution:
  """Returns the convolution of a kernel `[3, 3, channels, width_out]` for rows of `width`."""
  _, _, channels, width_out = kernel.shape
  group = math.gcd(width, max(1, _ENOUGH_CHANNELS // max(channels, width_out)))
  step, source, target = np.ogrid[-1:2, :group, :group]
  columns = step * group + source - target + 1
  # The fourth column is zero.
  columns = np.where((columns >= 0) & (columns < 3), columns, 3)
  joined = jnp.pad(kernel.astype(dtype), ((0, 0), (0, 1), (0, 0), (0, 0)))[:, columns]
  joined = joined.transpose(0, 1, 2, 4, 3, 5)
  return Convolution(joined.reshape(3, 3, group * channels, group * width_out), group)


def grouped(values: jax.Array, width: int, group: int) -> jax.Array:
  """Returns values `[B, height, ...]` as `[B, height, width / group, group * channels]`."""
  return values.reshape(*values.shape[:2], width // group, -1)


def multiply(values: jax.Array, layer: Layer, *, dtype: Any = jnp.float32) -> jax.Array:
  """Multiplies the last axis by a matrix and adds the bias."""
  result = jnp.dot(values.astype(dtype), layer.kernel.astype(dtype), precision="highest")
  if layer.bias is None:
    return result
  bias = layer.bias.astype(dtype)
  return result + bias.reshape((1,) * (result.ndim - 1) + bias.shape)

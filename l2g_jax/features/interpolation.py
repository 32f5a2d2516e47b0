"""Bilinear resizing with the sizes and coordinates of PyTorch, which differ from those of JAX."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def resize(images: ArrayLike, scale: float, *, antialias: bool = False) -> jax.Array:
  """Resizes to the size times `scale`, rounded down; coordinates follow from the two sizes.

  This equals `torchvision.transforms.functional.resize` of a tensor, which antialiases by default
  since version 0.17.

  Args:
    images: `[B, height, width, channels]` float32.
    scale: above 0; a side becomes at least one pixel.
    antialias: whether a reduction averages over all pixels, instead of sampling between two.
  """
  images = jnp.asarray(images)
  chex.assert_rank(images, 4)
  size = [_scaled(side, scale) for side in images.shape[1:3]]
  if antialias:
    shape = (images.shape[0], *size, images.shape[3])
    return jax.image.resize(
      images, shape, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST
    )
  for axis, target in zip((1, 2), size, strict=True):
    images = _interpolate(images, axis, target, np.float32(images.shape[axis] / target))
  return images


def rescale(images: ArrayLike, scale: float) -> jax.Array:
  """Resizes to the size times `scale`, rounded down; coordinates follow from `scale` itself.

  This equals `torch.nn.functional.interpolate` with a `scale_factor` that is not recomputed: where
  the size was rounded, the last pixels are left out, and the image is not squeezed.

  Args:
    images: `[B, height, width, channels]` float32.
    scale: above 0; a side becomes at least one pixel.
  """
  images = jnp.asarray(images)
  chex.assert_rank(images, 4)
  for axis in (1, 2):
    target = _scaled(images.shape[axis], scale)
    images = _interpolate(images, axis, target, np.float32(1.0 / scale))
  return images


def _scaled(side: int, scale: float) -> int:
  return max(1, int(side * scale))


def _interpolate(images: jax.Array, axis: int, target: int, step: np.float32) -> jax.Array:
  """Interpolates along one axis."""
  length = images.shape[axis]
  # PyTorch fuses the product and the sum in float32: only the result is rounded.
  positions = np.float64(step) * (np.arange(target) + 0.5) - 0.5
  positions = np.maximum(positions, 0.0).astype(np.float32)
  lower = np.minimum(positions.astype(np.int32), length - 1)
  upper = np.minimum(lower + 1, length - 1)
  shape = [1] * images.ndim
  shape[axis] = target
  fraction = jnp.asarray(np.minimum(positions - lower, np.float32(1)).reshape(shape), images.dtype)
  near, far = (jnp.take(images, index, axis=axis) for index in (lower, upper))
  return near * (1 - fraction) + far * fraction

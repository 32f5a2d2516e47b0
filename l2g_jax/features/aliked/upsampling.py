"""Bilinear upsampling in which corners of a map are corners of its image."""

import jax
import jax.numpy as jnp


def upsample(values: jax.Array, sizes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Upsamples maps to a shape; results beyond an image's own size have no meaning.

  Args:
    values: `[B, h, w, channels]`, of which an image has as large a part as `sizes` of `shape`.
    sizes: `[B, 2]`, height and width of each image after it.
    shape: height and width after it; multiples of h and w.

  Returns:
    `[B, height, width, channels]`.
  """
  for axis in (1, 2):
    length, target = values.shape[axis], shape[axis - 1]
    if target != length:
      interpolate = jax.vmap(_interpolate, in_axes=(0, 0, None, None, None))
      values = interpolate(values, sizes[:, axis - 1], axis - 1, target, target // length)
  return values


def source_positions(
  positions: jax.Array, sizes: jax.Array, factor: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the pixels before the upsampling between which pixels after it lie, along one axis.

  Args:
    positions: int32, of pixels after the upsampling.
    sizes: int32, number of pixels after it; shapes are broadcast.
    factor: of the upsampling.

  Returns:
    The lower and the upper pixel, and the fraction of the upper, float32.
  """
  last = sizes // factor - 1
  ratio = last.astype(jnp.float32) / jnp.maximum(sizes - 1, 1).astype(jnp.float32)
  sources = positions.astype(jnp.float32) * ratio
  lower = jnp.clip(sources.astype(jnp.int32), 0, jnp.maximum(last, 0))
  upper = jnp.clip(lower + 1, 0, jnp.maximum(last, 0))
  return lower, upper, sources - lower.astype(jnp.float32)


def _interpolate(
  values: jax.Array, size: jax.Array, axis: int, target: int, factor: int
) -> jax.Array:
  """Interpolates one map along one axis."""
  lower, upper, fraction = source_positions(jnp.arange(target), size, factor)
  shape = [1] * values.ndim
  shape[axis] = target
  fraction = fraction.reshape(shape)
  near, far = (jnp.take(values, index, axis=axis) for index in (lower, upper))
  return near * (1 - fraction) + far * fraction

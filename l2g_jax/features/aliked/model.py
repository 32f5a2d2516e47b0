"""ALIKED: key points, and descriptors that look around each where the image tells them to."""

import functools
from collections.abc import Mapping
from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

from l2g_jax.features.aliked import padding
from l2g_jax.features.aliked.config import AlikedConfig
from l2g_jax.features.aliked.description import describe
from l2g_jax.features.aliked.detection import RADIUS, detect
from l2g_jax.features.aliked.network import compute_maps
from l2g_jax.features.aliked.parameters import Parameters, parameter_shapes


@flax.struct.dataclass
class AlikedFeatures:
  """Features of images in one padded shape, strongest first.

  Attributes:
    descriptors: `[B, k, dimension]` float32 of unit norm; zero where not valid.
    positions: `[B, k, 2]` float32, x and y in pixels of the image; whole numbers are centres.
    strengths: `[B, k]` float32 in [0, 1], the score of the pixel, descending; ties go to the upper,
      then to the left pixel.
    offsets: `[B, k, M, 2]` float32, x and y from a key point to where its descriptor looks.
    valid: `[B, k]`; False pads where an image has fewer key points.
    scores: `[B, height, width]` float32, of every pixel of the padded shape.
  """

  descriptors: jax.Array
  positions: jax.Array
  strengths: jax.Array
  offsets: jax.Array
  valid: jax.Array
  scores: jax.Array


class Aliked(nn.Module):
  """The whole network; `apply` compiles it."""

  config: AlikedConfig

  @nn.compact
  def __call__(self, images: jax.Array, sizes: jax.Array) -> AlikedFeatures:
    """Returns the features of images; for the arguments see `apply`."""
    config = self.config
    params = Parameters(parameter_shapes(config.sizes), name="layers")()
    true_sizes, origins = padding.true_sizes(sizes), padding.origins(sizes)
    maps = compute_maps(params, images, true_sizes, jnp.dtype(config.dtype))
    inside, inner = (
      padding.inside(maps.scores.shape, origins + margin, origins + sizes - margin)
      for margin in (0, RADIUS)
    )
    find = jax.vmap(functools.partial(detect, k=config.max_descriptors))
    keypoints = find(maps.scores, inside, inner)
    positions = keypoints.positions - origins[:, None].astype(jnp.float32)
    descriptors, offsets = jax.vmap(functools.partial(describe, params))(
      maps, positions, sizes, true_sizes, origins
    )
    return AlikedFeatures(
      descriptors=jnp.where(keypoints.valid[..., None], descriptors, 0.0),
      positions=positions[..., ::-1],
      strengths=keypoints.strengths,
      offsets=offsets[..., ::-1],
      valid=keypoints.valid,
      scores=maps.scores,
    )


@functools.partial(jax.jit, static_argnames="config")
def apply(
  params: Mapping[str, Any], images: ArrayLike, sizes: ArrayLike, config: AlikedConfig
) -> AlikedFeatures:
  """Extracts the features of images in one padded shape.

  Args:
    params: parameters of `Aliked`, as `weights.load_weights` reads them.
    images: `[B, height, width, 3]` uint8, as `prepare.pad` makes them; sides are multiples of 32.
    sizes: `[B, 2]` int32, height and width of each image before it was padded.
    config: the settings, static; the function is compiled for each config and shape.
  """
  images, sizes = jnp.asarray(images), jnp.asarray(sizes)
  chex.assert_shape(images, (None, None, None, 3))
  chex.assert_shape(sizes, (len(images), 2))
  return Aliked(config).apply({"params": params}, images, sizes)  # pyright: ignore[reportReturnType]

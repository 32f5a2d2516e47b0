"""SuperGlobal: one global feature per image, from the ResNet of CVNet with other poolings.

Source: Shao et al., "Global Features are All You Need for Image Retrieval and Reranking", ICCV
2023. The poolings need no training: the weights are those of CVNet (Lee et al., CVPR 2022).
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.features import interpolation
from l2g_jax.features.protocol import Dtype
from l2g_jax.features.resnet import ResNet, Stage

Depth = Literal[50, 101]
NumScales = Literal[1, 3, 5]

DIMENSION = 2048
BLOCKS: Mapping[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SCALES: Mapping[int, tuple[float, ...]] = {
  1: (1.0,),
  3: (0.7071, 1.0, 1.4142),
  5: (0.5, 0.7071, 1.0, 1.4142, 2.0),
}

# Values of the published code.
_RELUP_FLOOR = 0.014
_REGIONAL_POWER = 2.5
_REGIONAL_WINDOW = 5
_GENERALIZED_POWER = 4.6


@dataclasses.dataclass(frozen=True)
class SuperGlobalConfig:
  """Settings that the reference has as flags; the defaults are those of its published results.

  Attributes:
    depth: depth of the ResNet, 50 or 101.
    num_scales: number of sizes in which the image is described: 1, 3 or 5.
    antialias: whether smaller sizes are antialiased, as by torchvision since 0.17; the published
      results are older.
    relup: whether blocks end in ReLUP. Inside its blocks, stage 1 has ReLUP either way, as in the
      reference.
    regional: whether regional GeM precedes the pooling.
    generalized: whether GeM has the power 4.6 instead of the power in the weights.
    scale_gem: whether sizes are pooled by their maximum instead of their mean.
    dtype: type of the convolutions, `float32` or `bfloat16`.
  """

  depth: Depth = 101
  num_scales: NumScales = 3
  antialias: bool = False
  relup: bool = True
  regional: bool = True
  generalized: bool = True
  scale_gem: bool = True
  dtype: Dtype = "float32"

  def __post_init__(self):
    for name, options in (("depth", Depth), ("num_scales", NumScales), ("dtype", Dtype)):
      value = settings.choice(name, getattr(self, name), get_args(options))
      object.__setattr__(self, name, value)


class SuperGlobal(nn.Module):
  """The network at one size of the image; `apply` runs it at all sizes."""

  config: SuperGlobalConfig

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Returns `[B, 2048]`, not normalised, of `[B, height, width, 3]`."""
    config = self.config
    outer = (_RELUP_FLOOR if config.relup else 0.0,) * 3 + (0.0,)
    inner = (_RELUP_FLOOR, 0.0, 0.0, 0.0)
    stages = tuple(map(Stage, BLOCKS[config.depth], inner, outer))
    values = ResNet(stages, jnp.dtype(config.dtype), name="trunk")(images)[-1]
    values = values.astype(jnp.float32)
    if config.regional:
      values = regional_gem(values)
    power = self.param("pool_power", nn.initializers.constant(3.0), (1,))
    if config.generalized:
      pooled = generalized_gem(values, power=_GENERALIZED_POWER, least=1e-8)
    else:
      pooled = generalized_gem(values, power=power[0], least=1e-6)
    return nn.Dense(DIMENSION, precision="highest", name="whiten")(normalize(pooled))


@functools.partial(jax.jit, static_argnames="config")
def apply(params: Mapping[str, Any], images: ArrayLike, config: SuperGlobalConfig) -> jax.Array:
  """Describes images of one size.

  Args:
    params: parameters of `SuperGlobal`, as `weights.load_weights` reads them.
    images: `[B, height, width, 3]`, as `preprocess.superglobal_input` makes them.
    config: the settings, static; the function is compiled for each config and shape.

  Returns:
    Features `[B, 2048]` float32 of unit norm.
  """
  images = jnp.asarray(images)
  chex.assert_shape(images, (None, None, None, 3))
  module = SuperGlobal(config)
  vectors = []
  for scale in SCALES[config.num_scales]:
    resized = images
    if scale != 1.0:
      resized = interpolation.resize(images, scale, antialias=config.antialias)
    if vectors:
      # This makes XLA describe one size after another. On a CPU it would do all at once, and need
      # 1.5 times the memory.
      resized += 0.0 * vectors[-1][:, :1, None, None]
    vectors.append(module.apply({"params": params}, resized))
  vectors = jnp.stack(vectors)
  pooled = scale_gem(vectors) if config.scale_gem else jnp.mean(vectors, axis=0)
  return normalize(pooled)


def regional_gem(values: ArrayLike) -> jax.Array:
  """Averages each value of a map with the power mean of the 5x5 window around it.

  A map with a side below 3 is reflected more than once; the reference has no result for it.

  Args:
    values: `[B, height, width, channels]`, at least 0.

  Returns:
    The same shape.
  """
  values = jnp.asarray(values)
  chex.assert_rank(values, 4)
  height, width = values.shape[1:3]
  margin = _REGIONAL_WINDOW // 2
  # The division precedes the power, so that large values do not overflow.
  unit = _REGIONAL_WINDOW ** (2.0 / _REGIONAL_POWER)
  powers = (values / unit) ** _REGIONAL_POWER
  powers = jnp.pad(powers, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
  rows = [powers[:, start : start + height] for start in range(_REGIONAL_WINDOW)]
  powers = functools.reduce(jnp.add, rows)
  columns = [powers[:, :, start : start + width] for start in range(_REGIONAL_WINDOW)]
  sums = functools.reduce(jnp.add, columns)
  return 0.5 * sums ** (1.0 / _REGIONAL_POWER) + 0.5 * values


def generalized_gem(values: ArrayLike, *, power: ArrayLike, least: float) -> jax.Array:
  """Pools a map by its power mean (Radenovic et al. 2019).

  Args:
    values: `[B, height, width, channels]`.
    power: 1 gives the mean, and infinity would give the maximum.
    least: lower bound to which smaller values are raised.

  Returns:
    `[B, channels]`.
  """
  values = jnp.asarray(values)
  chex.assert_rank(values, 4)
  return jnp.mean(jnp.maximum(values, least) ** power, axis=(1, 2)) ** (1.0 / power)


def scale_gem(vectors: ArrayLike, *, power: float = math.inf) -> jax.Array:
  """Pools the vectors of several sizes.

  Args:
    vectors: `[num_scales, B, D]`.
    power: infinity takes the maximum of the normalised vectors, as published. Another power takes
      the power mean of the vectors as they are, above the least value of all of them.

  Returns:
    `[B, D]`, not normalised.
  """
  vectors = jnp.asarray(vectors)
  chex.assert_rank(vectors, 3)
  if math.isinf(power):
    return jnp.max(normalize(vectors), axis=0)
  least = jnp.min(vectors)
  return jnp.mean((vectors - least) ** power, axis=0) ** (1.0 / power) + least


def normalize(vectors: jax.Array) -> jax.Array:
  """Divides vectors, the last axis, by their Euclidean norm; zero vectors stay zero."""
  norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norms, 1e-12)

"""FIRe: super-features, the parts of an image that a fixed set of templates attends to.

Source: Weinzaepfel et al., "Learning Super-Features for Image Retrieval", ICLR 2022. The published
weights are licensed CC BY-NC-SA 4.0: not for commercial use.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, get_args

import chex
import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.features import interpolation
from l2g_jax.features.protocol import Dtype
from l2g_jax.features.resnet import ResNet, Stage

# Sizes and scales of the published network.
BLOCKS = (3, 4, 6)
WIDTH = 1024
HIDDEN_WIDTH = 512
NUM_TEMPLATES = 256
DIMENSION = 128
SCALES = (2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25)

# Iterations of LIT in the published network.
_NUM_ITERATIONS = 6
# Of the layer norms, as in PyTorch; the default of Flax is 1e-6.
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class FireConfig:
  """Settings of FIRe; the defaults are those of the published results.

  Attributes:
    scales: factors, above 0, by which the image is resized before it is described.
    num_features: number of features that are kept, the strongest; all if there are fewer.
    dtype: type of the convolutions, `float32` or `bfloat16`.
  """

  scales: tuple[float, ...] = SCALES
  num_features: int = 1000
  dtype: Dtype = "float32"

  def __post_init__(self):
    checked = {
      "scales": tuple(settings.real("scales", scale, above=0.0) for scale in self.scales),
      "num_features": settings.integer("num_features", self.num_features, least=1),
      "dtype": settings.choice("dtype", self.dtype, get_args(Dtype)),
    }
    for name, value in checked.items():
      object.__setattr__(self, name, value)


@flax.struct.dataclass
class FireFeatures:
  """The strongest features of images of one size, strongest first.

  Attributes:
    descriptors: `[B, count, 128]` float32, not normalised.
    strengths: `[B, count]` float32, descending; ties go to the earlier scale, then template.
    templates: `[B, count]` int32, the template of each feature.
    scales: `[B, count]` float32, the factor of the size in which it was found.
  """

  descriptors: jax.Array
  strengths: jax.Array
  templates: jax.Array
  scales: jax.Array


class Fire(nn.Module):
  """The network at one size of the image; `apply` runs it at all sizes."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns descriptors `[B, 256, 128]` and strengths `[B, 256]` of `[B, height, width, 3]`."""
    stages = tuple(Stage(count) for count in BLOCKS)
    values = ResNet(stages, self.dtype, name="trunk")(images)[-1].astype(jnp.float32)
    tokens = values.reshape(values.shape[0], -1, values.shape[3])
    features, _ = LocalTemplates(name="lit")(tokens)
    strengths = jnp.sqrt(jnp.sum(features * features, axis=-1) + 1e-10)
    return nn.Dense(DIMENSION, precision="highest", name="reduction")(features), strengths


class LocalTemplates(nn.Module):
  """The local feature integration transformer (LIT): templates that an image refines.

  Attributes:
    num_iterations: number of iterations, at least 1; all share the same weights.
  """

  num_iterations: int = _NUM_ITERATIONS

  @nn.compact
  def __call__(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns refined templates `[B, 256, 1024]` and the last attention `[B, L, 256]`.

    Args:
      tokens: `[B, L, 1024]`, the positions of a feature map.
    """
    tokens = nn.LayerNorm(_EPSILON, name="norm_inputs")(tokens)
    keys, values = _linear("key")(tokens), _linear("value")(tokens)
    shape = (NUM_TEMPLATES, WIDTH)
    templates = self.param("templates", nn.initializers.normal(1.0), shape)
    templates = jnp.broadcast_to(templates, (len(tokens), *shape))
    attention = jnp.empty(0)
    refine = _Refinement(name="refinement")
    for _ in range(self.num_iterations):
      templates, attention = refine(templates, keys, values)
    return templates, attention


class _Refinement(nn.Module):
  """One iteration of LIT."""

  @nn.compact
  def __call__(
    self, templates: jax.Array, keys: jax.Array, values: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    queries = _linear("query")(nn.LayerNorm(_EPSILON, name="norm_templates")(templates))
    queries = queries * WIDTH**-0.5
    logits = jnp.einsum("blc,bnc->bln", keys, queries, precision="highest")
    # Templates compete for a position; then each spreads over the positions it won.
    attention = nn.softmax(logits, axis=2) + 1e-8
    attention = attention / jnp.sum(attention, axis=1, keepdims=True)
    templates += jnp.einsum("bln,blc->bnc", attention, values, precision="highest")
    hidden = nn.LayerNorm(_EPSILON, name="norm_mlp")(templates)
    hidden = nn.relu(nn.Dense(HIDDEN_WIDTH, precision="highest", name="hidden")(hidden))
    templates += nn.Dense(WIDTH, precision="highest", name="output")(hidden)
    return templates, attention


@functools.partial(jax.jit, static_argnames="config")
def apply(params: Mapping[str, Any], images: ArrayLike, config: FireConfig) -> FireFeatures:
  """Extracts the strongest features over all scales, from images of one size.

  Args:
    params: parameters of `Fire`, as `weights.load_weights` reads them.
    images: `[B, height, width, 3]`, as `preprocess.fire_input` makes them.
    config: the settings, static; the function is compiled for each config and shape.

  Returns:
    The features; `count` is the smaller of `num_features` and 256 times the number of scales.
  """
  images = jnp.asarray(images)
  chex.assert_shape(images, (None, None, None, 3))
  module = Fire(jnp.dtype(config.dtype))
  parts = []
  for scale in config.scales:
    resized = interpolation.rescale(images, scale)
    if parts:
      # This makes XLA describe one size after another. On a CPU it would do all at once, and need
      # 2.8 instead of 1.9 GiB.
      resized += 0.0 * parts[-1][1][:, :1, None, None]
    parts.append(module.apply({"params": params}, resized))
  descriptors, strengths = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
  strengths, best = jax.lax.top_k(strengths, min(config.num_features, strengths.shape[1]))
  return FireFeatures(
    descriptors=jnp.take_along_axis(descriptors, best[:, :, None], axis=1),
    strengths=strengths,
    templates=best % NUM_TEMPLATES,
    scales=jnp.asarray(config.scales, jnp.float32)[best // NUM_TEMPLATES],
  )


def _linear(name: str) -> nn.Dense:
  return nn.Dense(WIDTH, use_bias=False, precision="highest", name=name)

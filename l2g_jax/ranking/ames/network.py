"""The network of AMES: a transformer that compares the local descriptors of a query and an image.

A token of its own reads from both sets. Nothing tells the network where a descriptor lies, so the
order of descriptors does not matter.

Source: Suma et al., "AMES: Asymmetric and Memory-Efficient Similarity Estimation for Instance-level
Retrieval", ECCV 2024.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2g_jax.ranking.ames.config import AmesConfig

# Of the layer norms, as in PyTorch; the default of Flax is 1e-6.
_EPSILON = 1e-5
# Squares of norms below it count as this; zero vectors stay zero and have a gradient.
_LEAST_SQUARE = 1e-24
# The parts of a sequence: the token of the network, the query, the image. An attention lists for
# each part those that it reads from: its own set, or the other one.
_OWN = ((0, 1, 2), (0, 1), (0, 2))
_OTHER = ((0, 1, 2), (0, 2), (0, 1))

# The parts `[B or 1, n, model_dim]`; a batch of 1 stands for equal rows, computed once.
Parts = Sequence[jax.Array]


class Ames(nn.Module):
  """The network, for B pairs of a query and an image."""

  config: AmesConfig

  @nn.compact
  def __call__(
    self,
    query: jax.Array,
    images: jax.Array,
    query_mask: jax.Array,
    image_mask: jax.Array,
    *,
    rounds_images: bool = True,
  ) -> jax.Array:
    """Returns the logits `[B]` of the pairs.

    Binary descriptors have no gradient: in training, the projection before them stays as it is.

    Args:
      query: `[1, q, local_dim]` float32, one query for all images, or `[B, q, local_dim]`.
      images: `[B, t, local_dim]` float32.
      query_mask: `[1, q]` or `[B, q]` bool, False = padding.
      image_mask: `[B, t]` bool, False = padding.
      rounds_images: whether the remapped descriptors of images are rounded to float16, as the
        published networks do outside training. Of no effect if binarized.
    """
    remap = _Remap(self.config, name="remap")
    query, images = remap(query), remap(images)
    if rounds_images and not self.config.binarized:
      # Without the barrier XLA may drop both conversions.
      images = jax.lax.optimization_barrier(images.astype(jnp.float16)).astype(images.dtype)
    token = self.param("token", nn.initializers.normal(1.0), (self.config.model_dim,))
    parts: Parts = (token[None, None, :], query, images)
    masks = (jnp.ones((1, 1), bool), query_mask, image_mask)
    for number in range(self.config.num_layers):
      is_last = number == self.config.num_layers - 1
      parts = _Layer(self.config, name=f"layer{number}")(parts, masks, is_last)
    return nn.Dense(1, precision="highest", name="classifier")(parts[0])[:, 0, 0]


class _Remap(nn.Module):
  """Makes tokens of local descriptors; both sides share it."""

  config: AmesConfig

  @nn.compact
  def __call__(self, descriptors: jax.Array) -> jax.Array:
    width = self.config.model_dim
    values = _normalize(descriptors)
    if self.config.binarized:
      # A second time, as published; signs differ at most where they are a matter of rounding.
      values = _normalize(values)
      project = nn.Dense(width, use_bias=False, precision="highest", name="projection")
      values = jnp.sign(project(values))
    return _layer_norm("norm")(nn.Dense(width, precision="highest", name="linear")(values))


class _Layer(nn.Module):
  """Attention within the sets, then between them, then two dense layers; norms come after."""

  config: AmesConfig

  @nn.compact
  def __call__(self, parts: Parts, masks: Sequence[jax.Array], is_last: bool) -> Parts:
    """Returns the parts; of the last layer the token alone, since none of the others is read."""
    width, heads = self.config.model_dim, self.config.num_heads
    own = _Attention(width, heads, name="own")(parts, masks, _OWN)
    norm = _layer_norm("norm_own")
    parts = [norm(part + added) for part, added in zip(parts, own, strict=True)]
    reads = _OTHER[:1] if is_last else _OTHER
    other = _Attention(width, heads, name="other")(parts, masks, reads)
    norm = _layer_norm("norm_other")
    parts = [norm(part + added) for part, added in zip(parts, other, strict=False)]
    hidden = nn.Dense(self.config.hidden_dim, precision="highest", name="hidden")
    output = nn.Dense(width, precision="highest", name="output")
    norm = _layer_norm("norm_output")
    return [norm(part + output(nn.relu(hidden(part)))) for part in parts]


class _Attention(nn.Module):
  """Attention of several heads, from parts of a sequence to parts of it."""

  width: int
  num_heads: int

  @nn.compact
  def __call__(
    self, parts: Parts, masks: Sequence[jax.Array], reads: Sequence[Sequence[int]]
  ) -> Parts:
    """Returns what each of the first parts reads.

    Args:
      parts: all parts.
      masks: of the parts, `[B or 1, n]`; padding is not read.
      reads: for the first parts, the numbers of the parts that each reads from.
    """
    query, key, value, output = (
      nn.Dense(self.width, precision="highest", name=name)
      for name in ("query", "key", "value", "output")
    )
    keys, values = ([self._split(layer(part)) for part in parts] for layer in (key, value))
    scale = (self.width // self.num_heads) ** -0.5
    results = []
    for part, numbers in zip(parts, reads, strict=False):
      # The token is never padding, so that no row is without keys.
      mask = _join([masks[number] for number in numbers], axis=1)[:, None, None, :]
      joined = _join([keys[number] for number in numbers], axis=2)
      logits = scale * jnp.matmul(
        self._split(query(part)), joined.swapaxes(2, 3), precision="highest"
      )
      attention = nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
      joined = _join([values[number] for number in numbers], axis=2)
      read = jnp.matmul(attention, joined, precision="highest").swapaxes(1, 2)
      results.append(output(read.reshape(*read.shape[:2], self.width)))
    return results

  def _split(self, values: jax.Array) -> jax.Array:
    """Splits `[B, n, width]` into heads `[B, num_heads, n, .]`."""
    return values.reshape(*values.shape[:2], self.num_heads, -1).swapaxes(1, 2)


def _join(parts: Parts, axis: int) -> jax.Array:
  """Joins parts along an axis; those with a batch of 1 are repeated for the others."""
  size = max(len(part) for part in parts)
  return jnp.concatenate(
    [jnp.broadcast_to(part, (size, *part.shape[1:])) for part in parts], axis=axis
  )


def _normalize(descriptors: jax.Array) -> jax.Array:
  squares = jnp.sum(descriptors * descriptors, axis=-1, keepdims=True)
  return descriptors / jnp.sqrt(jnp.maximum(squares, _LEAST_SQUARE))


def _layer_norm(name: str) -> nn.LayerNorm:
  # The fast variance loses digits where a mean is large.
  return nn.LayerNorm(_EPSILON, use_fast_variance=False, name=name)

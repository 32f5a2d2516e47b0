"""How certain a local match is, judged by the background that the same search shows."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings

# The method's default suits a selective kernel, as power(alpha=7).
CERTAINTY_RATIO = 10.0


def match_certainty(similarities: ArrayLike, *, ratio: ArrayLike) -> jax.Array:
  """Returns how far similarities stand above the background of their own list.

  The worse half of the images that a search reached is taken for background, b its mean. Then
  c = max(0, 1 - ratio * b / s): 0 up to `ratio` times the background, towards 1 far above it.
  A selective kernel puts unrelated images within a few times the background of each other and true
  matches tens or hundreds of times above it.

  Args:
    similarities: `[k]` of a query to its candidates, descending, at least 0; 0 = not reached.
    ratio: the multiple of the background up to which a match is not certain, above 0; infinite
      makes none certain. May be traced.

  Returns:
    `[k]` in [0, 1), in the same order.

  Raises:
    SettingError: the ratio is not above 0.
  """
  values = jnp.asarray(similarities)
  ratio = settings.real("ratio", ratio, above=0.0, infinite=True)
  ratio = jnp.asarray(ratio, values.dtype)
  reached = values > 0.0
  count = jnp.sum(reached)
  worse = reached & (jnp.arange(len(values)) >= count // 2)
  size = jnp.maximum(jnp.sum(worse, dtype=values.dtype), 1.0)
  background = jnp.sum(jnp.where(worse, values, 0.0)) / size
  # A background of nothing, infinitely many times, is still infinite.
  certain_from = jnp.where(jnp.isinf(ratio), ratio, ratio * background)
  above = 1.0 - certain_from / jnp.where(reached, values, 1.0)
  return jnp.where(reached, jnp.maximum(above, 0.0), 0.0)

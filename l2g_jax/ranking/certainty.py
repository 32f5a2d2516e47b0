"""Certainty of local matches, judged by the background of the same search; a measure of our own."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings

# The default of the method, for a selective kernel such as power(alpha=7).
CERTAINTY_RATIO = 10.0


def match_certainty(
  similarities: ArrayLike, *, ratio: ArrayLike, background_size: int | None = None
) -> jax.Array:
  """Returns the certainty of every match in a list, from the background of that list.

  The worse half of the images that a search reached serves as background; b is its mean
  similarity. Then c = max(0, 1 - ratio * b / s), which is 0 up to `ratio` times the background and
  approaches 1 far above it. Under a selective kernel, unrelated images have similarities within a
  few times the background, and true matches are tens or hundreds of times above it.

  Args:
    similarities: `[k]` of a query to its candidates, descending, at least 0; 0 = not reached.
    ratio: the multiple of the background up to which the certainty is 0, above 0; if infinite, it
      is 0 for all. May be traced.
    background_size: how many matches, the first, the background is taken from, at least 0; None =
      all. The others are judged by it too.

  Returns:
    `[k]` in [0, 1), in the same order.

  Raises:
    SettingError: the ratio is not above 0, or the size is below 0.
  """
  values = jnp.asarray(similarities)
  ratio = settings.real("ratio", ratio, above=0.0, infinite=True)
  ratio = jnp.asarray(ratio, values.dtype)
  head = values
  if background_size is not None:
    head = values[: settings.integer("background_size", background_size, least=0)]
  count = jnp.sum(head > 0.0)
  worse = (head > 0.0) & (jnp.arange(len(head)) >= count // 2)
  size = jnp.maximum(jnp.sum(worse, dtype=values.dtype), 1.0)
  background = jnp.sum(jnp.where(worse, head, 0.0)) / size
  # Infinity times a background of 0 would be NaN.
  certain_from = jnp.where(jnp.isinf(ratio), ratio, ratio * background)
  reached = values > 0.0
  above = 1.0 - certain_from / jnp.where(reached, values, 1.0)
  return jnp.where(reached, jnp.maximum(above, 0.0), 0.0)

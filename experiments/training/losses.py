"""Losses of pairs and of lists."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

# Of the cosines in the contrastive term, as usual for such terms.
TEMPERATURE = 0.1


def pair_loss(logits: jax.Array, labels: ArrayLike) -> jax.Array:
  """Returns the mean binary cross-entropy of pairs, a scalar.

  Args:
    logits: `[P]`.
    labels: `[P]` bool, whether the two images show the same.
  """
  wanted = jnp.asarray(labels, logits.dtype)
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, wanted))


def list_loss(
  logits: jax.Array, states: jax.Array, labels: ArrayLike, *, contrastive: float
) -> jax.Array:
  """Returns the loss of lists: binary cross-entropy, and a contrastive term of the states.

  The images of a list that are positive count as much as all that are negative. The contrastive
  term asks that the states of positives point to that of the query, which is point 0:
  -log(sum of exp(c / T) over positives / the same over all), c the cosine, T = 0.1.

  Args:
    logits: `[B, n]`.
    states: `[B, n, d]`.
    labels: `[B, n]` integer: 1 positive, 0 negative, -1 not used; the query's is not used.
    contrastive: weight of the contrastive term, at least 0.

  Returns:
    The mean over lists, a scalar; a list without a positive or without a negative counts 0.

  Source: the contrastive term is that of Ouyang et al., NeurIPS 2021, as we read it.
  """
  labels = jnp.asarray(labels).at[:, 0].set(-1)
  positive, negative = labels == 1, labels == 0
  counted = jnp.any(positive, axis=1) & jnp.any(negative, axis=1)
  losses = optax.sigmoid_binary_cross_entropy(logits, positive.astype(logits.dtype))
  entropy = 0.5 * (_mean(losses, positive) + _mean(losses, negative))
  norms = jnp.sqrt(jnp.sum(states * states, axis=-1, keepdims=True) + 1e-12)
  unit = states / norms
  cosines = jnp.sum(unit * unit[:, :1], axis=-1) / TEMPERATURE
  # A list that does not count has no sums of its own; any finite ones keep its gradient 0.
  spare = ~counted[:, None]
  matched = jax.nn.logsumexp(cosines, axis=1, where=positive | spare)
  apart = jax.nn.logsumexp(cosines, axis=1, where=positive | negative | spare) - matched
  total = jnp.sum(jnp.where(counted, entropy + contrastive * apart, 0.0))
  return total / jnp.maximum(jnp.sum(counted), 1).astype(logits.dtype)


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the means `[B]` of the values `[B, n]` under a mask; 0 where it has none."""
  counts = jnp.maximum(jnp.sum(mask, axis=1), 1).astype(values.dtype)
  return jnp.sum(jnp.where(mask, values, 0.0), axis=1) / counts

"""Exact Chamfer similarity of sets of local descriptors, on the device (arXiv 2509.04351)."""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.similarity import kernels


def chamfer_similarity(
  query: ArrayLike,
  database: ArrayLike,
  *,
  query_mask: ArrayLike | None = None,
  database_mask: ArrayLike | None = None,
  query_weights: ArrayLike | None = None,
  kernel: kernels.Kernel = kernels.Chamfer(),
  block_size: int = 64,
) -> jax.Array:
  """Returns the asymmetric similarity of one query to every image.

  s(Q -> X) = mean over q in Q of f(max over x in X of <q, x>), weighted where weights are given.
  The symmetric variant is the mean of both directions. An empty query or image has similarity 0.

  Args:
    query: `[q, d]` descriptors of unit norm.
    database: `[..., c, d]` descriptors of unit norm, any leading axes; each image is padded to c.
    query_mask: `[q]` bool, False = padding; None = all are valid.
    database_mask: `[..., c]` bool, False = padding; None = all are valid.
    query_weights: `[q]` at least 0, how much each descriptor of the query counts, as
      `bursts.weights` makes them; None = all the same.
    kernel: f, monotone, with values in [0, 1]. The default is the plain Chamfer kernel; the index
      and the scan default to a selective one, `CannConfig.kernel`.
    block_size: how many images have their cosines `[block_size, q, c]` in memory at a time, at
      least 1.

  Returns:
    `[...]` similarities in [0, 1].

  Source: arXiv 2509.04351. Since f is monotone, f of a maximum is the maximum of f.
  """
  block_size = settings.integer("block_size", block_size, least=1)
  query, database = jnp.asarray(query), jnp.asarray(database)
  chex.assert_rank(query, 2)
  chex.assert_equal_shape_suffix([query, database], 1)
  leading, (count, width) = database.shape[:-2], database.shape[-2:]
  query_mask = jnp.ones(len(query), bool) if query_mask is None else jnp.asarray(query_mask)
  if database_mask is None:
    database_mask = jnp.ones(database.shape[:-1], bool)
  chex.assert_shape(query_mask, query.shape[:-1])
  counts = jnp.asarray(query_mask, query.dtype)
  if query_weights is not None:
    counts *= jnp.asarray(query_weights).astype(query.dtype)
  chex.assert_shape(jnp.asarray(database_mask), database.shape[:-1])
  if 0 in (len(query), count, *leading):
    return jnp.zeros(leading, query.dtype)
  images = (database.reshape(-1, count, width), jnp.asarray(database_mask).reshape(-1, count))
  score = functools.partial(_score, query, counts, kernel)
  scores = jax.lax.map(score, images, batch_size=min(block_size, len(images[0])))
  return scores.reshape(leading)


def _score(query, counts, kernel, image) -> jax.Array:
  """Scores one image `[c, d]` with its mask `[c]`."""
  descriptors, mask = image
  cosines = jnp.matmul(query, descriptors.T, precision="highest")
  best = jnp.max(jnp.where(mask[None, :], cosines, -1.0), axis=1)
  # What pads a query may be anything, and counts nothing.
  worth = jnp.where((counts > 0.0) & jnp.any(mask), kernel(best), 0.0)
  total = jnp.sum(counts)
  return jnp.sum(counts * worth) / jnp.where(total > 0.0, total, 1.0)

"""Inputs of the network over lists: each image by its affinities to the images of the list."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures, unit_rows
from l2g_jax.ranking.graph import known_similarities


class ListInputs(NamedTuple):
  """Lists of B queries as the network reads them, n = length + 1; point 0 is the query.

  Attributes:
    values: `[B, n, length + 2]` float32: affinities to the images of the list, in their order; to
      the query; and the cosine of the global features to the query's.
    counts: `[B]` int32, how many points are valid, the first of n.
  """

  values: jax.Array
  counts: jax.Array


def list_inputs(
  candidates: Ranked, lists: Ranked, features: GlobalFeatures, *, length: int
) -> ListInputs:
  """Makes the inputs of some lists.

  Nothing is matched for them: affinities are those that the search and the stored lists know.

  Args:
    candidates: `[B, k]`, best first, no image twice; -1 pads at the end. Similarities are at least
      0, in the unit of the lists, such as contrasts.
    lists: `[N, L]`, the neighbours of every image, likewise.
    features: of the B queries and N images.
    length: how many of a list are used, at least 1; shorter ones are padded.

  Returns:
    The `ListInputs`. An image is as similar to itself as the most similar pair.
  """
  ids, similarities = (np.asarray(array)[:, :length] for array in candidates)
  missing = ((0, 0), (0, length - ids.shape[1]))
  ids = np.pad(ids.astype(np.int32), missing, constant_values=-1)
  similarities = np.pad(similarities.astype(np.float32), missing)
  images = np.where(ids >= 0, ids, 0)
  rows = unit_rows(features.database[images.ravel()]).reshape(*ids.shape, -1)
  cosines = np.einsum("bkd,bd->bk", rows, unit_rows(features.queries))
  near_ids, near_similarities = (np.asarray(array)[images] for array in lists)
  values = _make(
    ids,
    similarities,
    near_ids.astype(np.int32),
    near_similarities.astype(np.float32),
    cosines.astype(np.float32),
    num_images=len(lists.ids),
  )
  return ListInputs(values, jnp.asarray(1 + np.sum(ids >= 0, axis=1), jnp.int32))


@functools.partial(jax.jit, static_argnames="num_images")
def _make(ids, similarities, near_ids, near_similarities, cosines, *, num_images: int):
  def one(ids, similarities, near_ids, near_similarities, cosines):
    known = known_similarities(
      ids, similarities, near_ids, near_similarities, num_images=num_images
    )
    table = jnp.where(jnp.eye(len(known), dtype=bool), jnp.max(known), known)
    valid = jnp.append(True, ids >= 0)
    table = jnp.where(valid[:, None] & valid[None, :], table, 0.0)
    cosines = jnp.append(1.0, jnp.where(ids >= 0, cosines, 0.0))
    return jnp.concatenate([table[:, 1:], table[:, :1], cosines[:, None]], axis=1)

  return jax.vmap(one)(ids, similarities, near_ids, near_similarities, cosines)

"""The problem of one query: the dissimilarities that the method embeds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shortlists import Shortlists
from l2g_jax.embedding import dissimilarity
from l2g_jax.pipeline.config import Choices, L2GConfig, Numbers


def problem_of(
  given: Shortlists, query: int, config: L2GConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the problem of a query and its k embedded candidates, as `L2G` makes it.

  Args:
    given: candidates and lists.
    query: its number.
    config: settings of the method.

  Returns:
    The ids `[k]` of the candidates, -1 pads; dissimilarities and weights `[k + 1, k + 1]`, of which
    point 0 is the query.
  """
  choices = config.choices(given.candidates.ids.shape[1])
  ids = np.asarray(given.candidates.ids[query, : choices.num_embedded], np.int32)
  similarities = given.candidates.similarities[query, : choices.num_embedded]
  values, weights = _make(
    config.numbers(),
    ids,
    np.asarray(similarities, np.float32),
    np.where(ids[:, None] >= 0, given.lists.ids[ids], -1).astype(np.int32),
    np.asarray(given.lists.similarities[ids], np.float32),
    num_images=len(given.lists.ids),
    choices=choices,
  )
  return ids, np.asarray(values), np.asarray(weights)


@functools.partial(jax.jit, static_argnames=("num_images", "choices"))
def _make(
  numbers: Numbers,
  ids: jax.Array,
  similarities: jax.Array,
  near: jax.Array,
  near_similarities: jax.Array,
  *,
  num_images: int,
  choices: Choices,
) -> tuple[jax.Array, jax.Array]:
  pairs = dissimilarity.known_pairs(
    ids,
    similarities,
    jnp.asarray(near),
    near_similarities,
    num_images=num_images,
    num_known=numbers.num_known,
    num_query_known=numbers.num_query_known,
    query_pairs=choices.query_pairs,
    measure=choices.measure,
  )
  return dissimilarity.dissimilarities(pairs, power=numbers.power, completion=choices.completion)

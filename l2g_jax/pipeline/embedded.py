"""A shortlist embedded from the similarities that are known of it; part of compiled programs."""

import jax

from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.embedding.dissimilarity import KnownPairs
from l2g_jax.embedding.mds import SmacofResult
from l2g_jax.pipeline.config import Choices, Numbers


def embed_shortlist(
  numbers: Numbers,
  ids: jax.Array,
  similarities: jax.Array,
  near: tuple[jax.Array, jax.Array],
  *,
  num_dimensions: int,
  id_bound: int,
  choices: Choices,
) -> tuple[KnownPairs, SmacofResult]:
  """Embeds a query and its candidates by SMACOF.

  Args:
    numbers: settings of the method.
    ids: `[k]` of the candidates; -1 pads.
    similarities: `[k]` of the query to them.
    near: ids and similarities `[k, L]` of the candidates' neighbours; -1 pads.
    num_dimensions: m.
    id_bound: above every id.
    choices: settings that shape the program.

  Returns:
    The known pairs, and the embedding of `[k + 1, m]` points, the query first.
  """
  pairs = dissimilarity.known_pairs(
    ids,
    similarities,
    *near,
    num_images=id_bound,
    num_known=numbers.num_known,
    num_query_known=numbers.num_query_known,
    query_pairs=choices.query_pairs,
    measure=choices.measure,
  )
  values, weights = dissimilarity.dissimilarities(
    pairs, power=numbers.power, completion=choices.completion
  )
  embedded = mds.smacof(
    values,
    weights=weights,
    num_dimensions=num_dimensions,
    max_iterations=numbers.max_iterations,
    rtol=numbers.rtol,
    method=choices.method,
    seed=numbers.seed,
  )
  return pairs, embedded

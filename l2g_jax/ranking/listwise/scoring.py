"""Re-ranking of searches by the network over lists."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.blocks import blocks
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.graph import check_graph
from l2g_jax.ranking.listwise.config import ListwiseConfig
from l2g_jax.ranking.listwise.inputs import ListInputs, list_inputs
from l2g_jax.ranking.listwise.network import BiLstm

# Lists that pass the network together.
_LISTS_AT_A_TIME = 16


def rank_by_network(
  params: Mapping[str, Any],
  candidates: Ranked,
  lists: Ranked,
  features: GlobalFeatures,
  *,
  config: ListwiseConfig,
) -> np.ndarray:
  """Re-ranks the heads of searches by the logits of the network.

  Args:
    params: of `BiLstm`.
    candidates: `[Q, k]`, see `list_inputs`.
    lists: `[N, L]`.
    features: of Q queries and N images.
    config: of the network.

  Returns:
    Rankings `[Q, N]` int32, permutations: the first `length` candidates by logit, ties in the order
    of the search; then the others in that order; then the rest by id.

  Raises:
    InputError: see `check_graph`.
  """
  check_graph(candidates, lists)
  num_queries, k = candidates.ids.shape
  head = min(k, config.length)
  order = np.tile(np.arange(k), (num_queries, 1))
  for rows, padded in blocks(num_queries, _LISTS_AT_A_TIME):
    found = Ranked(candidates.ids[padded], candidates.similarities[padded])
    given = GlobalFeatures(features.queries[padded], features.database)
    inputs = list_inputs(found, lists, given, length=config.length)
    logits = np.asarray(score_lists(params, inputs, config))[:, 1 : 1 + head]
    logits = np.where(found.ids[:, :head] >= 0, logits, -np.inf)
    order[rows, :head] = np.argsort(-logits, axis=1, kind="stable")[: len(rows)]
  return complete_rankings(candidates.ids, order, len(lists.ids))


@functools.partial(jax.jit, static_argnames="config")
def score_lists(params: Mapping[str, Any], inputs: ListInputs, config: ListwiseConfig) -> Any:
  """Returns the logits `[B, n]` of the points of some lists; those of padding mean nothing."""
  return BiLstm(config).apply({"params": params}, inputs.values, inputs.counts)[0]

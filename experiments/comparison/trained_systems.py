"""The systems whose networks are trained here: a learned similarity, and a BiLSTM over lists."""

import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.comparison import local_systems
from experiments.comparison.contrasts import contrasts_of
from experiments.comparison.system import QUERIES, Outcome, System
from experiments.material import Material
from l2g_jax.errors import damage_refused
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.ames import rerank_by_ames
from l2g_jax.ranking.listwise import ListwiseConfig, rank_by_network
from l2g_jax.retriever import pair_similarity
from l2g_jax.retriever.pair_similarity import PairSimilarity
from l2g_jax.retriever.similarities import learned_similarity
from l2g_jax.retriever.trained import COMMANDS, Model, load_trained
from l2g_jax.runtime.stopwatch import Stopwatch

_LEARNED, _BLENDED = "learned", "chamfer+learned"


def by_learned(weights: pathlib.Path | None) -> Sequence[System]:
  """Re-ranks the best candidates by a learned similarity, alone and with Chamfer's; and in L2G.

  With Chamfer's, the score is lambda c + (1 - lambda) sigmoid(gamma l): c the similarity of the
  search in units of the query's best, l the logit, lambda and gamma as the training chose them on
  lists that it kept apart.

  Args:
    weights: of the similarity; None = there are none.
  """
  if weights is None:
    return [_missing(name, "learned") for name in (_LEARNED, _BLENDED, "l2g by learned")]
  similarity = learned_similarity(weights)
  with damage_refused(f"{weights} does not say how it goes with Chamfer; train it again."):
    rule = {
      name: float(load_trained(weights, "learned").sizes["ensemble"][name])
      for name in ("weight", "temperature")
    }
  return [
    _alone(similarity),
    _blended(similarity, **rule),
    local_systems.l2g_by(similarity),
  ]


def _alone(similarity: PairSimilarity) -> System:
  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      found = pair_similarity.compare_candidates(
        similarity, given.found, given.described_queries, given.images
      )
    return Outcome(given.complete(found.ids), given.index_bytes + given.feature_bytes)

  settings = {**similarity.settings, "depth": similarity.depth}
  return System(_LEARNED, "local search", run, settings)


def _blended(similarity: PairSimilarity, *, weight: float, temperature: float) -> System:
  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      heads = given.found.ids[:, : similarity.depth]
      logits = np.zeros(heads.shape, np.float32)
      for row, ids in enumerate(heads):
        images = [given.images[number] for number in ids[ids >= 0]]
        if images:
          logits[row, ids >= 0] = similarity.compare(given.described_queries[row], images)
      best = np.maximum(given.found.similarities[:, :1], np.finfo(np.float32).tiny)
      units = Ranked(given.found.ids, given.found.similarities / best)
      order = rerank_by_ames(units, logits, weight=weight, temperature=temperature)
    return Outcome(given.complete(order), given.index_bytes + given.feature_bytes)

  settings = {**similarity.settings, "depth": similarity.depth}
  settings |= {"weight": weight, "temperature": temperature}
  return System(_BLENDED, "local search", run, settings)


def by_lists(weights: pathlib.Path | None) -> System:
  """Re-ranks the head of the search by a BiLSTM over the whole list; see `ranking.listwise`.

  Args:
    weights: of the network; None = there are none.
  """
  if weights is None:
    return _missing("bilstm", "bilstm")
  trained = load_trained(weights, "bilstm")
  with damage_refused(f"{weights} holds a network of unknown sizes; train it again."):
    config = ListwiseConfig(**trained.sizes["config"])

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      found, lists = contrasts_of(given.found, given.lists)
      rankings = rank_by_network(trained.params, found, lists, given.features, config=config)
    num_bytes = given.index_bytes + given.list_bytes + given.global_bytes
    return Outcome(rankings, num_bytes)

  return System("bilstm", "local search", run, {"weights": trained.checksum})


def _missing(name: str, model: Model) -> System:
  """Returns a row that says which command makes what it lacks."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    raise AssertionError(f"The row {name} has no weights.")

  return System(name, "local search", run, missing=f"`{COMMANDS[model]}` makes its weights.")

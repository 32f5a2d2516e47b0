"""Settings of the method."""

import dataclasses

from l2g_jax import dissimilarity, mds
from l2g_jax.errors import InputError
from l2g_jax.fusion import Fusion


@dataclasses.dataclass(frozen=True)
class L2GConfig:
  """Settings of the method; static under `jit`, but for the weight.

  Attributes:
    num_known: t, the neighbours of each point of a shortlist whose similarity is taken as known.
    query_pairs: whether the query's pairs are known for its `own` t nearest or for `all`.
    power: p of D = 1 - s^p.
    completion: what stands for unknown pairs: `one`, `mean` or `masked`.
    num_dimensions: m, of the embedding.
    method: SMACOF's, see `mds.smacof`.
    max_iterations: SMACOF's; few problems need as many.
    rtol: SMACOF's; at the default the order is as good as that of the plain method at convergence.
    fusion: `concat` or `sum`.
    num_reranked: M, the head of the shortlist that is re-ranked, at least 1; None = all of it.
    num_neighbors: K of the re-ranking.
    beta: of the re-ranking.
    certainty_ratio: multiple of the background above which a match of the search counts as certain;
      its certainty, in [0, 1), is added to its score. Infinite for the paper's plain order. The
      default suits a selective kernel, as power(alpha=7); a flat one never reaches it.
    seed: of the embedding's start.
  """

  num_known: int = 15
  query_pairs: dissimilarity.QueryPairs = "own"
  power: float = 0.3
  completion: dissimilarity.Completion = "one"
  num_dimensions: int = 128
  method: mds.Method = "quasi_newton"
  max_iterations: int = 200
  rtol: float = 1e-4
  fusion: Fusion = "concat"
  num_reranked: int | None = None
  num_neighbors: int = 5
  beta: float = 0.5
  certainty_ratio: float = 10.0
  seed: int = 0

  def __post_init__(self):
    if self.num_reranked is not None and self.num_reranked < 1:
      raise InputError(f"num_reranked must be at least 1, or None, not {self.num_reranked}.")

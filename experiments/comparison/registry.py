"""All systems of the table, each with the settings that development data chose for it."""

import pathlib
from collections.abc import Mapping, Sequence

from experiments.comparison import baselines, local_systems, trained_systems
from experiments.comparison.system import System
from l2g_jax.ranking.asmk import AsmkConfig
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.similarities import spatial_similarity
from l2g_jax.retriever.trained import Model

# The best of `benchmarks.baselines`, as all settings below.
_GLOBAL_DIFFUSION = {"num_neighbors": 10, "num_query_neighbors": 5, "gamma": 3.0, "alpha": 0.8}
_LOCAL_DIFFUSION = {"num_neighbors": 50, "num_query_neighbors": 5, "gamma": 1.0, "alpha": 0.9}
# Learned in minutes on two cores; more are better for larger collections.
_NUM_WORDS = 4096


def make_systems(weights: Mapping[Model, pathlib.Path] | None = None) -> Sequence[System]:
  """Returns the rows of the table, in order.

  Args:
    weights: files of trained weights, by model; None = none. The rows of those that are not there
      can't run, and say so.
  """
  weights = weights or {}
  verification = spatial_similarity()
  binary = AsmkSearch(num_words=_NUM_WORDS)
  full = AsmkSearch(AsmkConfig(binary=False), num_words=_NUM_WORDS)
  return (
    baselines.by_global(),
    baselines.global_rerank(num_neighbors=5, beta=0.5),
    baselines.expanded("global", augmented=False, num_neighbors=3, alpha=1.0),
    baselines.expanded("global", augmented=True, num_neighbors=1, alpha=1.0),
    baselines.diffused("global", **_GLOBAL_DIFFUSION),
    baselines.diffused_offline("global", **_GLOBAL_DIFFUSION),
    baselines.reciprocated("global", k1=10, k2=3, weight=0.7),
    baselines.chamfer(),
    baselines.expanded("chamfer", augmented=False, num_neighbors=5, alpha=0.5),
    baselines.expanded("chamfer", augmented=True, num_neighbors=5, alpha=0.5),
    baselines.diffused("chamfer", **_LOCAL_DIFFUSION),
    baselines.diffused_offline("chamfer", **_LOCAL_DIFFUSION),
    baselines.reciprocated("chamfer", k1=20, k2=3, weight=0.7),
    local_systems.verified(verification),
    local_systems.asmk_by(binary),
    local_systems.asmk_by(full),
    local_systems.paper(),
    local_systems.l2g(),
    local_systems.l2g_by(verification),
    local_systems.l2g_by_asmk(binary),
    local_systems.l2g_by_asmk(full),
    *trained_systems.by_learned(weights.get("learned")),
    trained_systems.by_lists(weights.get("bilstm")),
  )

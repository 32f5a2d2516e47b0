"""All systems of the table, each with the settings that development data chose for it."""

from collections.abc import Sequence

from experiments.comparison import baselines, local_systems
from experiments.comparison.system import System
from l2g_jax.ranking import asmk
from l2g_jax.retriever.similarities import spatial_similarity


def make_systems() -> Sequence[System]:
  """Returns the rows of the table, in order."""
  verification = spatial_similarity()
  return (
    baselines.by_global(),
    baselines.global_rerank(),
    baselines.expanded("global", augmented=False),
    baselines.expanded("global", augmented=True),
    baselines.diffused("global"),
    baselines.diffused_offline("global"),
    baselines.reciprocated("global"),
    baselines.chamfer(),
    baselines.expanded("chamfer", augmented=False),
    baselines.expanded("chamfer", augmented=True),
    baselines.diffused("chamfer"),
    baselines.diffused_offline("chamfer"),
    baselines.reciprocated("chamfer"),
    local_systems.verified(verification),
    local_systems.asmk_by(asmk.AsmkConfig(), num_words=4096),
    local_systems.asmk_by(asmk.AsmkConfig(binary=False), num_words=4096),
    local_systems.paper(),
    local_systems.l2g(),
    local_systems.l2g_by(verification),
    local_systems.l2g_by_asmk(asmk.AsmkConfig(binary=False), num_words=4096),
  )

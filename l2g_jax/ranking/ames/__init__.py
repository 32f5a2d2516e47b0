"""AMES: re-ranking by a network that compares the local descriptors of a query and an image."""

from l2g_jax.ranking.ames.config import ENSEMBLES, VARIANTS, AmesConfig, Ensemble
from l2g_jax.ranking.ames.matcher import similarities
from l2g_jax.ranking.ames.network import Ames
from l2g_jax.ranking.ames.shortlist import NUM_RERANKED, ensemble, ignored_last, rerank_by_ames

__all__ = [
  "ENSEMBLES",
  "NUM_RERANKED",
  "VARIANTS",
  "Ames",
  "AmesConfig",
  "Ensemble",
  "ensemble",
  "ignored_last",
  "rerank_by_ames",
  "similarities",
]

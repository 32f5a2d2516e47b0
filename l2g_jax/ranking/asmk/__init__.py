"""Aggregated selective match kernels (ASMK): search by local features in an inverted file.

Source: Tolias, Avrithis and Jegou, Image Search with Selective Match Kernels: Aggregation Across
Single and Multiple Images, IJCV 2016.
"""

from l2g_jax.ranking.asmk.codebook import (
  Codebook,
  default_num_words,
  load_codebook,
  save_codebook,
  train_codebook,
)
from l2g_jax.ranking.asmk.config import AsmkConfig
from l2g_jax.ranking.asmk.index import AsmkIndex, build_index
from l2g_jax.ranking.asmk.scoring import rank, score, search
from l2g_jax.ranking.asmk.storage import open_index, save_index

__all__ = [
  "AsmkConfig",
  "AsmkIndex",
  "Codebook",
  "build_index",
  "default_num_words",
  "load_codebook",
  "open_index",
  "rank",
  "save_codebook",
  "save_index",
  "score",
  "search",
  "train_codebook",
]

"""Colored nearest-neighbour index on the host (CANN, arXiv 2306.09012)."""

from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.index import CannIndex, SearchResult
from l2g_jax.cann.lists import NeighborLists, check_current
from l2g_jax.cann.storage import exists, remove

__all__ = [
  "CannConfig",
  "CannIndex",
  "NeighborLists",
  "SearchResult",
  "check_current",
  "exists",
  "remove",
]

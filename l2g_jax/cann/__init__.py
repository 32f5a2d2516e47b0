"""Colored nearest-neighbour index on the host (CANN, arXiv 2306.09012)."""

from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.index import CannIndex
from l2g_jax.cann.storage import exists, remove

__all__ = ["CannConfig", "CannIndex", "exists", "remove"]

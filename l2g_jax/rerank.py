"""SuperGlobal's re-ranking under its short name; see `l2g_jax.ranking.rerank`."""

from l2g_jax.ranking.rerank import superglobal_rerank

__all__ = ["superglobal_rerank"]

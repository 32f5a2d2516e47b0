"""A collection made ready for queries, and kept so: `Retriever` is the face that programs call."""

from l2g_jax.retriever.options import Features
from l2g_jax.retriever.results import Rankings, Result, Results
from l2g_jax.retriever.retriever import Retriever

__all__ = ["Features", "Rankings", "Result", "Results", "Retriever"]

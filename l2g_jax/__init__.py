"""Local-to-global image retrieval in JAX."""

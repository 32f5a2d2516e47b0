"""The version of l2g_jax, read by packaging without importing JAX."""

__version__ = "0.1.0"

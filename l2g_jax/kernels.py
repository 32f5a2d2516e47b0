"""Kernels under their short name; see `l2g_jax.similarity.kernels`."""

from l2g_jax.similarity.kernels import Cann, Chamfer, Kernel, Power, parse

__all__ = ["Cann", "Chamfer", "Kernel", "Power", "parse"]

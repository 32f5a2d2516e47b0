"""Published PyTorch checkpoints made into weights of ours, without PyTorch."""

from l2g_jax.interop.checkpoints.conversion import MODELS, Model, convert, read_weights

__all__ = ["MODELS", "Model", "convert", "read_weights"]

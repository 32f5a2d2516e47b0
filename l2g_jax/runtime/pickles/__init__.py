"""Pickles of others, read as data: nothing that they name is looked up, let alone called."""

from l2g_jax.runtime.pickles.arrays import ARRAYS, PickledArray
from l2g_jax.runtime.pickles.containers import CONTAINERS
from l2g_jax.runtime.pickles.reader import (
  Buffer,
  Builder,
  Name,
  Placeholder,
  read_pickle,
  text_bytes,
)

__all__ = [
  "ARRAYS",
  "CONTAINERS",
  "Buffer",
  "Builder",
  "Name",
  "PickledArray",
  "Placeholder",
  "read_pickle",
  "text_bytes",
]

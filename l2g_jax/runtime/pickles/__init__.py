"""Pickles of other programs, read as data: no name in them is looked up or called."""

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

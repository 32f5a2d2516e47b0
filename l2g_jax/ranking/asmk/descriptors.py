"""Checks of the descriptors that come in, and batches of them."""

from collections.abc import Iterable, Iterator

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.runtime.arrays import as_float32

# Descriptors that are assigned at a time.
_BATCH = 1 << 14


def check_descriptors(values: np.ndarray, dimension: int | None, *, name: str) -> np.ndarray:
  """Returns descriptors as contiguous float32.

  Args:
    values: `[count, d]` numbers.
    dimension: d; None = any.
    name: what an error calls them.

  Raises:
    InputError: the shape or type is another, or a value is not finite in float32.
  """
  values = np.asarray(values)
  wanted = "d" if dimension is None else dimension
  if values.ndim != 2 or dimension not in (None, values.shape[1]):
    raise InputError(f"{name} must be [count, {wanted}], not {list(values.shape)}.")
  if not (np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)):
    raise InputError(f"{name} must be real numbers, not {values.dtype}.")
  values = as_float32(values)
  if not np.all(np.isfinite(values)):
    raise InputError(f"{name} hold a value that is not finite.")
  return values


def batches(sets: Iterable[np.ndarray], dimension: int, *, name: str) -> Iterator[list[np.ndarray]]:
  """Yields the checked descriptors of several images or queries at a time.

  Args:
    sets: the descriptors `[count, d]` of each.
    dimension: d.
    name: what an error calls one of them.

  Raises:
    InputError: see `check_descriptors`.
  """
  batch, total = [], 0
  for number, values in enumerate(sets):
    batch.append(check_descriptors(values, dimension, name=f"The descriptors of {name} {number}"))
    total += len(batch[-1])
    if total >= _BATCH:
      yield batch
      batch, total = [], 0
  if batch:
    yield batch

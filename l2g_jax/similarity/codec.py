"""Descriptors as 8-bit integers, whose inner products are exact.

Hence similarities of codes depend neither on the number of threads, nor on blocking, nor on the
machine.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from l2g_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Codes:
  """Quantised descriptors; the inner product of two, times both scales, is their cosine.

  Attributes:
    values: `[n, d]` int8.
    scales: `[n]` float32, the inverse norms of the codes.
  """

  values: np.ndarray
  scales: np.ndarray

  def __len__(self) -> int:
    return len(self.values)

  def __getitem__(self, rows: slice | np.ndarray) -> "Codes":
    """Returns some of the codes."""
    return Codes(self.values[rows], self.scales[rows])


def encode(descriptors: np.ndarray, *, dimension: int | None = None, where: str) -> Codes:
  """Quantises the directions of descriptors; rows of norm zero have none, and are left out.

  Args:
    descriptors: `[n, d]`, any norm.
    dimension: the required d; None = any.
    where: the owner of the descriptors, for an error message.

  Raises:
    InputError: the shape does not fit, or a value is not finite.
  """
  values = checked(descriptors, dimension=dimension, where=where)
  peaks = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
  present = peaks[:, 0] > 0.0
  values, peaks = values[present], peaks[present]
  codes = np.rint(values / peaks * 127.0).astype(np.int8)
  norms = np.sqrt(np.sum(codes.astype(np.float32) ** 2, axis=1))
  return Codes(codes, (1.0 / norms).astype(np.float32))


def checked(descriptors: np.ndarray, *, dimension: int | None, where: str) -> np.ndarray:
  """Returns descriptors as float32, after the checks of `encode`."""
  values = np.asarray(descriptors)
  if values.ndim != 2 or (dimension is not None and values.shape[1] != dimension):
    wanted = "d" if dimension is None else dimension
    raise InputError(f"The descriptors of {where} must be [count, {wanted}], not {values.shape}.")
  if values.dtype.kind in "cOSUmM":
    raise InputError(f"The descriptors of {where} must be real numbers, not {values.dtype}.")
  values = values.astype(np.float32)
  if not np.all(np.isfinite(values)):
    raise InputError(f"The descriptors of {where} hold a value that is not finite.")
  return values


def decode(codes: Codes) -> np.ndarray:
  """Returns unit descriptors `[n, d]` float32."""
  return codes.values.astype(np.float32) * codes.scales[:, None]


def concatenate(parts: Sequence[Codes], *, dimension: int) -> Codes:
  """Joins codes of one dimension; without parts the result is empty."""
  return Codes(
    np.concatenate([np.zeros((0, dimension), np.int8), *(part.values for part in parts)]),
    np.concatenate([np.zeros(0, np.float32), *(part.scales for part in parts)]),
  )

"""Tensors whose numbers are still in a file."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from l2g_jax.errors import InputError

_MOST_DIMENSIONS = 32
_GREATEST_COUNT = 1 << 62


@dataclasses.dataclass(frozen=True)
class ElementType:
  """A type of numbers.

  Attributes:
    itemsize: bytes of a number.
    dtype: None where weights never have the type: such numbers can be passed over, not read.
  """

  itemsize: int
  dtype: np.dtype | None = None


def known_type(dtype: Any) -> ElementType:
  """Returns a type whose numbers can be read."""
  dtype = np.dtype(dtype)
  return ElementType(dtype.itemsize, dtype)


BFLOAT16 = known_type(ml_dtypes.bfloat16)
# By their names in PyTorch.
FLOATS_OF_8_BITS = {
  name: known_type(getattr(ml_dtypes, name))
  for name in (
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
  )
}


@dataclasses.dataclass(frozen=True)
class Storage:
  """A run of numbers in the file.

  Attributes:
    key: its name in the file.
    type: the type of the numbers.
    size: the number of numbers.
    start: the number of numbers before it under the same name.
  """

  key: str
  type: ElementType
  size: int
  start: int = 0


ReadStorage = Callable[[Storage], bytes | memoryview]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor whose numbers are still in the file.

  Attributes:
    storage: holds the numbers.
    offset: the position of the first number in the storage.
    shape: the shape of the tensor.
    strides: numbers to skip for a step along each dimension.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def make_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
  """Returns the tensor that a file describes; InputError where it can't be one."""
  counts = [offset, *shape, *strides]
  if (
    not isinstance(storage, Storage)
    or len(shape) != len(strides)
    or len(shape) > _MOST_DIMENSIONS
    or not all(map(is_count, counts))
  ):
    raise InputError("it describes a tensor in a way that is not known")
  return Tensor(storage, offset, tuple(shape), tuple(strides))


def is_count(value: Any) -> bool:
  """Whether a value is an integer that may count numbers in a file."""
  return isinstance(value, int) and 0 <= value < _GREATEST_COUNT


def read_tensor(tensor: Tensor, read_storage: ReadStorage) -> np.ndarray:
  """Returns the numbers of a tensor, read-only; types that NumPy lacks become float32.

  Args:
    tensor: the tensor.
    read_storage: returns the bytes of a storage.

  Raises:
    InputError: the numbers are of a type that weights do not have, or are not all there.
  """
  storage = tensor.storage
  dtype = storage.type.dtype
  if dtype is None:
    raise InputError("it holds a tensor of a type that weights do not have")
  last = tensor.offset + sum(
    (side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True)
  )
  if math.prod(tensor.shape) and last >= storage.size:
    raise InputError("it holds a tensor that leaves its storage")
  if math.prod(tensor.shape) > storage.size:
    raise InputError("it holds a tensor that is larger than its storage")
  content = read_storage(storage)
  if len(content) != storage.size * dtype.itemsize:
    raise InputError("it is truncated")
  strides = [stride * dtype.itemsize for stride in tensor.strides]
  array = np.ndarray(tensor.shape, dtype, content, tensor.offset * dtype.itemsize, strides)
  return array if dtype.isbuiltin == 1 else array.astype(np.float32)

"""Arrays and scalars in pickles of every version of NumPy: checked first, then built.

An array is never larger than its bytes in the pickle.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2g_jax.runtime.pickles.reader import Builder, Name, text_bytes

_TYPE = re.compile(r"[<>|=]?[biufSU]\d{1,9}")
_OBJECTS = re.compile(r"[|]?O[48]?")
_MOST_DIMENSIONS = 32
_GREATEST_CHARACTER = 0x10FFFF


class PickledType:
  """A type of NumPy: numbers, texts, bytes or objects.

  Attributes:
    dtype: None where the elements are objects.
  """

  def __init__(self, text: Any, *_: Any):
    text = text_bytes(text).decode("ascii")
    if not (_TYPE.fullmatch(text) or _OBJECTS.fullmatch(text)):
      raise ValueError("a type that is not known")
    self.dtype = np.dtype(text) if _TYPE.fullmatch(text) else None

  def set_state(self, state: Any) -> None:
    """Takes the byte order; types with fields are refused."""
    _, order, *parts = state
    if order not in ("<", ">", "|", "=") or any(part is not None for part in parts[:3]):
      raise ValueError("a type that is not known")
    if self.dtype is not None:
      self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
  """An array.

  Attributes:
    array: numbers, texts, bytes, or the objects of the pickle; None until the state is there.
  """

  def __init__(self, *_: Any):
    self.array: np.ndarray | None = None

  def set_state(self, state: Any) -> None:
    """Takes shape, type, order and elements."""
    # A version comes first, but not in the oldest files.
    shape, kind, is_fortran, elements = state[-4:]
    self.array = _array(shape, kind, "F" if is_fortran else "C", elements)


def _array(shape: Any, kind: Any, order: Any, elements: Any) -> np.ndarray:
  shape = shape if isinstance(shape, tuple) else (shape,)
  if len(shape) > _MOST_DIMENSIONS or not all(isinstance(n, int) and n >= 0 for n in shape):
    raise ValueError("a shape that can not be")
  if kind.dtype is None:
    if not isinstance(elements, list) or len(elements) != math.prod(shape):
      raise ValueError("elements that do not fill the shape")
    return np.fromiter(elements, object, len(elements)).reshape(shape, order=order)
  content = text_bytes(elements)
  if not kind.dtype.itemsize or len(content) != math.prod(shape) * kind.dtype.itemsize:
    raise ValueError("elements that do not fill the shape")
  if kind.dtype.kind == "U":
    characters = np.frombuffer(content, np.dtype("u4").newbyteorder(kind.dtype.byteorder))
    if np.any(characters > _GREATEST_CHARACTER):
      raise ValueError("no text")
  return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> PickledArray:
  pickled = PickledArray()
  pickled.array = _array(shape, kind, order, buffer)
  return pickled


def _scalar(kind: Any, content: Any) -> Any:
  return _array((), kind, "C", content).item()


_NUMPY = {
  ("multiarray", "_reconstruct"): Builder(PickledArray),
  ("multiarray", "scalar"): Builder(_scalar),
  ("numeric", "_frombuffer"): Builder(_from_buffer),
  ("_internal", "_convert_to_stringdtype_kwargs"): Builder(lambda *_: PickledType("O")),
}

# NumPy 1 and 2 have different modules.
ARRAYS: Mapping[Name, Any] = {
  Name("numpy", "dtype"): Builder(PickledType),
  Name("numpy", "ndarray"): None,
  **{
    Name(f"numpy.{core}.{module}", name): builder
    for (module, name), builder in _NUMPY.items()
    for core in ("core", "_core")
  },
}

"""Matrices in `.mat` files of MATLAB 4 to 7, read without building any object the file names.

MATLAB 5 and later write tagged elements: 4 bytes of type, 4 bytes of length, and the content,
padded to 8 bytes. A variable is an element that holds others: flags, sides, name and numbers.
MATLAB 7 deflates each variable. MATLAB 4 writes five integers, the name and the numbers.
"""

import math
import mmap
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, reading
from l2g_jax.runtime.arrays import check_inflation

_HEADER_BYTES = 128
_TAG_BYTES = 8
_ORDERS = {b"IM": "<", b"MI": ">"}
_VERSION = 1
# NumPy types by type of an element.
_NUMBERS = {
  1: "i1",
  2: "u1",
  3: "i2",
  4: "u2",
  5: "i4",
  6: "u4",
  7: "f4",
  9: "f8",
  12: "i8",
  13: "u8",
}
_MATRIX, _COMPRESSED = 14, 15
# NumPy types by class of a variable; whole numbers in it may be stored as integers.
_CLASSES = {6: "f8", 7: "f4"}
_COMPLEX = 0x0800
# So many bytes of a variable hold its flags, sides and name.
_START_BYTES = 1 << 12
_OLD_HEADER = 5
_OLD_TYPES = {0: "f8", 10: "f4", 20: "i4", 30: "i2", 40: "u2", 50: "u1"}
_OLD_FLOATS = (0, 10)
# MATLAB's names have at most 63 letters; a much longer one is damage.
_MOST_NAME_BYTES = 1 << 10

_Bytes = bytes | memoryview


def read_matrix(path: os.PathLike | str, name: str) -> np.ndarray:
  """Returns a matrix of floats with MATLAB's shape; InputError if it is damaged or missing."""
  path = pathlib.Path(path)
  with reading(path, "is truncated or not a .mat file"):
    with path.open("rb") as file:
      content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if content[:19] == b"MATLAB 7.3 MAT-file" or content[:4] == b"\x89HDF":
      raise InputError("it is of MATLAB 7.3; save it again with -v7")
    # Newer formats begin with text, which has no zeros.
    is_old = 0 in content[:4]
    matrix = _find_old(content, name) if is_old else _find(content, name)
  if matrix is None:
    raise InputError(f"{path} has no matrix {name} of floats.")
  return matrix


def _find(content: memoryview, name: str) -> np.ndarray | None:
  order = _ORDERS[bytes(content[_HEADER_BYTES - 2 : _HEADER_BYTES])]
  version = struct.unpack_from(f"{order}H", content, _HEADER_BYTES - 4)[0]
  if version >> 8 != _VERSION:
    raise ValueError("an unknown version")
  for kind, body in _elements(content[_HEADER_BYTES:], order):
    if kind == _COMPRESSED:
      start = zlib.decompressobj().decompress(body, _START_BYTES)
      kind, length = _tag(start, order)
      if kind == _MATRIX and _name(start[_TAG_BYTES:], order) == name:
        check_inflation(len(body), length)
        whole = zlib.decompressobj().decompress(body, _TAG_BYTES + length)
        return _matrix(memoryview(whole)[_TAG_BYTES:], order)
    elif kind == _MATRIX and _name(body, order) == name:
      return _matrix(body, order)
  return None


def _tag(content: _Bytes, order: str) -> tuple[int, int]:
  return struct.unpack_from(f"{order}II", content)


def _elements(content: _Bytes, order: str) -> Iterator[tuple[int, _Bytes]]:
  """Yields the type and content of each element; raises EOFError if one is cut off."""
  offset = 0
  while offset < len(content):
    kind, length = _tag(content[offset : offset + _TAG_BYTES], order)
    start, padding = offset + _TAG_BYTES, -length % 8
    if kind >> 16:  # A small element lies within its tag.
      kind, length, start, padding = kind & 0xFFFF, kind >> 16, offset + 4, 4 - (kind >> 16)
    if padding < 0 or start + length > len(content):
      raise EOFError
    yield kind, content[start : start + length]
    offset = start + length + (0 if kind == _COMPRESSED else padding)


def _name(content: _Bytes, order: str) -> str:
  elements = _elements(content, order)
  for _ in range(2):
    next(elements)
  return bytes(next(elements)[1]).decode("latin-1")


def _matrix(content: _Bytes, order: str) -> np.ndarray | None:
  elements = _elements(content, order)
  flags = struct.unpack_from(f"{order}I", next(elements)[1])[0]
  sides = np.frombuffer(next(elements)[1], f"{order}i4").tolist()
  if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
    return None
  next(elements)
  kind, numbers = next(elements)
  return _shaped(numbers, order + _NUMBERS[kind], sides).astype(_CLASSES[flags & 0xFF], copy=False)


def _find_old(content: memoryview, name: str) -> np.ndarray | None:
  offset = 0
  while offset < len(content):
    order = "<" if struct.unpack_from("<I", content, offset)[0] < 1000 else ">"
    kind, rows, columns, is_complex, name_bytes = struct.unpack_from(
      f"{order}{_OLD_HEADER}i", content, offset
    )
    offset += 4 * _OLD_HEADER
    element = np.dtype(order + _OLD_TYPES[kind % 1000 // 10 * 10])
    if min(rows, columns) < 0 or not 0 < name_bytes <= _MOST_NAME_BYTES:
      raise ValueError("an impossible header")
    found = bytes(content[offset : offset + name_bytes]).rstrip(b"\0").decode("latin-1")
    offset += name_bytes
    length = rows * columns * element.itemsize
    if found == name:
      is_matrix = not is_complex and kind % 1000 in _OLD_FLOATS
      numbers = content[offset : offset + length]
      return _shaped(numbers, element, [rows, columns]) if is_matrix else None
    offset += length * (2 if is_complex else 1)
  return None


def _shaped(numbers: _Bytes, dtype: Any, sides: list[int]) -> np.ndarray:
  if min(sides) < 0 or math.prod(sides) * np.dtype(dtype).itemsize != len(numbers):
    raise ValueError("numbers that do not fill the matrix")
  return np.frombuffer(numbers, dtype).reshape(sides, order="F")

"""Matrices in `.mat` files of MATLAB 4 to 7: only what the file has is read, nothing is built.

MATLAB 5 and later write tagged elements: 4 bytes type, 4 bytes length, content, filled up to 8
bytes. A variable is an element that holds others: flags, sides, name, numbers. MATLAB 7 deflates
each variable. MATLAB 4 writes five integers, the name and the numbers.
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
# Types of elements.
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
# Classes of variables: integers in a matrix of floats are stored as such.
_CLASSES = {6: "f8", 7: "f4"}
_COMPLEX = 0x0800
# Flags, sides and name lie within.
_START_BYTES = 1 << 12
_OLD_HEADER = 5
_OLD_TYPES = {0: "f8", 10: "f4", 20: "i4", 30: "i2", 40: "u2", 50: "u1"}
_OLD_FLOATS = (0, 10)
_MOST_NAME_BYTES = 1 << 10

_Bytes = bytes | memoryview


def read_matrix(path: os.PathLike | str, name: str) -> np.ndarray:
  """Returns a matrix of floats, as MATLAB has it; InputError if damaged or not there."""
  path = pathlib.Path(path)
  with reading(path, "is truncated or not a .mat file"):
    with path.open("rb") as file:
      content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if content[:19] == b"MATLAB 7.3 MAT-file" or content[:4] == b"\x89HDF":
      raise InputError("it is of MATLAB 7.3; save it again with -v7")
    # The newer formats begin with a text.
    is_old = 0 in content[:4]
    matrix = _find_old(content, name) if is_old else _find(content, name)
  if matrix is None:
    raise InputError(f"{path} has no matrix {name} of floats.")
  return matrix


def _find(content: memoryview, name: str) -> np.ndarray | None:
  order = _ORDERS[bytes(content[_HEADER_BYTES - 2 : _HEADER_BYTES])]
  version = struct.unpack_from(f"{order}H", content, _HEADER_BYTES - 4)[0]
  if version >> 8 != _VERSION:
    raise ValueError("a version that is not known")
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
  """Yields type and content of one element after another; an exception where one is cut off."""
  place = 0
  while place < len(content):
    kind, length = _tag(content[place : place + _TAG_BYTES], order)
    start, filled = place + _TAG_BYTES, -length % 8
    if kind >> 16:  # Small ones share their tag.
      kind, length, start, filled = kind & 0xFFFF, kind >> 16, place + 4, 4 - (kind >> 16)
    if filled < 0 or start + length > len(content):
      raise EOFError
    yield kind, content[start : start + length]
    place = start + length + (0 if kind == _COMPRESSED else filled)


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
  place = 0
  while place < len(content):
    order = "<" if struct.unpack_from("<I", content, place)[0] < 1000 else ">"
    kind, rows, columns, is_complex, name_bytes = struct.unpack_from(
      f"{order}{_OLD_HEADER}i", content, place
    )
    place += 4 * _OLD_HEADER
    element = np.dtype(order + _OLD_TYPES[kind % 1000 // 10 * 10])
    if min(rows, columns) < 0 or not 0 < name_bytes <= _MOST_NAME_BYTES:
      raise ValueError("a header that can not be")
    found = bytes(content[place : place + name_bytes]).rstrip(b"\0").decode("latin-1")
    place += name_bytes
    length = rows * columns * element.itemsize
    if found == name:
      is_matrix = not is_complex and kind % 1000 in _OLD_FLOATS
      numbers = content[place : place + length]
      return _shaped(numbers, element, [rows, columns]) if is_matrix else None
    place += length * (2 if is_complex else 1)
  return None


def _shaped(numbers: _Bytes, dtype: Any, sides: list[int]) -> np.ndarray:
  if min(sides) < 0 or math.prod(sides) * np.dtype(dtype).itemsize != len(numbers):
    raise ValueError("numbers that do not fill the matrix")
  return np.frombuffer(numbers, dtype).reshape(sides, order="F")

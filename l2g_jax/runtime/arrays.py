"""Arrays of numbers in `.npy` and `.npz` files; headers are checked against the file first."""

import dataclasses
import io
import math
import os
import pathlib
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, reading

# Real headers have a hundred bytes.
_HEADER_BYTES = 1 << 16
_READ_HEADER: dict[tuple[int, int], Callable[..., Any]] = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
# Dense features inflate to about twice, sparse ones to about ten times their size.
_MOST_INFLATION = 100
ALWAYS_INFLATED = 64 << 20
# Values that are read at a time, so that no copy of a part is large.
_VALUES_AT_A_TIME = 1 << 22


@dataclasses.dataclass(frozen=True)
class _Header:
  shape: tuple[int, ...]
  order: Any
  dtype: np.dtype
  start: int

  @property
  def num_bytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize


def read_array(path: os.PathLike | str) -> np.ndarray:
  """Opens a `.npy` file of numbers by memory map; InputError if damaged or without numbers."""
  path = pathlib.Path(path)
  with reading(path, "is truncated or not a .npy file of numbers"):
    with path.open("rb") as file:
      header = _parse_header(file.read(_HEADER_BYTES))
    if header.start + header.num_bytes > path.stat().st_size:
      raise EOFError
    return np.memmap(path, header.dtype, "r", header.start, header.shape, header.order)


def read_archived(path: os.PathLike | str, name: str) -> np.ndarray:
  """Reads an array of numbers from a `.npz` file; InputError if it is damaged or missing."""
  path = pathlib.Path(path)
  damage = f"is not a .npz file with an array {name!r} of numbers"
  with reading(path, damage), zipfile.ZipFile(path) as archive:
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise ValueError("a compression that NumPy does not use")
    if entry.compress_size > path.stat().st_size:
      raise EOFError
    check_inflation(entry.compress_size, entry.file_size)
    content = archive.read(entry)
    header = _parse_header(content[:_HEADER_BYTES])
    if header.start + header.num_bytes > len(content):
      raise EOFError
    return np.ndarray(header.shape, header.dtype, content, header.start, order=header.order)


def check_arrays(
  path: object, arrays: Mapping[str, np.ndarray], layout: Mapping[str, tuple[str, tuple[Any, ...]]]
) -> None:
  """Refuses the arrays of a file or folder if they do not fit together.

  Args:
    path: the file or folder, for the message.
    arrays: by name.
    layout: by name, the dtype of each array and its sides: a number, or a text that stands for one
      number throughout.
  """
  sides: dict[str, int] = {}
  fits = arrays.keys() == layout.keys()
  for name, (dtype, shape) in layout.items() if fits else ():
    array = arrays[name]
    fits &= array.dtype == np.dtype(dtype) and array.ndim == len(shape)
    for side, expected in zip(array.shape, shape, strict=False):
      fits &= side == (sides.setdefault(expected, side) if isinstance(expected, str) else expected)
  if not fits:
    raise InputError(f"{path} has arrays that do not fit together; have it made again.")


def row_parts(shape: tuple[int, int]) -> Iterator[slice]:
  """Yields the rows of a matrix, which may be memory-mapped, in parts of a few megabytes."""
  num_rows, num_columns = shape
  step = max(1, _VALUES_AT_A_TIME // max(1, num_columns))
  for start in range(0, num_rows, step):
    yield slice(start, start + step)


def as_float32(values: np.ndarray) -> np.ndarray:
  """Returns numbers as contiguous float32; those beyond its range become infinite."""
  with np.errstate(over="ignore"):
    return np.ascontiguousarray(values, np.float32)


def check_inflation(num_bytes: int, inflated: int) -> None:
  """Refuses content that would inflate to far more bytes than the file has."""
  if inflated > max(ALWAYS_INFLATED, _MOST_INFLATION * num_bytes):
    raise InputError(
      f"it inflates to more than {_MOST_INFLATION} times its size; save it without compression"
    )


def _parse_header(content: bytes) -> _Header:
  file = io.BytesIO(content)
  read = _READ_HEADER[np.lib.format.read_magic(file)]
  with warnings.catch_warnings():
    # NumPy warns of headers that Python 2 wrote.
    warnings.simplefilter("ignore")
    shape, is_fortran, dtype = read(file)
  if dtype.kind not in "biuf" or any(side < 0 for side in shape):
    raise ValueError("no numbers")
  return _Header(shape, "F" if is_fortran else "C", dtype, file.tell())

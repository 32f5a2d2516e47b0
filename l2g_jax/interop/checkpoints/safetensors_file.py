"""Files of safetensors of any make: a JSON header and raw numbers."""

import json
import mmap
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.tensors import (
  BFLOAT16,
  FLOATS_OF_8_BITS,
  ElementType,
  ReadStorage,
  Storage,
  Tensor,
  known_type,
  make_tensor,
)

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 64 << 20
_METADATA = "__metadata__"
_TYPES = {
  "F64": known_type("<f8"),
  "F32": known_type("<f4"),
  "F16": known_type("<f2"),
  "BF16": BFLOAT16,
  "F8_E4M3": FLOATS_OF_8_BITS["float8_e4m3fn"],
  "F8_E5M2": FLOATS_OF_8_BITS["float8_e5m2"],
  "F8_E8M0": FLOATS_OF_8_BITS["float8_e8m0fnu"],
  "I64": known_type("<i8"),
  "I32": known_type("<i4"),
}
# Numbers of other types can be passed over, whatever their size.
_OTHER = ElementType(1)


def is_safetensors(buffer: mmap.mmap) -> bool:
  """Whether a file begins as safetensors do, and no pickle does."""
  length = int.from_bytes(buffer[:_LENGTH_BYTES], "little")
  return length < len(buffer) and buffer[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def open_buffer(buffer: mmap.mmap) -> tuple[dict[str, Tensor], ReadStorage]:
  """Returns the tensors by name, and the reader of their numbers; raises where damaged."""
  start = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES], "little")
  if start > _MOST_HEADER_BYTES:
    raise InputError("its header is too large")
  header = json.loads(buffer[_LENGTH_BYTES:start])
  numbers = memoryview(buffer)[start:]
  contents = {}
  tensors = {}
  for name, entry in header.items():
    if name == _METADATA:
      continue
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(numbers):
      raise InputError("it is truncated")
    contents[name] = numbers[begin:end]
    element = _TYPES.get(entry["dtype"], _OTHER)
    storage = Storage(name, element, (end - begin) // element.itemsize)
    tensors[name] = make_tensor(storage, 0, entry["shape"], _strides(entry["shape"]))

  def read_storage(storage: Storage) -> memoryview:
    return contents[storage.key]

  return tensors, read_storage


def _strides(shape: list[Any]) -> list[int]:
  strides = [1]
  for side in shape[:0:-1]:
    strides.append(strides[-1] * side)
  return strides[: len(shape)][::-1]

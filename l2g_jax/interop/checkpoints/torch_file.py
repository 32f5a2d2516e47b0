"""Files of `torch.save`, and safetensors, read without PyTorch; no function they name is called.

A file of `torch.save` is a pickle beside raw numbers: a zip archive since PyTorch 1.6, one stream
before. A tensor that `pickle.dump` wrote holds such a stream within itself.
"""

import contextlib
import dataclasses
import mmap
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import numpy as np

from l2g_jax.errors import InputError, reading
from l2g_jax.interop.checkpoints import safetensors_file
from l2g_jax.interop.checkpoints.tensors import ReadStorage, Storage, Tensor, read_tensor
from l2g_jax.interop.checkpoints.torch_pickle import TensorPickles
from l2g_jax.runtime import pickles

__all__ = ["Tensor", "TorchFile", "open_torch_file"]

_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_HEADER_BYTES = 30
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001
# Far above the structure of any network; numbers lie beside it.
_MOST_PICKLE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 24
_COUNT_BYTES = 8


@dataclasses.dataclass(frozen=True)
class TorchFile:
  """An open checkpoint.

  Attributes:
    content: the object that was saved, with a `Tensor` for every tensor.
    read: returns the array of a `Tensor`; InputError where the file does not hold it.
  """

  content: Any
  read: Callable[[Tensor], np.ndarray]


@contextlib.contextmanager
def open_torch_file(path: os.PathLike | str) -> Iterator[TorchFile]:
  """Opens a file of `torch.save`, or safetensors.

  Raises:
    InputError: the file is missing, truncated, damaged or of another kind, or names a function that
      would run code; the message says which.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no checkpoint at {path}.")
  with reading(path, "is truncated or not a PyTorch checkpoint"):
    with path.open("rb") as file:
      # Numbers may be more than fits in memory.
      buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content, read_storage = _open(buffer)

  def read(tensor: Tensor) -> np.ndarray:
    with reading(path, "is truncated or damaged"):
      return read_tensor(tensor, read_storage)

  yield TorchFile(content, read)


def _open(buffer: mmap.mmap) -> tuple[Any, ReadStorage]:
  if buffer[: len(_ZIP_MAGIC)] == _ZIP_MAGIC:
    return _open_archive(buffer)
  if safetensors_file.is_safetensors(buffer):
    return safetensors_file.open_buffer(buffer)
  return _open_stream(buffer)


def _open_archive(buffer: mmap.mmap) -> tuple[Any, ReadStorage]:
  archive = zipfile.ZipFile(cast(IO[bytes], buffer))
  found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
  if len(found) != 1:
    raise InputError("it is a zip archive, but not one of PyTorch")
  folder = found[0].removesuffix("data.pkl")

  def read(name: str, most: int) -> memoryview:
    # PyTorch stores without compression; a compressed entry is not its own.
    entry = archive.getinfo(folder + name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
      raise InputError(f"its entry {name} is compressed or too large")
    return _content(buffer, entry)

  if folder + "byteorder" in archive.namelist() and read("byteorder", 16) != b"little":
    raise InputError("it was written by a big-endian machine")
  reader = TensorPickles()
  content, _ = reader.read(bytes(read("data.pkl", _MOST_PICKLE_BYTES)))

  def read_storage(storage: Storage) -> memoryview | bytes:
    itemsize = storage.type.itemsize
    whole = reader.storages[storage.key]
    num_bytes = whole.size * whole.type.itemsize
    values = read(f"data/{storage.key}", num_bytes) if num_bytes else b""
    return values[storage.start * itemsize : (storage.start + storage.size) * itemsize]

  return content, read_storage


def _content(buffer: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
  """Returns the bytes of an entry that is not compressed, and checks its checksum."""
  # Two fields of the header vary in length, not always as the table of contents has them.
  lengths = entry.header_offset + _ZIP_HEADER_BYTES - 4
  name_bytes, extra_bytes = struct.unpack("<HH", buffer[lengths : lengths + 4])
  start = lengths + 4 + name_bytes + extra_bytes
  content = memoryview(buffer)[start : start + entry.file_size]
  checksum = 0
  for begin in range(0, len(content), _CHUNK_BYTES):
    checksum = zlib.crc32(content[begin : begin + _CHUNK_BYTES], checksum)
  if len(content) != entry.file_size or checksum != entry.CRC:
    raise zipfile.BadZipFile
  return content


def _open_stream(buffer: pickles.Buffer, *, embedded: bool = False) -> tuple[Any, ReadStorage]:
  def open_embedded(content: bytes) -> tuple[Any, ReadStorage]:
    return _open_stream(content, embedded=True)

  first = TensorPickles(None if embedded else open_embedded)
  content, position = first.read(buffer)
  if first.embedded:
    return content, lambda storage: first.embedded[storage.key]
  if content != _STREAM_MAGIC:
    raise InputError("it is a pickle, but not one of PyTorch")
  protocol, position = TensorPickles().read(buffer, position)
  if protocol != _STREAM_PROTOCOL:
    raise InputError("its format is not known")
  machine, position = TensorPickles().read(buffer, position)
  if machine.get("little_endian") is not True:
    raise InputError("it was written by a big-endian machine")
  reader = TensorPickles()
  content, position = reader.read(buffer, position)
  keys, position = TensorPickles().read(buffer, position)
  starts = {}
  for key in keys:
    storage = reader.storages[key]
    if int.from_bytes(buffer[position : position + _COUNT_BYTES], "little") != storage.size:
      raise InputError("it is truncated or damaged")
    starts[key] = position + _COUNT_BYTES
    position = starts[key] + storage.size * storage.type.itemsize

  def read_storage(storage: Storage) -> memoryview:
    itemsize = storage.type.itemsize
    start = starts[storage.key] + storage.start * itemsize
    return memoryview(buffer)[start : start + storage.size * itemsize]

  return content, read_storage

"""Files of `torch.save`, read without PyTorch and without calling anything that they name.

Such a file is a pickle beside raw numbers: a zip archive since PyTorch 1.6, one stream before. A
tensor that `pickle.dump` wrote holds such a stream within itself. The pickle is read for its
structure alone: what belongs to a few libraries becomes an inert placeholder, any other name is
refused.
"""

import collections
import contextlib
import dataclasses
import io
import math
import os
import pathlib
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from l2g_jax.errors import InputError

_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_HEADER_BYTES = 30
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001
# Far above the structure of any network; numbers lie beside it.
_MOST_PICKLE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 24

_DTYPES = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
}
# Training leaves settings and scores of theirs in a checkpoint; weights need none of it.
_INERT_LIBRARIES = ("argparse", "collections", "numpy", "torch", "yacs")


@dataclasses.dataclass(frozen=True)
class Storage:
  """A run of numbers in the file.

  Attributes:
    key: its name in the file.
    dtype: of the numbers; None where it is none that weights have.
    size: how many there are.
  """

  key: str
  dtype: np.dtype | None
  size: int


_ReadStorage = Callable[[Storage], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor whose numbers are still in the file.

  Attributes:
    storage: where they lie.
    offset: the place of the first one in the storage.
    shape: of the tensor.
    strides: by how many numbers a step along each dimension leads.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TorchFile:
  """An open checkpoint.

  Attributes:
    content: what was saved, with a `Tensor` for every tensor.
    read: from a `Tensor` of it to its array; InputError where the file does not hold it.
  """

  content: Any
  read: Callable[[Tensor], np.ndarray]


@contextlib.contextmanager
def open_torch_file(path: os.PathLike | str) -> Iterator[TorchFile]:
  """Opens a file of `torch.save`.

  Raises:
    InputError: the file is missing, truncated, damaged, no such file, or names what no checkpoint
      needs; the message says which.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no checkpoint at {path}.")
  with path.open("rb") as file:
    try:
      is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
      file.seek(0)
      content, read_storage = _open_archive(file) if is_zip else _open_stream(file)
    except InputError as error:
      raise InputError(f"{path} is refused: {error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
      raise InputError(f"{path} is truncated or not a PyTorch checkpoint.") from error

    def read(tensor: Tensor) -> np.ndarray:
      try:
        return _build(tensor, read_storage)
      except InputError as error:
        raise InputError(f"{path} is refused: {error}.") from None
      except Exception as error:
        raise InputError(f"{path} is truncated or damaged.") from error

    yield TorchFile(content, read)


class _Inert:
  """Stands for whatever a pickle makes of a library's names, and does nothing."""

  def __new__(cls, *_, **__):
    return super().__new__(cls)

  def __init__(self, *_, **__):
    pass

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def append(self, value):
    pass

  def extend(self, values):
    pass


class _StructureUnpickler(pickle.Unpickler):
  """Builds containers and tensors, placeholders for the inert, and refuses the rest by name."""

  def __init__(self, file: BinaryIO | io.BytesIO, *, embeds: bool = False):
    super().__init__(file)
    self.storages: dict[str, Storage] = {}
    self.embedded: dict[str, bytes | np.ndarray] = {}
    self._embeds = embeds

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
      return _rebuild_tensor
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
      return _rebuild_parameter
    if (module, name) == ("torch.storage", "_load_from_bytes") and self._embeds:
      return self._embed
    if module == "torch" and name in _DTYPES:
      return _DTYPES[name]
    if module.partition(".")[0] in _INERT_LIBRARIES or (module, name) == ("_codecs", "encode"):
      return _Inert
    raise InputError(f"it asks for {module}.{name}, which no checkpoint needs")

  def persistent_load(self, pid: Any) -> Storage:
    kind, dtype, key, _, size, *view = pid
    whole = not view or view == [None]
    if kind != "storage" or not isinstance(key, str) or not _is_count(size) or not whole:
      raise InputError("it describes its tensors in a way that is not known")
    storage = Storage(key, dtype if isinstance(dtype, np.dtype) else None, size)
    if self.storages.setdefault(key, storage) != storage:
      raise InputError(f"it describes its storage {key!r} in two ways")
    return storage

  def _embed(self, content: Any) -> Storage:
    """Takes numbers out of the stream that a pickled tensor keeps them in."""
    if not isinstance(content, bytes):
      raise InputError("it describes its tensors in a way that is not known")
    storage, read = _open_stream(io.BytesIO(content))
    if not isinstance(storage, Storage):
      raise InputError("it describes its tensors in a way that is not known")
    key = f"embedded {len(self.embedded)}"
    self.embedded[key] = read(storage)
    return dataclasses.replace(storage, key=key)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
  counts = [offset, *shape, *strides]
  if (
    not isinstance(storage, Storage)
    or len(shape) != len(strides)
    or not all(map(_is_count, counts))
  ):
    raise InputError("it describes a tensor in a way that is not known")
  return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
  return tensor


def _is_count(value: Any) -> bool:
  return isinstance(value, int) and value >= 0


def _build(tensor: Tensor, read_storage: _ReadStorage) -> np.ndarray:
  storage = tensor.storage
  if storage.dtype is None:
    raise InputError("it holds a tensor of a type that weights do not have")
  last = tensor.offset + sum(
    (side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True)
  )
  if math.prod(tensor.shape) and last >= storage.size:
    raise InputError("it holds a tensor that leaves its storage")
  if math.prod(tensor.shape) > storage.size:
    raise InputError("it holds a tensor that is larger than its storage")
  values = np.frombuffer(read_storage(storage), storage.dtype)
  if len(values) != storage.size:
    raise InputError("it is truncated")
  strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(
    values[tensor.offset :], tensor.shape, strides, writeable=False
  )


def _open_archive(file: BinaryIO) -> tuple[Any, _ReadStorage]:
  archive = zipfile.ZipFile(file)
  pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise InputError("it is a zip archive, but not one of PyTorch")
  folder = pickles[0].removesuffix("data.pkl")

  def find(name: str, most: int) -> zipfile.ZipInfo:
    # PyTorch stores without compression; what inflates is no checkpoint.
    entry = archive.getinfo(folder + name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
      raise InputError(f"its entry {name} is compressed or too large")
    return entry

  def read(name: str, most: int) -> bytes:
    return archive.read(find(name, most))

  if folder + "byteorder" in archive.namelist() and read("byteorder", 16) != b"little":
    raise InputError("it was written by a big-endian machine")
  content = _StructureUnpickler(io.BytesIO(read("data.pkl", _MOST_PICKLE_BYTES))).load()

  def read_storage(storage: Storage) -> np.ndarray | bytes:
    assert storage.dtype is not None
    num_bytes = storage.size * storage.dtype.itemsize
    if not num_bytes:
      return b""
    entry = find(f"data/{storage.key}", num_bytes)
    # Numbers may be more than fits in memory.
    values = np.memmap(file, np.uint8, "r", _content_start(file, entry), entry.file_size)
    view, checksum = memoryview(values.data), 0
    for start in range(0, len(values), _CHUNK_BYTES):
      checksum = zlib.crc32(view[start : start + _CHUNK_BYTES], checksum)
    if checksum != entry.CRC:
      raise zipfile.BadZipFile
    return values

  return content, read_storage


def _content_start(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
  """Returns where an entry's bytes begin, behind a header whose two last fields vary in length."""
  file.seek(entry.header_offset)
  header = file.read(_ZIP_HEADER_BYTES)
  lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
  return entry.header_offset + _ZIP_HEADER_BYTES + lengths


def _open_stream(file: BinaryIO) -> tuple[Any, _ReadStorage]:
  first = _StructureUnpickler(file, embeds=True)
  content = first.load()
  if first.embedded:
    return content, lambda storage: first.embedded[storage.key]
  if content != _STREAM_MAGIC:
    raise InputError("it is a pickle, but not one of PyTorch")
  if _StructureUnpickler(file).load() != _STREAM_PROTOCOL:
    raise InputError("its format is not known")
  if _StructureUnpickler(file).load().get("little_endian") is not True:
    raise InputError("it was written by a big-endian machine")
  unpickler = _StructureUnpickler(file)
  content = unpickler.load()
  places = {}
  for key in _StructureUnpickler(file).load():
    storage = unpickler.storages[key]
    if storage.dtype is None:
      raise InputError("it holds a tensor of a type that weights do not have")
    if int.from_bytes(file.read(8), "little") != storage.size:
      raise InputError("it is truncated or damaged")
    places[key] = file.tell()
    file.seek(storage.size * storage.dtype.itemsize, os.SEEK_CUR)

  def read_storage(storage: Storage) -> bytes:
    assert storage.dtype is not None
    file.seek(places[storage.key])
    return file.read(storage.size * storage.dtype.itemsize)

  return content, read_storage

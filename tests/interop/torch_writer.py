"""Files as `torch.save` writes them, without PyTorch."""

import dataclasses
import io
import os
import pathlib
import pickle
import zipfile
from typing import Any

import numpy as np

_STORAGES = {
  "float64": "Double",
  "float32": "Float",
  "float16": "Half",
  "bfloat16": "BFloat16",
  "int64": "Long",
  "int32": "Int",
  "int8": "Char",
  "uint8": "Byte",
  "bool": "Bool",
  "complex64": "ComplexFloat",
}


@dataclasses.dataclass(frozen=True)
class Global:
  """Something that a pickle names, which need not exist."""

  module: str
  name: str

  def __call__(self):
    raise AssertionError("Pickle names a function by its text, and does not call it.")


@dataclasses.dataclass(eq=False)
class Called:
  """What a pickle asks to call."""

  function: Global
  arguments: tuple


@dataclasses.dataclass(eq=False)
class View:
  """A tensor that is a part of its storage."""

  storage: np.ndarray
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


# The one in Python, whose methods can be replaced; no checker knows them.
_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):
  """Writes arrays as tensors; numbers go beside the pickle, as `storages`."""

  def __init__(self, file: io.BytesIO, *, stream: bool):
    super().__init__(file, protocol=2)
    self.storages: dict[str, np.ndarray] = {}
    self._stream = stream

  def persistent_id(self, obj: Any) -> Any:
    if not isinstance(obj, Storage):
      return None
    key = next((key for key, seen in self.storages.items() if seen is obj.values), None)
    key = key or str(len(self.storages))
    self.storages[key] = obj.values
    name = f"{_STORAGES[obj.values.dtype.name]}Storage"
    pid = ("storage", Global("torch", name), key, "cpu", obj.values.size)
    return (*pid, obj.view) if self._stream else pid

  def save(self, obj: Any, save_persistent_id: bool = True) -> None:
    if isinstance(obj, Global):
      self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
    elif isinstance(obj, Called):
      self.save_reduce(obj.function, obj.arguments)
    elif isinstance(obj, np.ndarray):
      strides = tuple(int(stride) // obj.itemsize for stride in obj.strides)
      self.save(View(obj.ravel(), 0, obj.shape, strides))
    elif isinstance(obj, View):
      rest = (obj.offset, obj.shape, obj.strides, False, {})
      rebuild = Global("torch._utils", "_rebuild_tensor_v2")
      self.save_reduce(rebuild, (Storage(obj.storage), *rest))
    else:
      super().save(obj, save_persistent_id)


@dataclasses.dataclass(eq=False)
class Storage:
  """Numbers of tensors; `view` is (name, start, count) of a part that old files name apart."""

  values: np.ndarray
  view: tuple[str, int, int] | None = None


def write_archive(path: os.PathLike | str, content: Any, **changes: Any) -> pathlib.Path:
  """Writes a zip archive, as PyTorch since 1.6.

  Args:
    path: of the file.
    content: with arrays for tensors.
    changes: bytes of entries by name, `data.pkl` as `data_pkl`; None leaves an entry out.
      `compression` is that of the archive.
  """
  path = pathlib.Path(path)
  file = io.BytesIO()
  pickler = _Pickler(file, stream=False)
  pickler.dump(content)
  entries: dict[str, Any] = {"data_pkl": file.getvalue(), "byteorder": b"little"}
  entries |= {f"data/{key}": values.tobytes() for key, values in pickler.storages.items()}
  compression = changes.pop("compression", zipfile.ZIP_STORED)
  entries |= {"version": b"3\n", **changes}
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, values in entries.items():
      if values is not None:
        archive.writestr(f"{path.stem}/{name.replace('_', '.')}", values)
  return path


def write_stream(path: os.PathLike | str, content: Any) -> pathlib.Path:
  """Writes one stream, as PyTorch before 1.6."""
  path = pathlib.Path(path)
  file = io.BytesIO()
  for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
    pickle.dump(part, file, protocol=2)
  pickler = _Pickler(file, stream=True)
  pickler.dump(content)
  keys = sorted(pickler.storages)
  pickle.dump(keys, file, protocol=2)
  for key in keys:
    values = pickler.storages[key]
    file.write(values.size.to_bytes(8, "little") + values.tobytes())
  path.write_bytes(file.getvalue())
  return path


def write_pickle(path: os.PathLike | str, values: np.ndarray) -> pathlib.Path:
  """Writes a tensor as `pickle.dump` does: with a stream of its numbers within."""
  path = write_stream(path, Storage(values.ravel()))
  load = Called(Global("torch.storage", "_load_from_bytes"), (path.read_bytes(),))
  strides = tuple(int(stride) // values.itemsize for stride in values.strides)
  rebuild = Global("torch._utils", "_rebuild_tensor_v2")
  file = io.BytesIO()
  pickler = _Pickler(file, stream=True)
  pickler.proto = pickle.DEFAULT_PROTOCOL
  pickler.dump(Called(rebuild, (load, 0, values.shape, strides, False, {})))
  path.write_bytes(file.getvalue())
  return path

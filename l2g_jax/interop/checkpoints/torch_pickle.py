"""The pickle in a file of `torch.save`, read for its tensors.

Training leaves paths, dates, settings and scores beside the weights: they become names and
placeholders. No name is ever called, so none could do harm. Names that run programs or code are
refused all the same: no honest checkpoint holds them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.tensors import (
  BFLOAT16,
  FLOATS_OF_8_BITS,
  ElementType,
  Storage,
  Tensor,
  is_count,
  known_type,
  make_tensor,
)
from l2g_jax.runtime import pickles

_STORAGES = {
  "DoubleStorage": known_type("<f8"),
  "FloatStorage": known_type("<f4"),
  "HalfStorage": known_type("<f2"),
  "BFloat16Storage": BFLOAT16,
  "LongStorage": known_type("<i8"),
  "IntStorage": known_type("<i4"),
  "ShortStorage": ElementType(2),
  "CharStorage": ElementType(1),
  "ByteStorage": ElementType(1),
  "BoolStorage": ElementType(1),
  "ComplexFloatStorage": ElementType(8),
  "ComplexDoubleStorage": ElementType(16),
  "QInt8Storage": ElementType(1),
  "QUInt8Storage": ElementType(1),
  "QInt32Storage": ElementType(4),
  "QUInt4x2Storage": ElementType(1),
  "QUInt2x4Storage": ElementType(1),
}
_BYTES = ElementType(1)
_HOSTILE_MODULES = {
  "_posixsubprocess",
  "bdb",
  "ctypes",
  "importlib",
  "importlib._bootstrap",
  "marshal",
  "nt",
  "os",
  "pdb",
  "pickle",
  "popen2",
  "posix",
  "pty",
  "runpy",
  "shutil",
  "socket",
  "subprocess",
  "sys",
  "timeit",
  "urllib.request",
  "urllib2",
  "webbrowser",
}
_HOSTILE_BUILTINS = {
  "__import__",
  "apply",
  "breakpoint",
  "compile",
  "delattr",
  "eval",
  "exec",
  "execfile",
  "exit",
  "file",
  "input",
  "open",
  "quit",
  "raw_input",
  "reload",
  "setattr",
}

# Returns the storage that a stream holds, and the reader of its bytes.
OpenEmbedded = Callable[[bytes], tuple[Any, Any]]


class TensorPickles:
  """Reads the pickles of one file.

  Attributes:
    storages: the storages that the pickles name, by key.
    embedded: the bytes of storages within the pickle itself, by key.
  """

  def __init__(self, open_embedded: OpenEmbedded | None = None):
    """Takes the reader of storages within the pickle; None = such storages are refused."""
    self.storages: dict[str, Storage] = {}
    self.embedded: dict[str, bytes | memoryview] = {}
    self._open_embedded = open_embedded

  def read(self, buffer: pickles.Buffer, start: int = 0) -> tuple[Any, int]:
    """Reads a pickle as `pickles.read_pickle` does, with a `Tensor` for every tensor."""
    return pickles.read_pickle(
      buffer, start, resolve=self._resolve, load_persistent=self._load_storage
    )

  def _resolve(self, name: pickles.Name) -> Any:
    if name in _KNOWN:
      return _KNOWN[name]
    if name == pickles.Name("torch.storage", "_load_from_bytes") and self._open_embedded:
      return pickles.Builder(self._embed)
    builtin = name.module in ("builtins", "__builtin__") and name.name in _HOSTILE_BUILTINS
    if builtin or name.module in _HOSTILE_MODULES:
      raise InputError(f"it asks for {name}, which no checkpoint needs")
    return name

  def _load_storage(self, identifier: Any) -> Storage:
    kind, element, key, _, size, *view = identifier
    if (
      kind != "storage"
      or not isinstance(element, ElementType)
      or not isinstance(key, str)
      or not is_count(size)
    ):
      raise InputError("it describes its tensors in a way that is not known")
    storage = Storage(key, element, size)
    if self.storages.setdefault(key, storage) != storage:
      raise InputError(f"it describes its storage {key!r} in two ways")
    return _part(storage, view[0]) if view and view[0] is not None else storage

  def _embed(self, content: Any) -> Storage:
    """Opens the stream in which a pickled tensor keeps its numbers."""
    assert self._open_embedded is not None
    storage, read = self._open_embedded(pickles.text_bytes(content))
    if not isinstance(storage, Storage):
      raise InputError("it describes its tensors in a way that is not known")
    key = f"embedded {len(self.embedded)}"
    self.embedded[key] = read(storage)
    return dataclasses.replace(storage, key=key)


def _part(storage: Storage, view: Any) -> Storage:
  """Returns the part of a storage that the oldest files call a storage of its own."""
  _, start, size = view
  if not is_count(start) or not is_count(size) or start + size > storage.size:
    raise InputError("it describes its tensors in a way that is not known")
  return dataclasses.replace(storage, start=start, size=size)


def _rebuild_tensor(
  storage: Any, offset: Any, shape: Any, strides: Any, _grad=None, _hooks=None, state: Any = None
) -> Tensor:
  tensor = make_tensor(storage, offset, shape, strides)
  # A state says that the numbers are stored negated or conjugated.
  return _as_type(tensor, ElementType(storage.type.itemsize)) if state else tensor


def _rebuild_typed_tensor(
  storage: Any,
  offset: Any,
  shape: Any,
  strides: Any,
  _grad: Any,
  _hooks: Any,
  dtype: Any,
  state: Any = None,
) -> Tensor:
  """Returns a tensor that has a type of its own over a storage of bytes."""
  tensor = make_tensor(storage, offset, shape, strides)
  element = FLOATS_OF_8_BITS.get(getattr(dtype, "name", ""))
  known = element is not None and storage.type == _BYTES and not state
  return _as_type(tensor, element) if known and element is not None else tensor


def _as_type(tensor: Tensor, element: ElementType) -> Tensor:
  return dataclasses.replace(tensor, storage=dataclasses.replace(tensor.storage, type=element))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
  return tensor


def _rebuild_subclass(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
  known = isinstance(function, pickles.Builder)
  return function.build(*arguments) if known else pickles.Placeholder()


_KNOWN: dict[pickles.Name, Any] = {
  **pickles.CONTAINERS,
  **{pickles.Name("torch", name): element for name, element in _STORAGES.items()},
  pickles.Name("torch.storage", "UntypedStorage"): _BYTES,
  **{
    pickles.Name(module, name): pickles.Builder(function)
    for module, name, function in (
      ("torch._utils", "_rebuild_tensor", _rebuild_tensor),
      ("torch._utils", "_rebuild_tensor_v2", _rebuild_tensor),
      ("torch._utils", "_rebuild_tensor_v3", _rebuild_typed_tensor),
      ("torch._utils", "_rebuild_parameter", _rebuild_parameter),
      ("torch._utils", "_rebuild_parameter_with_state", _rebuild_parameter),
      ("torch._tensor", "_rebuild_from_type_v2", _rebuild_subclass),
    )
  },
}

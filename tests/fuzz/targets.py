"""What is fuzzed: for each parser, how it is called with some bytes, and bytes to begin with."""

import dataclasses
import importlib
import io
import itertools
import json
import pathlib
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import safetensors.numpy
import scipy.io
from PIL import Image

from l2g_jax.data import ground_truth
from l2g_jax.data.images import read_image
from l2g_jax.errors import InputError
from l2g_jax.features import weights
from l2g_jax.interop import ames, cann, folder, matlab, tensor
from l2g_jax.interop.checkpoints import conversion, torch_file
from l2g_jax.runtime import arrays
from tests.fuzz import stores
from tests.interop import torch_writer

Run = Callable[[pathlib.Path], Any]

_NAMES = ("a", "b", "c")
_LISTS = (b"a.bin\nb.bin\r\nc.bin\n", b"\xef\xbb\xbfa\n")
_RESULTS = (b"q, a, 0.5\nr, b, 1e-3\n", "q, caf\u00e9, 1\n".encode("utf-16"))
_STREAM_START = b"".join(
  pickle.dumps(part, protocol=2)
  for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
)


@dataclasses.dataclass(frozen=True)
class Target:
  """A parser.

  Attributes:
    suffix: of the file that it is given.
    run: calls it with that file; may raise InputError and nothing else.
    seeds: contents to begin with.
    wraps: what is done to the content after its first byte, which says which; the content as it is
      where there are none. It reaches what lies behind checksums and compression.
    most_bytes: of memory that a call may take beside what is there already.
  """

  suffix: str
  run: Run
  seeds: Callable[[], Iterable[bytes]]
  wraps: tuple[Callable[[bytes], bytes], ...] = ()
  most_bytes: int = 256 << 20

  def file_content(self, content: bytes) -> bytes:
    """Returns what the file holds."""
    if not self.wraps:
      return content
    number, content = (content[0], content[1:]) if content else (0, b"")
    return self.wraps[number % len(self.wraps)](content)


def call(target: Target, content: bytes, folder: pathlib.Path) -> None:
  """Calls a parser with some bytes; what it refuses in a sentence is as it should be."""
  path = folder / f"input{target.suffix}"
  path.write_bytes(target.file_content(content))
  try:
    target.run(path)
  except InputError as error:
    refuse_hidden(error)


def refuse_hidden(error: BaseException | None) -> None:
  """Raises AssertionError where memory ran out behind an error."""
  while error is not None:
    if isinstance(error, MemoryError):
      raise AssertionError("a parser asked for too much memory") from error
    error = error.__cause__ or error.__context__


def _as_it_is(content: bytes) -> bytes:
  return content


def _zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as archive:
    for name, content in entries.items():
      archive.writestr(name, content)
  return file.getvalue()


def _torch_archive(content: bytes) -> bytes:
  numbers = {f"x/data/{key}": np.arange(24, dtype=np.float32).tobytes() for key in range(3)}
  return _zip({"x/data.pkl": content, "x/byteorder": b"little", **numbers})


def _torch_stream(content: bytes) -> bytes:
  return _STREAM_START + content


def _read_checkpoint(path: pathlib.Path) -> None:
  with torch_file.open_torch_file(path) as file:
    values = file.content.values() if isinstance(file.content, dict) else [file.content]
    for value in itertools.islice(values, 20):
      if isinstance(value, torch_file.Tensor):
        try:
          file.read(value).sum()
        except InputError as error:
          refuse_hidden(error)
  conversion.convert("fire", path, path.with_name("output.safetensors"))


def _checkpoint_seeds() -> Iterator[bytes]:
  values = np.arange(24, dtype=np.float32)
  state = {"weight": values.reshape(4, 6), "count": np.array(7), "mask": np.zeros(3, np.uint8)}
  contents: list[Any] = [values, {"state_dict": state, "epoch": 3}, {"x": {1, 2}, "y": (b"", 2.5)}]
  with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name) / "x.pth"
    for content in contents:
      whole = torch_writer.write_archive(path, content)
      yield b"\0" + whole.read_bytes()
      with zipfile.ZipFile(whole) as archive:
        yield b"\1" + archive.read("x/data.pkl")
      stream = torch_writer.write_stream(path, content).read_bytes()
      yield b"\0" + stream
      yield b"\2" + stream.removeprefix(_STREAM_START)
    yield b"\0" + torch_writer.write_pickle(path, values).read_bytes()
  yield b"\0" + safetensors.numpy.save({"a": values, "b": values.reshape(4, 6)})


_ENTRY = {"bbx": [0.0, 1.0, 5.0, 6.5], "easy": [2, 0], "hard": [], "junk": [1]}
_GROUND_TRUTH = {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": [_ENTRY]}


def _pickle_seeds() -> Iterator[bytes]:
  ids = np.array([2, 0])
  names = np.array(["a", "b", "c"])
  entries = [_ENTRY, {**_ENTRY, "easy": ids, "hard": {np.int32(1)}, "junk": frozenset()}]
  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    for entry in entries:
      for imlist in (["a", "b", "c"], names, names.astype(object), names.astype("S1")):
        content = {**_GROUND_TRUTH, "imlist": imlist, "gnd": [entry]}
        yield pickle.dumps(content, protocol=protocol)


def _json_seeds() -> Iterator[bytes]:
  for encoding in ("utf-8", "utf-8-sig", "utf-16"):
    yield json.dumps(_GROUND_TRUTH, ensure_ascii=False).encode(encoding)


def _read_list(path: pathlib.Path) -> None:
  cann.open_local(path, _NAMES, dimension=4)


def _read_results(path: pathlib.Path) -> None:
  cann.read_results(path, ["q", "r"], _NAMES)


def _array_seeds() -> Iterator[bytes]:
  values = np.arange(12, dtype=np.float32).reshape(3, 4)
  for array in (values, values.T, values.astype(">f8"), values[:0], values.astype(np.uint8)):
    file = io.BytesIO()
    np.save(file, array)
    yield file.getvalue()


def _read_array(path: pathlib.Path) -> None:
  arrays.as_float32(tensor.read_tensor(path)).sum()


def _read_folder(path: pathlib.Path) -> None:
  folder.open_local(path.parent, ["input"]).read(0)


def _read_archived(path: pathlib.Path) -> None:
  arrays.as_float32(arrays.read_archived(path, "database"))


def _npz_seeds() -> Iterator[bytes]:
  for content in _array_seeds():
    for number in range(3):
      yield bytes([number]) + (_zip({"database.npy": content}) if number == 0 else content)


def _matlab_seeds() -> Iterator[bytes]:
  values = np.arange(12, dtype=np.float64).reshape(3, 4)
  for variables in ({"X": values}, {"Q": [1], "X": values.astype(np.float32)}, {"X": [[1j]]}):
    for version, compress in (("4", False), ("5", True), ("5", False)):
      file = io.BytesIO()
      scipy.io.savemat(file, variables, format=version, do_compression=compress)
      yield b"\0" + file.getvalue()
    yield b"\1" + file.getvalue()[128:]


def _matlab_compressed(content: bytes) -> bytes:
  packed = zlib.compress(content)
  start = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + (15).to_bytes(4, "little")
  return start + len(packed).to_bytes(4, "little") + packed


def _hdf5_seeds() -> Iterator[bytes]:
  h5py: Any = importlib.import_module("h5py")
  values = np.zeros((3, 4, 11), np.float32)
  for options in ({}, {"chunks": (1, 4, 11)}, {"compression": "gzip"}, {"shuffle": True}):
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
      made.create_dataset("features", data=values, **options)
    yield file.getvalue()


def _read_hdf5(path: pathlib.Path) -> None:
  source = ames.open_local(path, _NAMES)
  for index in range(3):
    source.read(index)


def _neighbor_seeds() -> Iterator[bytes]:
  values = np.array([[[0.9, 0.8]], [[4, 0]]], np.float32)
  with tempfile.TemporaryDirectory() as name:
    yield torch_writer.write_pickle(pathlib.Path(name) / "x.pkl", values).read_bytes()
    yield torch_writer.write_archive(pathlib.Path(name) / "x.pkl", values).read_bytes()


def _weight_seeds() -> Iterator[bytes]:
  values = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(1, np.float32)}
  with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name) / "x.safetensors"
    weights.save_weights(path, values, {"model": "fire"})
    yield path.read_bytes()


def _image_seeds() -> Iterator[bytes]:
  pixels = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
  for mode, kind in itertools.product(("RGB", "L", "P", "RGBA", "I;16"), ("PNG", "TIFF", "GIF")):
    file = io.BytesIO()
    try:
      image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
      image.convert("I").convert(mode).save(file, kind) if mode == "I;16" else image.save(
        file, kind
      )
    except (OSError, ValueError):
      continue
    yield file.getvalue()
  for kind in ("JPEG", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF", "ICO", "TGA"):
    file = io.BytesIO()
    try:
      Image.fromarray(pixels).save(file, kind)
    except (OSError, KeyError):
      continue
    yield file.getvalue()


TARGETS = {
  "checkpoint": Target(
    ".pth", _read_checkpoint, _checkpoint_seeds, (_as_it_is, _torch_archive, _torch_stream)
  ),
  "ground_truth_pickle": Target(".pkl", ground_truth.load_ground_truth, _pickle_seeds),
  "ground_truth_json": Target(".json", ground_truth.load_ground_truth, _json_seeds),
  "index": Target("", stores.open_index, stores.index_seeds, most_bytes=1 << 30),
  "store": Target("", stores.open_store, stores.store_seeds),
  "images": Target(".img", read_image, _image_seeds, most_bytes=2 << 30),
  "hdf5": Target(".hdf5", _read_hdf5, _hdf5_seeds),
  "neighbors": Target(".pkl", lambda path: ames.read_neighbors(path, 1, 9), _neighbor_seeds),
  "matlab": Target(
    ".mat",
    lambda path: matlab.read_matrix(path, "X"),
    _matlab_seeds,
    (_as_it_is, _matlab_compressed),
  ),
  "npy": Target(".npy", _read_array, _array_seeds),
  "npy_folder": Target(".npy", _read_folder, _array_seeds),
  "npz": Target(
    ".npz",
    _read_archived,
    _npz_seeds,
    (
      _as_it_is,
      lambda content: _zip({"database.npy": content}),
      lambda content: _zip({"database.npy": content}, zipfile.ZIP_DEFLATED),
    ),
  ),
  "cann_list": Target(".txt", _read_list, lambda: [b"a.bin\nb.bin\r\nc.bin\n", b"\xef\xbb\xbfa\n"]),
  "cann_results": Target(
    ".txt",
    _read_results,
    lambda: [b"q, a, 0.5\nr, b, 1e-3\n", "q, caf\u00e9, 1\n".encode("utf-16")],
  ),
  "cann_descriptors": Target(
    ".bin", lambda path: cann.read_descriptors(path, dimension=4), lambda: [bytes(32), b"x"]
  ),
  "weights": Target(
    ".safetensors", lambda path: weights.load_weights(path, model="fire"), _weight_seeds
  ),
}

"""An index and a feature store of which one file is replaced, with checksums that fit again."""

import atexit
import functools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np

from l2g_jax.cann import CannIndex
from l2g_jax.features import LocalFeatures, store
from l2g_jax.runtime import files

_DIMENSION = 16


@functools.cache
def _folder() -> pathlib.Path:
  name = tempfile.mkdtemp(prefix="fuzz-")
  atexit.register(shutil.rmtree, name, ignore_errors=True)
  return pathlib.Path(name)


def _random(count: int, seed: int) -> np.ndarray:
  values = np.random.default_rng(seed).standard_normal((count, _DIMENSION)).astype(np.float32)
  return values / np.linalg.norm(values, axis=1, keepdims=True)


@functools.cache
def _index() -> pathlib.Path:
  root = _folder() / "index"
  index = CannIndex.build(root, [(f"image {i}", _random(20, i)) for i in range(12)])
  index.add([("more", _random(9, 99))]).remove(["image 3"])
  return root


@functools.cache
def _store() -> pathlib.Path:
  root = _folder() / "store"
  one = np.ones(3, np.float32)
  features = [
    LocalFeatures(_random(3, i), np.zeros((3, 2), np.float32), one, one) for i in range(2)
  ]
  for part, precision in enumerate(("float16", "int8")):
    names = [f"{part}{name}" for name in "ab"]
    store.save_part(
      root,
      part,
      key=str(part),
      names=names,
      features=features,
      dimension=_DIMENSION,
      precision=precision,
    )
  store.finish(root, keys=["0", "1"])
  return root


def _members(root: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in root.rglob("*") if path.suffix in (".json", ".npy"))


def _seeds(root: pathlib.Path) -> Iterator[bytes]:
  """Yields each file, behind its number and whether checksums are made to fit."""
  members = _members(root)
  yield bytes([0, 0]) + members[0].read_bytes()
  for number, path in enumerate(members):
    yield bytes([number, 1]) + path.read_bytes()


def index_seeds() -> Iterator[bytes]:
  """Yields contents for `open_index`."""
  return _seeds(_index())


def store_seeds() -> Iterator[bytes]:
  """Yields contents for `open_store`."""
  return _seeds(_store())


def copy_of_index(copy: pathlib.Path) -> pathlib.Path:
  """Returns a copy of an index of two segments, one image of which was removed."""
  return pathlib.Path(shutil.copytree(_index(), copy))


def copy_of_store(copy: pathlib.Path) -> pathlib.Path:
  """Returns a copy of a store of two parts."""
  return pathlib.Path(shutil.copytree(_store(), copy))


def _replaced(root: pathlib.Path, content: bytes, copy: pathlib.Path) -> None:
  """Copies a folder with one of its files replaced."""
  shutil.rmtree(copy, ignore_errors=True)
  shutil.copytree(root, copy)
  if len(content) < 2:
    return
  members = _members(copy)
  path = members[content[0] % len(members)]
  path.write_bytes(content[2:])
  if content[1] % 2:
    fit_checksums(path)


def fit_checksums(path: pathlib.Path) -> None:
  """Makes the checksums of an altered file, be it an array or a manifest, fit again."""
  try:
    if path.suffix == ".json":
      manifest = json.loads(path.read_bytes())
      manifest.pop("checksum", None)
      files.write_manifest(path, manifest)
    else:
      manifest = files.read_manifest(path.parent / "manifest.json")
      state = {"bytes": path.stat().st_size, "checksum": files.checksum_file(path)}
      manifest["files"][path.name] = state
      files.write_manifest(path.parent / "manifest.json", manifest)
  except (ValueError, AttributeError, RecursionError, TypeError):
    pass  # No JSON, or none that can have a checksum.


def open_index(path: pathlib.Path) -> None:
  """Opens an index with a file that `path` replaces, and searches it."""
  copy = path.parent / "index"
  _replaced(_index(), path.read_bytes(), copy)
  index = CannIndex.open(copy, verify=True)
  index.search(_random(4, 7), 5)
  index.search(_random(4, 7), 5, num_probes=10**6, rescoring_depth=1)


def open_store(path: pathlib.Path) -> None:
  """Opens a store with a file that `path` replaces, and reads all of it."""
  copy = path.parent / "store"
  _replaced(_store(), path.read_bytes(), copy)
  features = store.open_store(copy)
  features.counts()
  for number in range(len(features)):
    features[number].descriptors.sum()

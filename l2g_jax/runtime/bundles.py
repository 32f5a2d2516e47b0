"""Bundles: arrays of NumPy in a folder, with their checksums.

A bundle is a folder of `.npy` files beside a `manifest.json` that names its kind, its version and
the size and checksum of every file. It appears under its name once it is complete. A replacement
brings files of new names first, then the manifest in one step; the old files go last.

One safetensors file would need a single rename, but bundles of every release must be read for ever:
it would be a second format beside this one, without checksums.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.runtime import digests
from l2g_jax.runtime.arrays import read_array
from l2g_jax.runtime.atomic import sync_directory, workplace, writing
from l2g_jax.runtime.manifests import MANIFEST, manifest_text, read_manifest, try_manifest
from l2g_jax.runtime.removal import array_names, holds_arrays_alone, is_of_arrays

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Bundle:
  """A bundle that is open.

  Attributes:
    arrays: memory-mapped read-only arrays by name.
    metadata: the JSON object beside them.
  """

  arrays: Mapping[str, np.ndarray]
  metadata: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Stream:
  """An array for `save_bundle` that comes in blocks, for want of memory.

  Attributes:
    shape: the shape of the whole array.
    dtype: the dtype of the array.
    blocks: consecutive parts along the first axis.
  """

  shape: tuple[int, ...]
  dtype: Any
  blocks: Iterable[np.ndarray]


def save_bundle(
  directory: os.PathLike | str,
  *,
  kind: str,
  version: int,
  arrays: Mapping[str, np.ndarray | Stream],
  metadata: Mapping[str, Any],
) -> None:
  """Writes arrays and metadata as a bundle, which appears whole or not at all.

  Args:
    directory: the folder of the bundle; an older bundle there is replaced.
    kind: names the content, such as `l2g_jax.features`; `load_bundle` insists on it.
    version: the version of the kind's layout.
    arrays: arrays of plain dtypes, by name.
    metadata: a JSON object.

  Raises:
    OSError: the disk is full or can't be written; the message names the bundle.
  """
  target = pathlib.Path(os.path.realpath(directory))
  with writing(target), workplace(target) as folder:
    fresh = folder / target.name
    fresh.mkdir()
    replaced = target.exists()
    known = _known_arrays(target, set(arrays)) if replaced else set()
    number = next(
      number
      for number in itertools.count()
      if not any((target / _file_name(name, number)).exists() for name in arrays)
    )
    entries = {}
    for name, array in arrays.items():
      file = _file_name(name, number)
      entries[file] = _write_array(fresh / file, array)
      if number:
        entries[file]["array"] = name
    body = {"kind": kind, "version": version, "files": entries, "metadata": dict(metadata)}
    _write_synced(fresh / MANIFEST, [manifest_text(body).encode()])
    if replaced:
      try:
        for file in entries:
          (fresh / file).rename(target / file)
        sync_directory(target)
        (fresh / MANIFEST).replace(target / MANIFEST)
        sync_directory(target)
      finally:
        _remove_unnamed(target, known)
    else:
      sync_directory(fresh)
      fresh.rename(target)
      sync_directory(target.parent)


def _file_name(array: str, number: int) -> str:
  """Returns the name of an array's file; each replacement of a bundle has another number."""
  return f"{array}.{number}.npy" if number else f"{array}.npy"


def _known_arrays(directory: pathlib.Path, arrays: set[str]) -> set[str]:
  """Returns the names of these arrays and of those in the bundle that they replace.

  Raises:
    InputError: the folder is neither a bundle, intact or damaged, nor empty.
  """
  path = directory / MANIFEST
  manifest = try_manifest(path)
  known = arrays | (array_names(manifest) if manifest is not None else set())
  if path.exists():
    ours = (manifest is not None or _is_damaged(path)) and holds_arrays_alone(directory, known)
  else:
    ours = directory.is_dir() and not any(directory.iterdir())
  if not ours:
    raise InputError(f"{directory} holds what is no bundle of ours; move it or give another name.")
  return known


def _is_damaged(path: pathlib.Path) -> bool:
  """Whether a file is a damaged manifest: it has its keys or first line, or zeros alone."""
  content, start = path.read_bytes(), b'{\n  "checksum": "'
  try:
    value = json.loads(content)
  except ValueError:
    return not content.strip(b"\0") or content[: len(start)] == start[: len(content)]
  return isinstance(value, dict) and value.keys() >= {"kind", "files", "checksum"}


def _remove_unnamed(directory: pathlib.Path, arrays: set[str]) -> None:
  """Removes the files of these arrays that the manifest of a bundle does not name."""
  manifest = try_manifest(directory / MANIFEST)
  if manifest is None:
    return
  for file in directory.iterdir():
    if file.name not in manifest["files"] and is_of_arrays(file, arrays):
      # A file in use may be locked; the next replacement removes it.
      with contextlib.suppress(OSError):
        file.unlink()


def _write_array(path: pathlib.Path, array: np.ndarray | Stream) -> dict[str, Any]:
  """Writes an array as a `.npy` file, synced; returns its size and checksum."""
  if isinstance(array, np.ndarray):
    array = Stream(array.shape, array.dtype, [array])
  dtype = np.dtype(array.dtype)
  if dtype.hasobject:
    raise ValueError(f"Object arrays can't be written: {path.name}.")
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header,
    {
      "descr": np.lib.format.dtype_to_descr(dtype),
      "fortran_order": False,
      "shape": array.shape,
    },
  )
  blocks = (np.ascontiguousarray(part).reshape(-1).view(np.uint8).data for part in array.blocks)
  entry = _write_synced(path, itertools.chain([header.getvalue()], blocks))
  expected = len(header.getvalue()) + math.prod(array.shape) * dtype.itemsize
  if entry["bytes"] != expected:
    raise ValueError(f"The parts of {path.name} have {entry['bytes']} bytes, not {expected}.")
  return entry


def _write_synced(path: pathlib.Path, chunks: Iterable[bytes | memoryview]) -> dict[str, Any]:
  """Writes a file that nobody reads yet, and syncs it; returns its size and checksum."""
  digest = digests.new_digest()
  with open(path, "wb") as file:
    for chunk in chunks:
      digest.update(chunk)
      file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    return {"bytes": file.tell(), "checksum": digest.hexdigest()}


def load_bundle(
  directory: os.PathLike | str, *, kind: str, version: int, verify: bool = False
) -> Bundle:
  """Opens a bundle by memory map; if it is replaced meanwhile, the new one.

  Args:
    directory: the folder of the bundle.
    kind: the kind that it must have.
    version: the version that it must have.
    verify: whether to read every file and compare its checksum; sizes are always compared.

  Returns:
    The `Bundle`.

  Raises:
    InputError: the bundle is missing or of another kind or version, or one of its files is missing,
      truncated or altered; the message names the file.
  """
  root = pathlib.Path(directory)

  def read() -> Bundle:
    manifest = _read_bundle_manifest(root)
    if manifest["kind"] != kind:
      raise InputError(f"{root} holds {manifest['kind']!r}, not {kind!r}.")
    if manifest["version"] != version:
      way_out = "remove it to have it made again"
      if manifest["version"] > version:
        way_out = "install a newer l2g_jax"
      raise InputError(
        f"{root} has version {manifest['version']} of {kind}; this program reads version"
        f" {version}; {way_out}."
      )
    arrays = {
      entry.get("array", pathlib.PurePath(file).stem): _open_array(root, file, entry, verify=verify)
      for file, entry in manifest["files"].items()
    }
    return Bundle(arrays=arrays, metadata=manifest["metadata"])

  return _while_unchanged(root / MANIFEST, read)


def verify_bundle(directory: os.PathLike | str) -> None:
  """Compares the checksums of a bundle of any kind; InputError names a damaged file."""
  root = pathlib.Path(directory)

  def read() -> None:
    for file, entry in _read_bundle_manifest(root)["files"].items():
      _open_array(root, file, entry, verify=True)

  _while_unchanged(root / MANIFEST, read)


def _while_unchanged(path: pathlib.Path, read: Callable[[], T]) -> T:
  """Calls `read`, again if the file at `path` changed meanwhile; returns or raises as it does."""
  while True:
    before = _content(path)
    try:
      result = read()
    except InputError:
      if _content(path) == before:
        raise
    else:
      if _content(path) == before:
        return result


def _content(path: pathlib.Path) -> bytes | None:
  try:
    return path.read_bytes()
  except FileNotFoundError:
    return None


def _read_bundle_manifest(root: pathlib.Path) -> dict[str, Any]:
  manifest = read_manifest(root / MANIFEST)
  entries = manifest.get("files")
  if (
    not manifest.keys() >= {"kind", "version", "files", "metadata"}
    or not isinstance(manifest["version"], int)
    or not isinstance(manifest["metadata"], dict)
    or not isinstance(entries, dict)
    or not all(
      isinstance(entry, dict) and entry.keys() >= {"bytes", "checksum"}
      for entry in entries.values()
    )
    or not all(isinstance(entry.get("array", ""), str) for entry in entries.values())
  ):
    raise InputError(f"{root / MANIFEST} is no manifest of a bundle.")
  return manifest


def _open_array(
  root: pathlib.Path, file: str, entry: Mapping[str, Any], *, verify: bool
) -> np.ndarray:
  """Compares a file of a bundle with its entry in the manifest, and opens it by memory map."""
  path = root / file
  if path.parent != root or path.suffix != ".npy":
    raise InputError(f"{root / MANIFEST} names a file outside its directory: {file!r}.")
  way_out = f"remove {root} to have it made again"
  try:
    size = path.stat().st_size
    altered = verify and digests.checksum_file(path) != entry["checksum"]
  except FileNotFoundError as error:
    raise InputError(f"{path} is missing; {way_out}.") from error
  if size != entry["bytes"]:
    raise InputError(f"{path} is truncated; {way_out}.")
  if altered:
    raise InputError(f"{path} was altered; {way_out}.")
  try:
    return read_array(path)
  except InputError as error:
    raise InputError(f"{path} was altered; {way_out}.") from error

"""Bundles of arrays with checksums, and the removal of what is ours; see also `atomic`.

A bundle is a directory of `.npy` files beside a `manifest.json` that names its kind, its version
and the size and checksum of every file. It appears under its name only once all of it is on disk.
Where a bundle is replaced, new files of other names come first, then the manifest in one step, and
the old files go last.

Whatever the library removes, it removes here, where a manifest with its own checksum proves that it
is ours, see `remove_ours`; or it has made it itself in the same call. Links are never followed.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.runtime.arrays import read_array
from l2g_jax.runtime.atomic import (
  LOCK,
  atomic_path,
  checksum_file,
  checksum_json,
  locked,
  manifest_text,
  read_manifest,
  sync_directory,
  target_of,
  workplace,
  write_json,
  write_manifest,
  writing,
)

try:
  import resource
except ImportError:  # Windows has no such limit
  resource = None

__all__ = [
  "LOCK",
  "MANIFEST",
  "Bundle",
  "Stream",
  "allow_open_files",
  "atomic_path",
  "checksum_file",
  "checksum_json",
  "load_bundle",
  "locked",
  "read_manifest",
  "remove_leftovers",
  "remove_ours",
  "save_bundle",
  "sync_directory",
  "target_of",
  "verify_bundle",
  "workplace",
  "write_json",
  "write_manifest",
]

T = TypeVar("T")

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Bundle:
  """What `load_bundle` returns.

  Attributes:
    arrays: memory-mapped read-only arrays by name.
    metadata: the JSON object that was saved with them.
  """

  arrays: Mapping[str, np.ndarray]
  metadata: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Stream:
  """An array for `save_bundle` that is never in memory as a whole.

  Attributes:
    shape: of the array.
    dtype: of its values.
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
  """Writes arrays and metadata as a bundle that appears whole or not at all.

  Args:
    directory: where the bundle will be; an older bundle there is replaced.
    kind: the magic that `load_bundle` insists on, such as `l2g_jax.features`.
    version: the version of the kind's layout.
    arrays: arrays of plain dtypes by name.
    metadata: a JSON object.

  Raises:
    OSError: the disk is full or can't be written; the message names the bundle.
  """
  target = pathlib.Path(os.path.realpath(directory))
  with writing(target), workplace(target) as place:
    fresh = place / target.name
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
  """Returns the name of an array's file; numbers tell apart those that replace one another."""
  return f"{array}.{number}.npy" if number else f"{array}.npy"


def _known_arrays(directory: pathlib.Path, arrays: set[str]) -> set[str]:
  """Returns these arrays' names and those of the bundle there, whose files may be replaced.

  Raises:
    InputError: there is neither a bundle, be it damaged, nor an empty folder.
  """
  path = directory / MANIFEST
  manifest = _try_manifest(path)
  known = arrays | (_array_names(manifest) if manifest is not None else set())
  if path.exists():
    ours = (manifest is not None or _is_damaged(path)) and _holds_arrays_alone(directory, known)
  else:
    ours = directory.is_dir() and not any(directory.iterdir())
  if not ours:
    raise InputError(f"{directory} holds what is no bundle of ours; move it or give another name.")
  return known


def _is_damaged(path: pathlib.Path) -> bool:
  """Whether a file that is no manifest was one: by its keys or first line, or nothing but zeros."""
  content, start = path.read_bytes(), b'{\n  "checksum": "'
  try:
    value = json.loads(content)
  except ValueError:
    return not content.strip(b"\0") or content[: len(start)] == start[: len(content)]
  return isinstance(value, dict) and value.keys() >= {"kind", "files", "checksum"}


def _remove_unnamed(directory: pathlib.Path, arrays: set[str]) -> None:
  """Removes files of these arrays that a bundle's manifest does not name."""
  manifest = _try_manifest(directory / MANIFEST)
  if manifest is None:
    return
  for file in directory.iterdir():
    if file.name not in manifest["files"] and _is_of_arrays(file, arrays):
      # Where a file that is in use can't be removed, the next replacement does it.
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
  """Writes a file that nobody looks at yet; returns its size and checksum."""
  digest = hashlib.blake2b(digest_size=16)
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
  """Opens a bundle by memory map; one that is replaced meanwhile is opened as it is then.

  Args:
    directory: the bundle's directory.
    kind: the kind that it must be.
    version: the version that it must have.
    verify: whether to read every file and compare its checksum; sizes are always compared.

  Returns:
    The bundle.

  Raises:
    InputError: the bundle is missing, of another kind or version, or a file of it is missing,
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


def allow_open_files(count: int) -> None:
  """Lets this process have so many files open, as far as it may: a memory map keeps its file open.

  Systems begin with a limit of 256 or 1024 files, which a process may raise.
  """
  if resource is None:
    return
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = count if hard == resource.RLIM_INFINITY else min(count, hard)
  if soft != resource.RLIM_INFINITY and soft < most:
    # Where the system has a limit of its own, whoever opens too many files is told.
    with contextlib.suppress(OSError, ValueError):
      resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def verify_bundle(directory: os.PathLike | str) -> None:
  """Compares the checksums of a bundle of any kind; InputError names the file that is damaged."""
  root = pathlib.Path(directory)

  def read() -> None:
    for file, entry in _read_bundle_manifest(root)["files"].items():
      _open_array(root, file, entry, verify=True)

  _while_unchanged(root / MANIFEST, read)


def _while_unchanged(path: pathlib.Path, read: Callable[[], T]) -> T:
  """Returns what `read` returns or raises while a file stays as it is; if it changes, once more."""
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
  """Opens a file of a bundle by memory map, after comparing it with its entry in the manifest."""
  path = root / file
  if path.parent != root or path.suffix != ".npy":
    raise InputError(f"{root / MANIFEST} names a file outside its directory: {file!r}.")
  way_out = f"remove {root} to have it made again"
  try:
    size = path.stat().st_size
    altered = verify and checksum_file(path) != entry["checksum"]
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


def remove_ours(path: os.PathLike | str, *, names: re.Pattern | None = None) -> bool:
  """Removes what is provably ours, and returns whether nothing is left there.

  Provably ours are a bundle that holds nothing but its manifest and the files that this may name, a
  file that `write_manifest` wrote, an empty lock, and what a killed writer left. Of another folder
  what is ours in it goes, and the folder itself if that leaves it empty. Anything else stays, as do
  links, what they lead to, and what another process is writing. So call it for names of ours only.

  Args:
    path: what to remove.
    names: of what may go in a folder that is no bundle, and in folders in it: a user may keep files
      that we wrote under names of their own. None = any.
  """
  path = pathlib.Path(path)
  # What another process removes at the same time, and what may not be removed, is no error.
  with contextlib.suppress(OSError):
    if path.is_symlink():
      return False
    if path.is_file():
      if (path.name == LOCK and not path.stat().st_size) or _try_manifest(path) is not None:
        path.unlink()
    elif (name := target_of(path)) is not None:
      target, children = path.with_name(name), {child.name for child in path.iterdir()}
      if not children or {LOCK} <= children <= {LOCK, name}:
        with contextlib.suppress(InputError), workplace(target, refusal="It is being written."):
          pass
    elif (path / MANIFEST).exists():
      manifest = _try_manifest(path / MANIFEST)
      if manifest is not None and _holds_arrays_alone(path, _array_names(manifest)):
        # The manifest last: until then it says whose the others are.
        for file in path.glob("*.npy"):
          file.unlink()
        (path / MANIFEST).unlink()
        path.rmdir()
    else:
      for child in path.iterdir():
        if names is None or names.fullmatch(child.name):
          remove_ours(child, names=names)
      path.rmdir()
  return not os.path.lexists(path)


def remove_leftovers(directory: os.PathLike | str) -> None:
  """Removes what killed writers left in a folder; what is being written stays."""
  for path in pathlib.Path(directory).iterdir():
    if target_of(path) is not None:
      remove_ours(path)


def _try_manifest(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads what `write_manifest` wrote; None where it is anything else."""
  try:
    return read_manifest(path)
  except InputError:
    return None


def _array_names(manifest: Mapping[str, Any]) -> set[str]:
  """Returns the names of a bundle's arrays; where one was replaced its file has another name."""
  return {
    entry.get("array", pathlib.PurePath(file).stem)
    for file, entry in manifest.get("files", {}).items()
  }


def _is_of_arrays(file: pathlib.Path, names: Iterable[str]) -> bool:
  """Whether a file is named as one of these arrays, or one that replaced it, would be."""
  pattern = rf"(?:{'|'.join(map(re.escape, names))})(?:\.\d+)?\.npy"
  return re.fullmatch(pattern, file.name) is not None


def _holds_arrays_alone(directory: pathlib.Path, names: set[str]) -> bool:
  """Whether a folder holds nothing but a manifest and files of these arrays."""
  return all(
    file.is_file()
    and not file.is_symlink()
    and (file.name == MANIFEST or _is_of_arrays(file, names))
    for file in directory.iterdir()
  )

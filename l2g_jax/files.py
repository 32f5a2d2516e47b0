"""Files that are whole or absent: atomic writes, and bundles of arrays with checksums.

A bundle is a directory of `.npy` files beside a `manifest.json` that names its kind, its version
and the size and checksum of every file. It appears under its name only once all of it is on disk.
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
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import filelock
import numpy as np

from l2g_jax.errors import InputError

_MANIFEST = "manifest.json"
_LOCK = "lock"
_CHUNK_BYTES = 1 << 20
# Between two lines of somebody who waits for a lock.
_NOTICE_SECONDS = 10.0


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


def checksum_file(path: os.PathLike | str) -> str:
  """Returns the BLAKE2b-128 checksum of a file's content as hexadecimal digits."""
  digest = hashlib.blake2b(digest_size=16)
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
  return digest.hexdigest()


def checksum_json(value: Any) -> str:
  """Returns the BLAKE2b-128 checksum of a JSON value's canonical text, for keys and manifests."""
  text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sync_directory(path: os.PathLike | str) -> None:
  """Makes renames and new names in a directory durable."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def locked(
  directory: os.PathLike | str, *, refusal: str | None, notice: str | None = None
) -> Iterator[None]:
  """Holds the lock of a directory, which is made; a process that is killed lets go of it.

  Locks of one process exclude each other as those of two do. A forked child does not hold the lock
  of its parent.

  Args:
    directory: where the lock is.
    refusal: what an InputError says where it is held already; None = wait until it is free.
    notice: what stderr is told at once by one who has to wait, and every ten seconds again.

  Raises:
    InputError: the lock is held, and there is a refusal.
    OSError: the directory can't be written.
  """
  root = pathlib.Path(directory)
  root.mkdir(parents=True, exist_ok=True)
  # Whoever leaves the context lets go of the lock, be it another thread.
  lock = filelock.FileLock(root / _LOCK, thread_local=False)
  start, patience = time.monotonic(), 0.0
  while not lock.is_locked:
    try:
      lock.acquire(timeout=patience)
    except filelock.Timeout:
      if refusal is not None:
        raise InputError(refusal) from None
      if notice is not None:
        waited = f" ({time.monotonic() - start:.0f} s)" if patience else ""
        print(f"{notice}{waited}", file=sys.stderr, flush=True)
      patience = _NOTICE_SECONDS
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def atomic_path(path: os.PathLike | str) -> Iterator[pathlib.Path]:
  """Yields a temporary path beside `path`; what is written there is synced and renamed on success.

  On an exception the temporary file is removed and `path` is as it was before.
  """
  target = pathlib.Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  # The suffix stays last, for writers that choose the format by it.
  descriptor, name = tempfile.mkstemp(
    dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix
  )
  os.close(descriptor)
  temporary = pathlib.Path(name)
  try:
    temporary.chmod(0o644)
    yield temporary
    with open(temporary, "rb") as file:
      os.fsync(file.fileno())
    temporary.replace(target)
    sync_directory(target.parent)
  finally:
    temporary.unlink(missing_ok=True)


def write_json(path: os.PathLike | str, value: Any) -> None:
  """Writes a JSON value atomically, with sorted keys and no NaN."""
  with atomic_path(path) as temporary:
    temporary.write_text(
      json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )


def write_manifest(path: os.PathLike | str, body: Mapping[str, Any]) -> None:
  """Writes a JSON object with its own checksum, atomically."""
  write_json(path, {**body, "checksum": checksum_json(dict(body))})


def read_manifest(path: os.PathLike | str) -> dict[str, Any]:
  """Reads what `write_manifest` wrote; InputError where it is missing, truncated or altered."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing.")
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    intact = manifest.pop("checksum") == checksum_json(manifest)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise InputError(f"{path} is truncated or not a manifest.") from error
  if not intact:
    raise InputError(f"{path} was altered.")
  return manifest


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
  target = pathlib.Path(directory)
  target.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
  try:
    files = {}
    for name, array in arrays.items():
      files[f"{name}.npy"] = _write_array(temporary / f"{name}.npy", array)
    body = {"kind": kind, "version": version, "files": files, "metadata": dict(metadata)}
    write_manifest(temporary / _MANIFEST, body)
    temporary.chmod(0o755)
    if target.exists():
      # A directory can't be replaced in one step; what is cut off here is made again.
      shutil.rmtree(target)
    temporary.rename(target)
    sync_directory(target.parent)
  except OSError as error:
    raise OSError(f"{target} can't be written; is the disk full? {error}") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


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
  digest = hashlib.blake2b(digest_size=16)
  with open(path, "wb") as file:
    for part in itertools.chain([np.frombuffer(header.getvalue(), np.uint8)], array.blocks):
      content = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
      digest.update(content)
      file.write(content)
    file.flush()
    os.fsync(file.fileno())
    size = file.tell()
  expected = len(header.getvalue()) + math.prod(array.shape) * dtype.itemsize
  if size != expected:
    raise ValueError(f"The parts of {path.name} have {size} bytes, not {expected}.")
  return {"bytes": size, "checksum": digest.hexdigest()}


def load_bundle(
  directory: os.PathLike | str, *, kind: str, version: int, verify: bool = True
) -> Bundle:
  """Opens a bundle by memory map.

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
  manifest = read_manifest(root / _MANIFEST)
  if manifest.get("kind") != kind:
    raise InputError(f"{root} holds {manifest.get('kind')!r}, not {kind!r}.")
  if manifest["version"] != version:
    raise InputError(
      f"{root} has version {manifest['version']} of {kind}; this program reads version {version}."
    )
  arrays = {}
  for name, expected in manifest["files"].items():
    path = root / name
    if path.parent != root or path.suffix != ".npy":
      raise InputError(f"{root / _MANIFEST} names a file outside its directory: {name!r}.")
    if not path.is_file():
      raise InputError(f"{path} is missing; remove {root} to have it made again.")
    if path.stat().st_size != expected["bytes"]:
      raise InputError(f"{path} is truncated; remove {root} to have it made again.")
    if verify and checksum_file(path) != expected["checksum"]:
      raise InputError(f"{path} was altered; remove {root} to have it made again.")
    arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
  return Bundle(arrays=arrays, metadata=manifest["metadata"])

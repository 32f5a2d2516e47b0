"""The files of an index: a manifest that is replaced in one step, and what it refers to.

Every change writes new files first and the manifest last, so that an index opens as before or as
after a change; what no manifest refers to is swept away by the next change.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from l2g_jax import files
from l2g_jax.cann.codec import Codes, checked, encode
from l2g_jax.cann.config import CannConfig
from l2g_jax.errors import InputError
from l2g_jax.features.whitening import Whitening, apply_whitening, load_whitening, save_whitening

_KIND = "l2g_jax.cann"
_VERSION = 2
_MANIFEST = "index.json"
_SAME = 1e-3

Manifest = dict[str, Any]


def locked(root: pathlib.Path) -> contextlib.AbstractContextManager[None]:
  """Holds the writer's lock; InputError where another process or object holds it."""
  return files.locked(root, refusal=f"The index in {root} is being written by another process.")


def exists(directory: os.PathLike | str) -> bool:
  """Whether an index was ever committed there."""
  return (pathlib.Path(directory) / _MANIFEST).is_file()


def refuse_existing(root: pathlib.Path) -> None:
  """Raises InputError where there is an index."""
  if exists(root):
    raise InputError(f"There is an index in {root} already; remove it or add to it.")


def new_manifest(config: CannConfig, dimension: int, *, serial: int = 0) -> Manifest:
  """Returns the manifest of an index without images, whose new files are numbered from `serial`."""
  return {
    "kind": _KIND,
    "version": _VERSION,
    "config": config.to_json(),
    "dimension": dimension,
    "whitening": None,
    "quantizer": None,
    "segments": [],
    "serial": serial,
  }


def new_name(manifest: Manifest, kind: str) -> str:
  """Returns a name that no file of the index had."""
  manifest["serial"] += 1
  return f"{kind}-{manifest['serial'] - 1:06d}"


def read_manifest(root: pathlib.Path) -> Manifest:
  """Reads the manifest of an index; InputError where there is none, or of another version."""
  if not exists(root):
    raise InputError(f"There is no index in {root}.")
  manifest = files.read_manifest(root / _MANIFEST)
  kind, version = manifest.get("kind"), manifest.get("version")
  if kind != _KIND or version != _VERSION:
    raise InputError(
      f"{root / _MANIFEST} is version {version} of {kind}; this program"
      f" reads version {_VERSION} of {_KIND}."
    )
  return manifest


def commit(root: pathlib.Path, manifest: Manifest) -> None:
  """Makes a manifest the index, then sweeps away what it does not refer to."""
  files.write_manifest(root / _MANIFEST, manifest)
  kept = {manifest["quantizer"], manifest["whitening"]}
  for segment in manifest["segments"]:
    kept |= {segment["descriptors"], segment["lists"]}
  for path in root.iterdir():
    if path.is_dir() and path.name not in kept:
      shutil.rmtree(path, ignore_errors=True)


def write_whitening(root: pathlib.Path, manifest: Manifest, whitening: Whitening | None) -> None:
  """Writes a whitening, if there is one, and enters it in a manifest."""
  if whitening is not None:
    manifest["whitening"] = new_name(manifest, "whitening")
    save_whitening(root / manifest["whitening"], whitening)


def read_whitening(root: pathlib.Path, manifest: Manifest) -> Whitening | None:
  """Reads the whitening of an index, if it has one."""
  return None if manifest["whitening"] is None else load_whitening(root / manifest["whitening"])


def same_whitening(first: Whitening | None, second: Whitening | None) -> bool:
  """Whether two whitenings are alike, up to what another machine makes of the same sample."""
  if first is None or second is None:
    return first is second
  pairs = (first.mean, second.mean), (first.projection, second.projection)
  return all(
    a.shape == b.shape and np.allclose(a, b, rtol=_SAME, atol=_SAME * np.abs(a).max())
    for a, b in pairs
  )


def describe(
  descriptors: np.ndarray, whitening: Whitening | None, *, dimension: int | None, where: str
) -> Codes:
  """Whitens and quantises descriptors, see `encode`; `dimension` counts where nothing whitens."""
  if whitening is not None:
    descriptors = checked(descriptors, dimension=len(whitening.mean), where=where)
    descriptors, dimension = apply_whitening(whitening, descriptors), None
  return encode(descriptors, dimension=dimension, where=where)


def encoded(
  descriptors: Iterable[tuple[str, np.ndarray]],
  whitening: Whitening | None,
  *,
  dimension: int | None,
  names: Iterable[str],
) -> Iterator[tuple[str, Codes]]:
  """Quantises a stream of images, and refuses what does not fit, by name of the image.

  Args:
    descriptors: (image name, `[count, d]`).
    whitening: what is done to descriptors before.
    dimension: d after it; None = that of the first image.
    names: those that are taken already.
  """
  taken = set(names)
  for name, values in descriptors:
    if name in taken:
      raise InputError(f"Image {name!r} comes twice.")
    if "\0" in name:
      raise InputError(f"The name {name!r} holds a zero byte.")
    taken.add(name)
    codes = describe(values, whitening, dimension=dimension, where=f"image {name!r}")
    dimension = codes.values.shape[1]
    yield name, codes

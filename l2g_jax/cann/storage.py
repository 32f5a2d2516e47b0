"""The files of an index: a manifest that is replaced in one step, and what it refers to.

Every change writes new files first and the manifest last, so that an index opens as before or as
after a change. What the manifest does not refer to is swept away by the next change, if it has a
name of ours and is provably ours, see `files.remove_ours`. Neighbour lists are left to `lists`.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from l2g_jax.cann.config import CannConfig
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.similarity.codec import Codes, encode

_KIND = "l2g_jax.cann"
_VERSION = 2
_MANIFEST = "index.json"
# The note of a whitening, in the form in which features keep theirs.
_NOTE_KIND = "l2g_jax.whitening"
_NOTE_VERSION = 1
# Two whitenings of one sample differ by less, whatever machines learned them.
_SAME = 1e-3
# Folders of pieces: of a change that is being made, and of shards.
SPOOL = "spool"
SHARDS = "shards"
JOB = "job.json"
QUANTIZER = "quantizer"
_BUNDLES = re.compile(rf"(descriptors|lists|{QUANTIZER}|whitening)-\d{{6}}|{QUANTIZER}")
_NEIGHBORS = re.compile(r"neighbors-([0-9a-f]{32}(-\d+-\d+)?|lock)")
# All that lies in the folder of an index, at any depth, but for the arrays of bundles.
_OURS = re.compile(
  rf"{_BUNDLES.pattern}|{_NEIGHBORS.pattern}|(part|added)-\d{{6}}|whole|{SPOOL}|{SHARDS}"
  rf"|{re.escape(_MANIFEST)}|{re.escape(JOB)}|{files.LOCK}|\..+\.l2g"
)
# What earlier versions called a file or folder while they wrote it.
_FORMER_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}(\.json)?")
# What file managers leave in any folder.
_OF_THE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

Manifest = dict[str, Any]
# The arrays of a whitening, by name.
Note = Mapping[str, np.ndarray]
_NOTE = ("mean", "projection")


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


def refuse_foreign(root: pathlib.Path) -> None:
  """Raises InputError where a folder holds anything that no index puts there."""
  if root.exists() and not root.is_dir():
    raise InputError(f"{root} is no folder; give another name for the index.")
  for path in sorted(root.iterdir()) if root.exists() else ():
    if not _may_be_ours(path):
      raise InputError(f"{root} holds {path.name!r}, which is of no index; give an empty folder.")


def _may_be_ours(path: pathlib.Path) -> bool:
  """Whether an index, a part of one, or what a killed writer left could be what lies there."""
  name = path.name
  if path.is_symlink():
    return False
  former = _FORMER_TEMPORARY.fullmatch(name)
  if target := files.target_of(path) or (former and former[1]):
    return _is_name(target) or f"{target}.json" in (_MANIFEST, JOB)
  if not path.is_dir():
    return name in (_MANIFEST, JOB, files.LOCK) or name in _OF_THE_SYSTEM
  if _BUNDLES.fullmatch(name):
    return all(_may_be_of_bundle(child) for child in path.iterdir())
  if name in (SPOOL, SHARDS):
    return all(map(_may_be_ours, path.iterdir()))
  return _NEIGHBORS.fullmatch(name) is not None


def _may_be_of_bundle(path: pathlib.Path) -> bool:
  plain = path.is_file() and not path.is_symlink()
  return plain and (path.suffix == ".npy" or path.name in _OF_THE_SYSTEM | {files.MANIFEST})


def _is_name(name: str) -> bool:
  return bool(_BUNDLES.fullmatch(name)) or name in (_MANIFEST, JOB)


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


def new_name(root: pathlib.Path, manifest: Manifest, kind: str) -> str:
  """Returns a name that no file of the index had, and that nothing else in its folder has."""
  while True:
    name = f"{kind}-{manifest['serial']:06d}"
    manifest["serial"] += 1
    if not os.path.lexists(root / name):
      return name


def read_manifest(root: pathlib.Path) -> Manifest:
  """Reads the manifest of an index; InputError where there is none, or of another version."""
  if not exists(root):
    raise InputError(f"There is no index in {root}.")
  manifest = files.read_manifest(root / _MANIFEST)
  kind, version = manifest.get("kind"), manifest.get("version")
  if kind != _KIND:
    raise InputError(f"{root / _MANIFEST} is of {kind!r}, not of {_KIND!r}.")
  if version != _VERSION:
    newer = isinstance(version, int) and version > _VERSION
    way_out = "install a newer l2g_jax" if newer else f"remove {root} and build it again"
    raise InputError(
      f"{root / _MANIFEST} is version {version} of {_KIND}; this program reads version {_VERSION};"
      f" {way_out}."
    )
  return manifest


def commit(root: pathlib.Path, manifest: Manifest) -> None:
  """Makes a manifest the index, then removes our files that it does not refer to."""
  files.write_manifest(root / _MANIFEST, manifest)
  kept = {manifest["quantizer"], manifest["whitening"]}
  for segment in manifest["segments"]:
    kept |= {segment["descriptors"], segment["lists"]}
  files.remove_leftovers(root)
  for path in root.iterdir():
    is_ours = path.name in (SPOOL, SHARDS) or _BUNDLES.fullmatch(path.name)
    # Another index may have been built there.
    if is_ours and path.name not in kept and not exists(path):
      remove(path)


def remove(path: os.PathLike | str) -> None:
  """Removes an index or a folder of it, and leaves what is not of an index, see `remove_ours`."""
  files.remove_ours(path, names=_OURS)


def verify_neighbors(root: pathlib.Path) -> None:
  """Compares the checksums of all neighbour lists; InputError names a file that is damaged."""
  for bundle in neighbor_bundles(root):
    try:
      files.verify_bundle(bundle)
    except InputError:
      # Another process may have removed lists that it made useless.
      if bundle in neighbor_bundles(root):
        raise


def neighbor_bundles(root: pathlib.Path) -> list[pathlib.Path]:
  """Returns the bundles of neighbour lists; what lacks a file is being removed, or was once."""
  bundles = []
  for path in sorted(root.glob(f"neighbors-*/*/{files.MANIFEST}")):
    with contextlib.suppress(InputError):
      names = files.read_manifest(path)["files"]
      if all((path.parent / name).exists() for name in names):
        bundles.append(path.parent)
  return bundles


def check_whitening(note: object, dimension: int) -> Note | None:
  """Checks the note of a whitening, whose user whitens: an index never does.

  Args:
    note: `mean` `[raw]` and `projection` `[raw, d]`, a mapping of arrays; None = none.
    dimension: d, of the descriptors that were given.

  Returns:
    Both arrays as float32.

  Raises:
    InputError: it is something else, or does not make descriptors of d dimensions.
  """
  if note is None:
    return None
  if not isinstance(note, Mapping) or note.keys() != set(_NOTE):
    raise InputError(
      "The whitening of an index is a note, a mapping with the arrays `mean` and `projection`; the"
      " index does not apply it, so whiten descriptors before they are given."
    )
  arrays = {name: np.asarray(note[name], np.float32) for name in _NOTE}
  mean, projection = arrays["mean"], arrays["projection"]
  if mean.ndim != 1 or projection.shape != (len(mean), dimension):
    raise InputError(
      f"A whitening that projects {list(projection.shape)} does not make descriptors of {dimension}"
      " dimensions; give the whitened ones, since an index takes descriptors as they are."
    )
  return arrays


def write_whitening(root: pathlib.Path, manifest: Manifest, note: Note | None) -> None:
  """Writes the note of a whitening, if there is one, and enters it in a manifest."""
  if note is not None:
    manifest["whitening"] = new_name(root, manifest, "whitening")
    files.save_bundle(
      root / manifest["whitening"],
      kind=_NOTE_KIND,
      version=_NOTE_VERSION,
      arrays=note,
      metadata={},
    )


def read_whitening(root: pathlib.Path, manifest: Manifest, *, verify: bool = False) -> Note | None:
  """Reads the note of a whitening; None where a manifest has none."""
  if manifest["whitening"] is None:
    return None
  arrays = files.load_bundle(
    root / manifest["whitening"], kind=_NOTE_KIND, version=_NOTE_VERSION, verify=verify
  ).arrays
  return {name: np.array(arrays[name]) for name in _NOTE}


def same_whitening(first: Note | None, second: Note | None) -> bool:
  """Whether two whitenings are alike, up to what another machine makes of the same sample."""
  if first is None or second is None:
    return first is second
  pairs = [(first[name], second[name]) for name in _NOTE]
  return all(
    a.shape == b.shape and np.allclose(a, b, rtol=_SAME, atol=_SAME * np.abs(a).max())
    for a, b in pairs
  )


def encoded(
  descriptors: Iterable[tuple[str, np.ndarray]],
  *,
  dimension: int | None,
  names: Iterable[str],
) -> Iterator[tuple[str, Codes]]:
  """Quantises a stream of images, and refuses what does not fit, by name of the image.

  Args:
    descriptors: (image name, `[count, d]`), any norm.
    dimension: d; None = that of the first image.
    names: those that are taken already.
  """
  taken = set(names)
  for name, values in descriptors:
    if name in taken:
      raise InputError(f"Image {name!r} comes twice.")
    if "\0" in name:
      raise InputError(f"The name {name!r} holds a zero byte.")
    taken.add(name)
    codes = encode(values, dimension=dimension, where=f"image {name!r}")
    dimension = codes.values.shape[1]
    yield name, codes

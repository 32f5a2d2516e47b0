"""The files of an index: a manifest that is replaced in one step, and what it refers to.

Every change writes new files first and the manifest last, so that an index opens as before or as
after a change; what no manifest refers to is swept away by the next change.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from l2g_jax import files
from l2g_jax.cann.codec import Codes, decode, encode
from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.segment import save_segment
from l2g_jax.errors import InputError
from l2g_jax.kmeans import kmeans

_KIND = "l2g_jax.cann"
_CENTROIDS_KIND = "l2g_jax.cann.centroids"
_VERSION = 1
_MANIFEST = "index.json"
_SEGMENT_DESCRIPTORS = 1 << 21
_SAMPLES_PER_CELL = 64
_TRAINING_ITERATIONS = 10

Manifest = dict[str, Any]


def locked(root: pathlib.Path) -> contextlib.AbstractContextManager[None]:
  """Holds the writer's lock; InputError where another process or object holds it."""
  return files.locked(root, refusal=f"The index in {root} is being written by another process.")


def exists(directory: os.PathLike | str) -> bool:
  """Whether an index was ever committed there."""
  return (pathlib.Path(directory) / _MANIFEST).is_file()


def read_manifest(root: pathlib.Path) -> Manifest:
  """Reads the manifest of an index; InputError where there is none, or of another version."""
  if not exists(root):
    raise InputError(f"There is no index in {root}.")
  manifest = files.read_manifest(root / _MANIFEST)
  if manifest["kind"] != _KIND or manifest["version"] != _VERSION:
    raise InputError(
      f"{root / _MANIFEST} is version {manifest['version']} of {manifest['kind']}; this program"
      f" reads version {_VERSION} of {_KIND}."
    )
  return manifest


def commit(root: pathlib.Path, manifest: Manifest) -> None:
  """Makes a manifest the index, then sweeps away what it does not refer to."""
  files.write_manifest(root / _MANIFEST, manifest)
  kept = {manifest["centroids"], *(segment["name"] for segment in manifest["segments"])}
  for path in root.iterdir():
    if path.is_dir() and path.name not in kept:
      shutil.rmtree(path, ignore_errors=True)


def load_centroids(root: pathlib.Path, manifest: Manifest, *, verify: bool) -> np.ndarray:
  """Reads the coarse quantiser, `[cells, d]` float32."""
  bundle = files.load_bundle(
    root / manifest["centroids"], kind=_CENTROIDS_KIND, version=_VERSION, verify=verify
  )
  return np.array(bundle.arrays["centroids"])


def encoded(
  descriptors: Iterable[tuple[str, np.ndarray]], *, dimension: int | None, names: Iterable[str]
) -> Iterator[tuple[str, Codes]]:
  """Quantises a stream of images, and refuses what does not fit, by name of the image.

  Args:
    descriptors: (image name, `[count, d]`).
    dimension: d; None = that of the first image.
    names: those that are taken already.
  """
  taken = set(names)
  for name, values in descriptors:
    if name in taken:
      raise InputError(f"Image {name!r} comes twice.")
    taken.add(name)
    codes = encode(values, dimension=dimension, where=f"image {name!r}")
    dimension = codes.values.shape[1]
    yield name, codes


def write_anew(
  root: pathlib.Path, images: Iterable[tuple[str, Codes]], config: CannConfig, *, serial: int
) -> Manifest:
  """Learns a coarse quantiser from the first images and writes all of them.

  Args:
    root: the index's directory.
    images: (name, codes).
    config: settings.
    serial: from which new files are numbered.

  Returns:
    The manifest, not committed.
  """
  batches = _batches(images)
  first = next(batches, None)
  if first is None:
    raise InputError("No images were given to index.")
  dimension = first[0][1].values.shape[1]
  centroids = _learn_centroids([codes for _, codes in first], config)
  name = f"centroids-{serial:06d}"
  files.save_bundle(
    root / name,
    kind=_CENTROIDS_KIND,
    version=_VERSION,
    arrays={"centroids": centroids},
    metadata={},
  )
  manifest: Manifest = {
    "kind": _KIND,
    "version": _VERSION,
    "config": config.to_json(),
    "dimension": dimension,
    "centroids": name,
    "segments": [],
    "serial": serial + 1,
  }
  _append_batches(root, manifest, itertools.chain([first], batches), centroids)
  return manifest


def append(
  root: pathlib.Path, manifest: Manifest, images: Iterable[tuple[str, Codes]], centroids: np.ndarray
) -> None:
  """Writes images as further segments and enters them in a manifest, not committed."""
  _append_batches(root, manifest, _batches(images), centroids)


def _append_batches(
  root: pathlib.Path,
  manifest: Manifest,
  batches: Iterable[Sequence[tuple[str, Codes]]],
  centroids: np.ndarray,
) -> None:
  """Writes each batch as a segment and enters it in a manifest."""
  for batch in batches:
    name = f"segment-{manifest['serial']:06d}"
    save_segment(
      root / name,
      names=[name for name, _ in batch],
      images=[codes for _, codes in batch],
      dimension=manifest["dimension"],
      centroids=centroids,
    )
    manifest["segments"].append({"name": name, "removed": []})
    manifest["serial"] += 1


def _batches(images: Iterable[tuple[str, Codes]]) -> Iterator[list[tuple[str, Codes]]]:
  """Gathers images up to the size of a segment."""
  batch: list[tuple[str, Codes]] = []
  size = 0
  for name, codes in images:
    batch.append((name, codes))
    size += len(codes)
    if size >= _SEGMENT_DESCRIPTORS:
      yield batch
      batch, size = [], 0
  if batch:
    yield batch


def _learn_centroids(images: Sequence[Codes], config: CannConfig) -> np.ndarray:
  """Clusters a sample; without a single descriptor, one cell at the origin serves."""
  values = np.concatenate([codes.values for codes in images])
  scales = np.concatenate([codes.scales for codes in images])
  if not len(values):
    return np.zeros((1, values.shape[1]), np.float32)
  num_lists = config.num_lists or max(1, round(len(values) ** 0.5))
  rng = np.random.default_rng(config.seed)
  sample = np.sort(rng.permutation(len(values))[: _SAMPLES_PER_CELL * num_lists])
  return kmeans(
    decode(Codes(values[sample], scales[sample])),
    num_lists,
    num_iterations=_TRAINING_ITERATIONS,
    seed=config.seed,
  )

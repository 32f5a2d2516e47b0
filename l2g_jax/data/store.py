"""Ragged local features on disk, memory-mapped: parts of many images, each whole or absent.

A store is a directory of bundles `part-00000`, `part-00001`, ... and a `store.json` that is written
last and says which parts it is made of.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from l2g_jax import files
from l2g_jax.arrays import check_arrays
from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features.protocol import LocalFeatures

Precision = Literal["float32", "float16", "int8"]

_KIND = "l2g_jax.local_features"
_INDEX_KIND = "l2g_jax.feature_store"
_VERSION = 2
_INDEX = "store.json"


@dataclasses.dataclass(frozen=True)
class FeatureStore:
  """Local features of N images.

  Attributes:
    names: N image names.
    key: what identifies the images and how the features were made.
    dimension: the length of a descriptor.
    failures: why an image has no features, by name, of those that could not be used.
  """

  names: tuple[str, ...]
  key: str
  dimension: int
  failures: Mapping[str, str]
  _parts: tuple[Mapping[str, np.ndarray], ...] = dataclasses.field(repr=False)
  _places: np.ndarray = dataclasses.field(repr=False)  # [N, 2], part and row of every image

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, index: int) -> LocalFeatures:
    """Returns the features of one image, descriptors as float32."""
    part, row = self._places[index]
    arrays = self._parts[part]
    start, stop = arrays["offsets"][row : row + 2]
    return LocalFeatures(
      descriptors=_descriptors(arrays, slice(start, stop)),
      locations=arrays["locations"][start:stop],
      scales=arrays["scales"][start:stop],
      strengths=arrays["strengths"][start:stop],
    )

  def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every image's name and descriptors `[count, d]` float32."""
    for index, name in enumerate(self.names):
      yield name, self[index].descriptors

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    per_part = [np.diff(arrays["offsets"]) for arrays in self._parts]
    return np.concatenate([np.zeros(0, np.int64), *per_part])

  def sample_descriptors(self, count: int, *, seed: int) -> np.ndarray:
    """Draws descriptors evenly from all images, without repetition.

    Args:
      count: how many at most.
      seed: of the draw.

    Returns:
      `[min(count, total), d]` float32, in the order of the images.
    """
    total = int(self.counts().sum())
    chosen = np.random.default_rng(seed).permutation(total)[:count]
    chosen.sort()
    samples, start = [np.zeros((0, self.dimension), np.float32)], 0
    for arrays in self._parts:
      stop = start + len(arrays["descriptors"])
      rows = chosen[(chosen >= start) & (chosen < stop)] - start
      samples.append(_descriptors(arrays, rows))
      start = stop
    return np.concatenate(samples)


def part_path(directory: os.PathLike | str, part: int) -> pathlib.Path:
  """Returns where a part of a store lies."""
  return pathlib.Path(directory) / f"part-{part:05d}"


def save_part(
  directory: os.PathLike | str,
  part: int,
  *,
  key: str,
  names: Sequence[str],
  features: Sequence[LocalFeatures],
  dimension: int,
  precision: Precision = "float16",
  failures: Mapping[str, str] | None = None,
) -> None:
  """Writes the features of some images as one part, which appears whole or not at all.

  Args:
    directory: the store's folder.
    part: its number.
    key: what identifies the images and how the features were made.
    names: of the images.
    features: of the images.
    dimension: the length of a descriptor.
    precision: of the descriptors; int8 keeps 127 steps of each one's largest value.
    failures: why an image has no features, by name, of those that could not be used.
  """
  counts = [len(item.descriptors) for item in features]

  def stack(field: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    blank = np.zeros((0, *shape), dtype)
    return np.concatenate([blank, *(getattr(item, field) for item in features)]).astype(dtype)

  descriptors = stack("descriptors", (dimension,), "float32")
  steps = {}
  if precision == "int8":
    steps["steps"] = np.max(np.abs(descriptors), axis=1, initial=0.0) / np.float32(127)
    descriptors = np.rint(descriptors / np.where(steps["steps"] > 0, steps["steps"], 1)[:, None])
  files.save_bundle(
    part_path(directory, part),
    kind=_KIND,
    version=_VERSION,
    arrays={
      "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
      "descriptors": descriptors.astype(precision),
      "locations": stack("locations", (2,), "float32"),
      "scales": stack("scales", (), "float32"),
      "strengths": stack("strengths", (), "float32"),
      **steps,
    },
    metadata={
      "key": key,
      "names": list(names),
      "dimension": dimension,
      "failures": dict(failures or {}),
    },
  )


def has_part(directory: os.PathLike | str, part: int, *, key: str) -> bool:
  """Whether a part is there, intact, and made as `key` says."""
  return part_failures(directory, part, key=key) is not None


def part_failures(directory: os.PathLike | str, part: int, *, key: str) -> Mapping[str, str] | None:
  """Returns why images of a part have no features; None where `has_part` says no."""
  try:
    bundle = files.load_bundle(part_path(directory, part), kind=_KIND, version=_VERSION)
  except InputError:
    return None
  return bundle.metadata["failures"] if bundle.metadata["key"] == key else None


def finish(directory: os.PathLike | str, *, keys: Sequence[str]) -> None:
  """Declares a store complete: these are its parts, in order."""
  root = pathlib.Path(directory)
  index = {"kind": _INDEX_KIND, "version": _VERSION, "keys": list(keys)}
  files.write_manifest(root / _INDEX, index)
  # What killed processes left behind.
  for path in root.glob(".part-*"):
    shutil.rmtree(path, ignore_errors=True)
  for path in root.glob(".store-*"):
    path.unlink()


def open_store(directory: os.PathLike | str) -> FeatureStore:
  """Opens a complete store by memory map and verifies it.

  Raises:
    InputError: the store is missing or incomplete, or a file of it is truncated or altered.
  """
  root = pathlib.Path(directory)
  if not (root / _INDEX).is_file():
    raise InputError(f"{root} is not a complete feature store; run the extraction again.")
  index = files.read_manifest(root / _INDEX)
  if (index.get("kind"), index.get("version")) != (_INDEX_KIND, _VERSION):
    raise InputError(f"{root / _INDEX} is no index of a feature store of version {_VERSION}.")
  with damage_refused(f"{root} is damaged; run the extraction again."):
    keys = index["keys"]
    names: list[str] = []
    failures: dict[str, str] = {}
    places, parts, dimension = [], [], 0
    for part, key in enumerate(keys):
      bundle = files.load_bundle(part_path(root, part), kind=_KIND, version=_VERSION)
      if bundle.metadata["key"] != key:
        raise InputError(f"{part_path(root, part)} is not the part that {root} was made of.")
      _check(part_path(root, part), bundle)
      parts.append(bundle.arrays)
      places += [(part, row) for row in range(len(bundle.metadata["names"]))]
      names += bundle.metadata["names"]
      failures |= bundle.metadata["failures"]
      dimension = bundle.metadata["dimension"]
    return FeatureStore(
      names=tuple(names),
      key=files.checksum_json(keys),
      dimension=dimension,
      failures=failures,
      _parts=tuple(parts),
      _places=np.array(places, np.int64).reshape(-1, 2),
    )


def _check(path: pathlib.Path, bundle: files.Bundle) -> None:
  """Refuses a part whose arrays do not fit together."""
  dtype = bundle.arrays["descriptors"].dtype.name
  layout: dict[str, Any] = {
    "offsets": ("int64", (len(bundle.metadata["names"]) + 1,)),
    "descriptors": (dtype, ("count", bundle.metadata["dimension"])),
    "locations": ("float32", ("count", 2)),
    "scales": ("float32", ("count",)),
    "strengths": ("float32", ("count",)),
  }
  if dtype == "int8":
    layout["steps"] = ("float32", ("count",))
  check_arrays(path, bundle.arrays, layout)
  offsets = bundle.arrays["offsets"]
  if (offsets[0], offsets[-1]) != (0, len(bundle.arrays["scales"])) or np.any(np.diff(offsets) < 0):
    raise InputError(f"{path} has numbers that do not fit together; run the extraction again.")


def _descriptors(arrays: Mapping[str, np.ndarray], rows: slice | np.ndarray) -> np.ndarray:
  """Returns some of a part's descriptors as float32."""
  descriptors = np.asarray(arrays["descriptors"][rows], np.float32)
  if "steps" in arrays:
    descriptors *= arrays["steps"][rows][:, None]
  return descriptors

"""Ragged local features on disk, memory-mapped: parts of many images, each whole or absent.

A store is a directory of parts, bundles that never change, and a `store.json` that is written last:
it says of every image, in order, in which row of which part its features lie. Every image has a key
of what its features were made from, so that an image need not be extracted again, wherever it
stands and whatever it is called.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features import parts
from l2g_jax.features.parts import Place
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import files

Precision = parts.Precision
part_path = parts.part_path
save_part = parts.save_part
has_part = parts.has_part

_KIND = "l2g_jax.feature_store"
_VERSION = 3
# Its parts are numbered and in order, and it has no keys of images.
_NUMBERED_VERSION = 2
_INDEX = "store.json"
# What lies in the folder of a store.
_OURS = re.compile(rf"{parts.NAME.pattern}|{re.escape(_INDEX)}|{files.LOCK}|checksums\.json")
# Once so many parts hold few images that are in use, they are put together.
_MOST_SMALL_PARTS = 16
_FEW_IMAGES = 32
_IMAGES_PER_PART = 64


@dataclasses.dataclass(frozen=True)
class FeatureStore:
  """Local features of N images.

  Attributes:
    names: N image names.
    keys: of every image, what identifies the image and how its features were made.
    key: the same of all images, in their order.
    dimension: the length of a descriptor.
    failures: why an image has no features, by name, of those that could not be used.
  """

  names: tuple[str, ...]
  keys: tuple[str, ...]
  key: str
  dimension: int
  failures: Mapping[str, str]
  _places: Sequence[Place] = dataclasses.field(repr=False)

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, index: int) -> LocalFeatures:
    """Returns the features of one image, descriptors as float32."""
    return self._places[index].features()

  def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every image's name and descriptors `[count, d]` float32."""
    for name, place in zip(self.names, self._places, strict=True):
      yield name, place.descriptors()

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    return np.array([place.count for place in self._places], np.int64)

  def sample_descriptors(self, count: int, *, seed: int) -> np.ndarray:
    """Draws descriptors evenly from all images, without repetition.

    Args:
      count: how many at most.
      seed: of the draw.

    Returns:
      `[min(count, total), d]` float32, in the order of the images.
    """
    ends = np.cumsum(self.counts())
    total = int(ends[-1]) if len(ends) else 0
    chosen = np.random.default_rng(seed).permutation(total)[:count]
    chosen.sort()
    owners = np.searchsorted(ends, chosen, side="right")
    images, firsts = np.unique(owners, return_index=True)
    samples = [np.zeros((0, self.dimension), np.float32)]
    for image, numbers in zip(images, np.split(chosen, firsts[1:]), strict=len(images) > 0):
      place = self._places[image]
      samples.append(place.descriptors(numbers - (ends[image] - place.count)))
    return np.concatenate(samples)


def finish(directory: os.PathLike | str, *, keys: Sequence[str]) -> None:
  """Declares a store complete: its images are those of the numbered parts, which have these keys.

  Raises:
    InputError: a part is missing or damaged, or has another key.
  """
  root = pathlib.Path(directory)
  opened = [
    parts.open_part(root, part_path(root, number).name, key=key) for number, key in enumerate(keys)
  ]
  _commit(
    root,
    names=[name for part in opened for name in part.names],
    places=[Place(part, row) for part in opened for row in range(len(part.names))],
    failures={name: reason for part in opened for name, reason in part.failures.items()},
    unused=set(),
  )


def complete(
  directory: os.PathLike | str,
  names: Sequence[str],
  places: Sequence[Place],
  *,
  failures: Mapping[str, str],
  is_all: bool = False,
) -> FeatureStore:
  """Declares a store complete: it has these images, in order.

  Many parts with few images in use are put together first. Parts of the store as it was that are no
  longer used are removed; so nobody else may complete it at the same time.

  Args:
    directory: the store's folder.
    names: of the images.
    places: where their features lie in it.
    failures: why an image has no features, by name.
    is_all: whether every other part is removed too, such as what an interrupted extraction of other
      images left; else such a part may be a shard's.

  Returns:
    The store.
  """
  root = pathlib.Path(directory)
  kept = _put_together(root, places)
  unused = {path.name for path in root.glob("part-*")} if is_all else set()
  unused |= {place.part.name for place in places} - {place.part.name for place in kept}
  return _commit(root, names=names, places=kept, failures=failures, unused=unused)


def remove_earlier(directory: os.PathLike | str) -> bool:
  """Removes a store of version 2, in which an extraction of today finds no image by its key.

  Returns whether there was one, and nothing is left of it.
  """
  root = pathlib.Path(directory)
  try:
    is_earlier = _read_index(root)["version"] == _NUMBERED_VERSION
  except InputError:
    return False
  return is_earlier and files.remove_ours(root, names=_OURS)


def open_store(directory: os.PathLike | str, *, verify: bool = False) -> FeatureStore:
  """Opens a complete store by memory map.

  Args:
    directory: the store's folder.
    verify: whether checksums of files are compared, not only their sizes.

  Raises:
    InputError: the store is missing or incomplete, or a file of it is missing or truncated, or, if
      that is verified, altered.
  """
  root = pathlib.Path(directory)
  if not (root / _INDEX).is_file():
    raise InputError(f"{root} is not a complete feature store; run the extraction again.")
  while True:
    index = _read_index(root)
    try:
      with damage_refused(f"{root} is damaged; run the extraction again."):
        return _open(root, index, verify=verify)
    except InputError:
      # Another process may have completed it anew since the index was read.
      if _read_index(root) == index:
        raise


def _open(root: pathlib.Path, index: Mapping[str, Any], *, verify: bool) -> FeatureStore:
  if index["version"] == _NUMBERED_VERSION:
    parts.allow_parts(len(index["keys"]))
    opened = [
      parts.open_part(root, part_path(root, number).name, key=key, verify=verify)
      for number, key in enumerate(index["keys"])
    ]
    made = _make_store(
      names=[name for part in opened for name in part.names],
      places=[Place(part, row) for part in opened for row in range(len(part.names))],
      failures={name: reason for part in opened for name, reason in part.failures.items()},
    )
    return dataclasses.replace(made, key=files.checksum_json(index["keys"]))
  parts.allow_parts(len(index["parts"]))
  opened = [parts.open_part(root, name, verify=verify) for name in index["parts"]]
  places = [Place(opened[part], row) for part, row in index["places"]]
  for place, key in zip(places, index["keys"], strict=True):
    if place.row >= len(place.part.keys) or place.key != key:
      raise InputError(f"{root / place.part.name} is not the part that {root} was made of.")
  return _make_store(index["names"], places, index["failures"])


def _commit(
  root: pathlib.Path,
  *,
  names: Sequence[str],
  places: Sequence[Place],
  failures: Mapping[str, str],
  unused: set[str],
) -> FeatureStore:
  """Writes the index, if it changes, and removes parts that only the one before names."""
  numbers: dict[str, int] = {}
  for place in places:
    numbers.setdefault(place.part.name, len(numbers))
  index = {
    "kind": _KIND,
    "version": _VERSION,
    "parts": list(numbers),
    "names": list(names),
    "keys": [place.key for place in places],
    "places": [[numbers[place.part.name], place.row] for place in places],
    "failures": dict(failures),
  }
  try:
    before = _read_index(root)
  except InputError:
    before = {"version": _VERSION, "parts": []}
  if index != before:
    files.write_manifest(root / _INDEX, index)
  for name in (unused | set(_part_names(before))) - set(numbers):
    parts.remove_part(root, name)
  files.remove_leftovers(root)
  return _make_store(names, places, failures)


def _make_store(
  names: Sequence[str], places: Sequence[Place], failures: Mapping[str, str]
) -> FeatureStore:
  keys = tuple(place.key for place in places)
  return FeatureStore(
    names=tuple(names),
    keys=keys,
    key=files.checksum_json([list(names), list(keys)]),
    dimension=places[0].part.dimension if places else 0,
    failures=failures,
    _places=places,
  )


def _read_index(root: pathlib.Path) -> dict[str, Any]:
  index = files.read_manifest(root / _INDEX)
  versions = (_NUMBERED_VERSION, _VERSION)
  if index.get("kind") != _KIND or index.get("version") not in versions:
    raise InputError(
      f"{root / _INDEX} is no index of a feature store of version {versions[0]} or {versions[1]}."
    )
  return index


def _part_names(index: Mapping[str, Any]) -> list[str]:
  """Returns which parts an index of either version names."""
  if index["version"] == _NUMBERED_VERSION:
    return [part_path("", number).name for number in range(len(index["keys"]))]
  return index["parts"]


def _put_together(root: pathlib.Path, places: Sequence[Place]) -> Sequence[Place]:
  """Copies images out of parts with few of them in use, once there are many such parts."""
  used: dict[str, dict[int, Place]] = {}
  for place in places:
    used.setdefault(place.part.name, {})[place.row] = place
  small = [list(rows.values()) for rows in used.values() if len(rows) < _FEW_IMAGES]
  if len(small) <= _MOST_SMALL_PARTS:
    return places
  moved: dict[str, Place] = {}
  by_type: dict[str, list[Place]] = {}
  for place in (place for part in small for place in part):
    by_type.setdefault(str(place.part.arrays["descriptors"].dtype), []).append(place)
  for moving in by_type.values():
    for start in range(0, len(moving), _IMAGES_PER_PART):
      chunk = moving[start : start + _IMAGES_PER_PART]
      part = parts.copy_images(root, chunk)
      moved |= {place.key: Place(part, row) for row, place in enumerate(chunk)}
  return [moved.get(place.key, place) for place in places]

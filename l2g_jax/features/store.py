"""Stores of local features on disk, memory-mapped; every image may have another number of them.

A store is a folder of parts, bundles that never change, and a `store.json` that is written last: it
lists for every image, in order, the part and the row of its features. The key of an image says what
its features were made from. So no image is extracted twice, whatever its position and name.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features import parts
from l2g_jax.features.parts import StoredImage
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import files

Precision = parts.Precision
Removes = Literal["none", "replaced", "all"]
part_path = parts.part_path
save_part = parts.save_part
has_part = parts.has_part

_KIND = "l2g_jax.feature_store"
_VERSION = 3
# Version 2 has numbered parts, in order, and no keys of images.
_NUMBERED_VERSION = 2
_INDEX = "store.json"
# Names in the folder of a store.
_OURS = re.compile(rf"{parts.NAME.pattern}|{re.escape(_INDEX)}|{files.LOCK}|checksums\.json")
# Every open part costs five open files: more than so many parts with fewer than so many images in
# use are merged into parts of so many images.
MOST_SMALL_PARTS = 16
_FEW_IMAGES = 32
IMAGES_PER_PART = 64


@dataclasses.dataclass(frozen=True)
class FeatureStore:
  """Local features of N images.

  Attributes:
    names: N image names.
    keys: what identifies each image and how its features were made.
    key: identifies all images, in their order.
    dimension: the length of a descriptor.
    failures: why an image could not be used and has no features, by name.
  """

  names: tuple[str, ...]
  keys: tuple[str, ...]
  key: str
  dimension: int
  failures: Mapping[str, str]
  _images: Sequence[StoredImage] = dataclasses.field(repr=False)

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, index: int) -> LocalFeatures:
    """Returns the features of one image, descriptors as float32."""
    return self._images[index].features()

  def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every image's name and descriptors `[count, d]` float32."""
    for name, image in zip(self.names, self._images, strict=True):
      yield name, image.descriptors()

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    return np.array([image.count for image in self._images], np.int64)

  def sample_descriptors(self, count: int, *, seed: int) -> np.ndarray:
    """Draws descriptors evenly from those of all images, without repetition.

    Args:
      count: the most to draw.
      seed: the seed of the draw.

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
      stored = self._images[image]
      samples.append(stored.descriptors(numbers - (ends[image] - stored.count)))
    return np.concatenate(samples)


def finish(directory: os.PathLike | str, *, keys: Sequence[str]) -> None:
  """Completes a store with the images of its numbered parts, which must have these keys.

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
    images=[StoredImage(part, row) for part in opened for row in range(len(part.names))],
    failures={name: reason for part in opened for name, reason in part.failures.items()},
    removable=_used_before(root),
  )


def complete(
  directory: os.PathLike | str,
  names: Sequence[str],
  images: Sequence[StoredImage],
  *,
  failures: Mapping[str, str],
  removes: Removes = "replaced",
) -> FeatureStore:
  """Completes a store with these images, in order.

  Many parts with few images in use are merged first, where parts may be removed. Nobody else may
  complete the store at the same time.

  Args:
    directory: the store's folder.
    names: the names of the images.
    images: the images in parts of the store.
    failures: why an image has no features, by name.
    removes: which parts go that hold none of these images. `replaced` are those that the store
      used before, since others may belong to a shard; `all` are also the others, such as those of
      an interrupted extraction; `none` leaves everything to images that follow.

  Returns:
    The store.
  """
  root = pathlib.Path(directory)
  removable = set()
  if removes != "none":
    removable = _used_before(root) | {image.part.name for image in images}
    images = _merge_small(root, images)
  if removes == "all":
    removable = {path.name for path in root.glob("part-*")}
  return _commit(root, names=names, images=images, failures=failures, removable=removable)


def remove_earlier(directory: os.PathLike | str) -> bool:
  """Removes a store of version 2, in which today's extraction finds no image by its key.

  Returns whether there was one and it is gone.
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
    verify: whether to compare checksums of files, not only their sizes.

  Raises:
    InputError: the store is missing or incomplete, or one of its files is missing, truncated or, if
      verified, altered.
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
      # Another process may have completed the store anew meanwhile.
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
      images=[StoredImage(part, row) for part in opened for row in range(len(part.names))],
      failures={name: reason for part in opened for name, reason in part.failures.items()},
    )
    return dataclasses.replace(made, key=files.checksum_json(index["keys"]))
  parts.allow_parts(len(index["parts"]))
  opened = [parts.open_part(root, name, verify=verify) for name in index["parts"]]
  images = [StoredImage(opened[part], row) for part, row in index["places"]]
  for image, key in zip(images, index["keys"], strict=True):
    if image.row >= len(image.part.keys) or image.key != key:
      raise InputError(f"{root / image.part.name} is not the part that {root} was made of.")
  return _make_store(index["names"], images, index["failures"])


def _commit(
  root: pathlib.Path,
  *,
  names: Sequence[str],
  images: Sequence[StoredImage],
  failures: Mapping[str, str],
  removable: set[str],
) -> FeatureStore:
  """Writes the index, if it changed, and removes those of some parts that it does not name."""
  numbers: dict[str, int] = {}
  for image in images:
    numbers.setdefault(image.part.name, len(numbers))
  index = {
    "kind": _KIND,
    "version": _VERSION,
    "parts": list(numbers),
    "names": list(names),
    "keys": [image.key for image in images],
    "places": [[numbers[image.part.name], image.row] for image in images],
    "failures": dict(failures),
  }
  try:
    is_same = _read_index(root) == index
  except InputError:
    is_same = False
  if not is_same:
    files.write_manifest(root / _INDEX, index)
  for name in removable - set(numbers):
    parts.remove_part(root, name)
  files.remove_leftovers(root)
  return _make_store(names, images, failures)


def _make_store(
  names: Sequence[str], images: Sequence[StoredImage], failures: Mapping[str, str]
) -> FeatureStore:
  keys = tuple(image.key for image in images)
  return FeatureStore(
    names=tuple(names),
    keys=keys,
    key=files.checksum_json([list(names), list(keys)]),
    dimension=images[0].part.dimension if images else 0,
    failures=failures,
    _images=images,
  )


def _read_index(root: pathlib.Path) -> dict[str, Any]:
  index = files.read_manifest(root / _INDEX)
  versions = (_NUMBERED_VERSION, _VERSION)
  if index.get("kind") != _KIND or index.get("version") not in versions:
    raise InputError(
      f"{root / _INDEX} is no index of a feature store of version {versions[0]} or {versions[1]}."
    )
  return index


def _used_before(root: pathlib.Path) -> set[str]:
  """Returns the parts that the index of a store names, of either version; none without one."""
  try:
    index = _read_index(root)
  except InputError:
    return set()
  if index["version"] == _NUMBERED_VERSION:
    return {part_path("", number).name for number in range(len(index["keys"]))}
  return set(index["parts"])


def _merge_small(root: pathlib.Path, images: Sequence[StoredImage]) -> Sequence[StoredImage]:
  """Merges parts with few images in use, once there are many; returns all images."""
  used: dict[str, dict[int, StoredImage]] = {}
  for image in images:
    used.setdefault(image.part.name, {})[image.row] = image
  small = [list(rows.values()) for rows in used.values() if len(rows) < _FEW_IMAGES]
  if len(small) <= MOST_SMALL_PARTS:
    return images
  moved: dict[str, StoredImage] = {}
  by_type: dict[str, list[StoredImage]] = {}
  for image in (image for part in small for image in part):
    by_type.setdefault(str(image.part.arrays["descriptors"].dtype), []).append(image)
  for moving in by_type.values():
    for start in range(0, len(moving), IMAGES_PER_PART):
      chunk = moving[start : start + IMAGES_PER_PART]
      part = parts.copy_images(root, chunk)
      moved |= {image.key: StoredImage(part, row) for row, image in enumerate(chunk)}
  return [moved.get(image.key, image) for image in images]

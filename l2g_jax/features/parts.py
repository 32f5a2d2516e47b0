"""Parts of a feature store: bundles with the features of many images, which never change."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays

Precision = Literal["float32", "float16", "int8"]

_KIND = "l2g_jax.local_features"
_VERSION = 2
# Of a part, which are open with it, and that a process has open besides.
_FILES = 5
_OTHER_FILES = 512
# Numbered, or named by the images.
NAME = re.compile(r"part-([0-9]{5,}|[0-9a-f]{16})")


class Part(NamedTuple):
  """A part that is open.

  Attributes:
    name: of its folder.
    arrays: of its images, one after another, with their `offsets`.
    names: of its images, as they were when they were saved.
    keys: of its images, what identifies each and how its features were made.
    failures: why an image has no features, by name, of those that could not be used.
    dimension: the length of a descriptor.
  """

  name: str
  arrays: Mapping[str, np.ndarray]
  names: Sequence[str]
  keys: Sequence[str]
  failures: Mapping[str, str]
  dimension: int


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
  """Where the features of an image lie: a row of a part."""

  part: Part
  row: int

  @property
  def key(self) -> str:
    """What identifies the image and how its features were made."""
    return self.part.keys[self.row]

  @property
  def failure(self) -> str | None:
    """Why the image has no features; None where it could be used."""
    return self.part.failures.get(self.part.names[self.row])

  @property
  def rows(self) -> slice:
    """Which rows of the part's arrays are the image's."""
    start, stop = self.part.arrays["offsets"][self.row : self.row + 2]
    return slice(int(start), int(stop))

  @property
  def count(self) -> int:
    """How many descriptors the image has."""
    return self.rows.stop - self.rows.start

  def descriptors(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Returns descriptors of the image as float32, all of them or those of the given numbers."""
    arrays, rows = self.part.arrays, self.rows
    descriptors = np.asarray(arrays["descriptors"][rows][chosen], np.float32)
    if "steps" in arrays:
      descriptors *= arrays["steps"][rows][chosen][:, None]
    return descriptors

  def features(self) -> LocalFeatures:
    """Returns the features of the image, descriptors as float32."""
    arrays, rows = self.part.arrays, self.rows
    return LocalFeatures(
      descriptors=self.descriptors(),
      locations=arrays["locations"][rows],
      scales=arrays["scales"][rows],
      strengths=arrays["strengths"][rows],
    )


def part_path(directory: os.PathLike | str, part: int | str) -> pathlib.Path:
  """Returns where a part of a store lies, by its number or its name."""
  return pathlib.Path(directory) / (part if isinstance(part, str) else f"part-{part:05d}")


def part_name(keys: Sequence[str]) -> str:
  """Returns the name of the part that holds the images with these keys."""
  return f"part-{files.checksum_json(list(keys))[:16]}"


def save_part(
  directory: os.PathLike | str,
  part: int | str,
  *,
  key: str,
  names: Sequence[str],
  features: Sequence[LocalFeatures],
  dimension: int,
  precision: Precision = "float16",
  failures: Mapping[str, str] | None = None,
  image_keys: Sequence[str] | None = None,
) -> None:
  """Writes the features of some images as one part, which appears whole or not at all.

  Args:
    directory: the store's folder.
    part: its number, or its name.
    key: what identifies the part.
    names: of the images.
    features: of the images.
    dimension: the length of a descriptor.
    precision: of the descriptors; int8 keeps 127 steps of each one's largest value.
    failures: why an image has no features, by name, of those that could not be used.
    image_keys: what identifies each image and how its features were made; None = a checksum of the
      features.
  """
  arrays = _stack(features, dimension, precision)
  if image_keys is None:
    image_keys = [_checksum(item, precision) for item in features]
  _save(
    part_path(directory, part),
    arrays,
    key=key,
    names=names,
    image_keys=image_keys,
    dimension=dimension,
    failures=failures or {},
  )


def rounded(features: LocalFeatures, precision: Precision) -> LocalFeatures:
  """Returns the features of one image as they come back from a part of that precision."""
  arrays = _stack([features], features.descriptors.shape[1], precision)
  part = Part("", arrays, [""], [""], {}, features.descriptors.shape[1])
  return Place(part, 0).features()


def open_part(
  root: pathlib.Path, name: str, *, key: str | None = None, verify: bool = False
) -> Part:
  """Opens a part by memory map.

  Args:
    root: the store's folder.
    name: of the part.
    key: the part's own, if it must have a certain one.
    verify: whether checksums of files are compared, not only their sizes.

  Raises:
    InputError: the part is missing or damaged, or has another key.
  """
  path = root / name
  if not NAME.fullmatch(name):
    raise InputError(f"{path} is no part of a feature store.")
  with damage_refused(f"{path} is damaged; run the extraction again."):
    bundle = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=verify)
    _check(path, bundle)
  metadata = bundle.metadata
  if key is not None and metadata["key"] != key:
    raise InputError(f"{path} is not the part that {root} was made of.")
  keys = metadata.get("image_keys")
  if keys is None:
    # Parts of earlier versions know their images by size and time; their numbers tell more.
    content = files.checksum_json(files.read_manifest(path / files.MANIFEST)["files"])
    keys = [files.checksum_json([content, row]) for row in range(len(metadata["names"]))]
  # What is small is read, and keeps no file open.
  arrays = {**bundle.arrays, "offsets": np.array(bundle.arrays["offsets"])}
  return Part(name, arrays, metadata["names"], keys, metadata["failures"], metadata["dimension"])


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


def has_part(directory: os.PathLike | str, part: int | str, *, key: str) -> bool:
  """Whether a part is there, whole, and has a key."""
  root = pathlib.Path(directory)
  try:
    open_part(root, part_path(root, part).name, key=key)
  except InputError:
    return False
  return True


def find_images(directory: os.PathLike | str, *, verify: bool = False) -> dict[str, Place]:
  """Finds every image that lies in an intact part of a store, complete or not, by its key.

  Args:
    directory: the store's folder.
    verify: see `open_part`.
  """
  found: dict[str, Place] = {}
  root = pathlib.Path(directory)
  paths = sorted(root.glob("part-*"))
  allow_parts(len(paths))
  for path in paths:
    try:
      part = open_part(root, path.name, verify=verify)
    except InputError:
      continue
    for row, key in enumerate(part.keys):
      # Of several places one with features counts.
      if key not in found or found[key].failure is not None:
        found[key] = Place(part, row)
  return found


def allow_parts(count: int) -> None:
  """Lets so many parts be open, twice: those of a store, and of the same one made anew."""
  files.allow_open_files(2 * count * _FILES + _OTHER_FILES)


def copy_images(root: pathlib.Path, places: Sequence[Place]) -> Part:
  """Saves images of other parts, all of one precision, as one part."""
  keys = [place.key for place in places]
  arrays = {
    field: np.concatenate([place.part.arrays[field][place.rows] for place in places])
    for field in places[0].part.arrays
    if field != "offsets"
  }
  arrays["offsets"] = np.cumsum([0, *(place.count for place in places)], dtype=np.int64)
  name = part_name(keys)
  _save(
    root / name,
    arrays,
    key=name,
    # Images of several parts may have had one name at different times.
    names=keys,
    image_keys=keys,
    dimension=places[0].part.dimension,
    failures={place.key: place.failure for place in places if place.failure is not None},
  )
  return open_part(root, name)


def remove_part(root: pathlib.Path, name: str) -> None:
  """Removes a part of a store that is no longer used, and nothing that is not a part."""
  if NAME.fullmatch(name):
    files.remove_ours(root / name)


def _stack(
  features: Sequence[LocalFeatures], dimension: int, precision: Precision
) -> dict[str, np.ndarray]:
  """Returns the arrays of a part."""
  counts = [len(item.descriptors) for item in features]

  def stack(field: str, shape: tuple[int, ...]) -> np.ndarray:
    blank = np.zeros((0, *shape), np.float32)
    return np.concatenate([blank, *(getattr(item, field) for item in features)]).astype(np.float32)

  descriptors = stack("descriptors", (dimension,))
  steps = {}
  if precision == "int8":
    steps["steps"] = np.max(np.abs(descriptors), axis=1, initial=0.0) / np.float32(127)
    descriptors = np.rint(descriptors / np.where(steps["steps"] > 0, steps["steps"], 1)[:, None])
  return {
    "offsets": np.cumsum([0, *counts], dtype=np.int64),
    "descriptors": descriptors.astype(precision),
    "locations": stack("locations", (2,)),
    "scales": stack("scales", ()),
    "strengths": stack("strengths", ()),
    **steps,
  }


def _save(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  *,
  key: str,
  names: Sequence[str],
  image_keys: Sequence[str],
  dimension: int,
  failures: Mapping[str, str],
) -> None:
  files.save_bundle(
    path,
    kind=_KIND,
    version=_VERSION,
    arrays=arrays,
    metadata={
      "key": key,
      "names": list(names),
      "image_keys": list(image_keys),
      "dimension": dimension,
      "failures": dict(failures),
    },
  )


def _checksum(features: LocalFeatures, precision: Precision) -> str:
  """Returns what identifies features by their own numbers."""
  digest = hashlib.blake2b(precision.encode(), digest_size=16)
  for field, values in vars(features).items():
    digest.update(f"{field} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values, np.float32).data)
  return digest.hexdigest()

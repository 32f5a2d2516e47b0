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
# Files that an open part keeps open, and files that a process may have open besides.
_FILES = 5
OTHER_FILES = 512
# The name of a part is a number, or a checksum of its images' keys.
NAME = re.compile(r"part-([0-9]{5,}|[0-9a-f]{16})")


class Part(NamedTuple):
  """An open part.

  Attributes:
    name: the name of its folder.
    arrays: the features of its images, one after another, and their `offsets`.
    names: the names of its images when they were saved.
    keys: what identifies each of its images and how its features were made.
    failures: why an image could not be used and has no features, by name.
    dimension: the length of a descriptor.
  """

  name: str
  arrays: Mapping[str, np.ndarray]
  names: Sequence[str]
  keys: Sequence[str]
  failures: Mapping[str, str]
  dimension: int


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImage:
  """An image whose features are stored: a row of a part."""

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
    """The rows of the image in the part's arrays."""
    start, stop = self.part.arrays["offsets"][self.row : self.row + 2]
    return slice(int(start), int(stop))

  @property
  def count(self) -> int:
    """The number of the image's descriptors."""
    return self.rows.stop - self.rows.start

  def descriptors(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Returns descriptors of the image as float32: all, or those of the given numbers."""
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
  """Returns the path of a part of a store, given its number or name."""
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
    part: its number or name.
    key: identifies the part.
    names: the names of the images.
    features: the features of the images.
    dimension: the length of a descriptor.
    precision: the type that stores descriptors; int8 divides the largest value of each descriptor
      into 127 steps.
    failures: why an image could not be used and has no features, by name.
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
  """Returns the features of one image as a part of that precision would give them back."""
  arrays = _stack([features], features.descriptors.shape[1], precision)
  part = Part("", arrays, [""], [""], {}, features.descriptors.shape[1])
  return StoredImage(part, 0).features()


def open_part(
  root: pathlib.Path, name: str, *, key: str | None = None, verify: bool = False
) -> Part:
  """Opens a part by memory map.

  Args:
    root: the store's folder.
    name: the name of the part.
    key: the key that the part must have; None = any.
    verify: whether to compare checksums of files, not only their sizes.

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
    # Parts of earlier versions identify images by size and time; the parts' own content is safer.
    content = files.checksum_json(files.read_manifest(path / files.MANIFEST)["files"])
    keys = [files.checksum_json([content, row]) for row in range(len(metadata["names"]))]
  # A small array is read, and keeps no file open.
  arrays = {**bundle.arrays, "offsets": np.array(bundle.arrays["offsets"])}
  return Part(name, arrays, metadata["names"], keys, metadata["failures"], metadata["dimension"])


def _check(path: pathlib.Path, bundle: files.Bundle) -> None:
  """Refuses a part with arrays that do not fit together."""
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
  """Whether an intact part with this key is there."""
  root = pathlib.Path(directory)
  try:
    open_part(root, part_path(root, part).name, key=key)
  except InputError:
    return False
  return True


def find_images(directory: os.PathLike | str, *, verify: bool = False) -> dict[str, StoredImage]:
  """Finds the images in intact parts of a store, complete or not, by their keys.

  Args:
    directory: the store's folder.
    verify: see `open_part`.
  """
  found: dict[str, StoredImage] = {}
  root = pathlib.Path(directory)
  paths = sorted(root.glob("part-*"))
  allow_parts(len(paths))
  for path in paths:
    try:
      part = open_part(root, path.name, verify=verify)
    except InputError:
      continue
    for row, key in enumerate(part.keys):
      # An image with features goes before a failure of the same key.
      if key not in found or found[key].failure is not None:
        found[key] = StoredImage(part, row)
  return found


def allow_parts(count: int) -> None:
  """Lets this process open so many parts twice: those of a store, and of one that replaces it."""
  files.allow_open_files(2 * count * _FILES + OTHER_FILES)


def copy_images(root: pathlib.Path, images: Sequence[StoredImage]) -> Part:
  """Saves images of other parts, which have one precision, as one part."""
  keys = [image.key for image in images]
  arrays = {
    field: np.concatenate([image.part.arrays[field][image.rows] for image in images])
    for field in images[0].part.arrays
    if field != "offsets"
  }
  arrays["offsets"] = np.cumsum([0, *(image.count for image in images)], dtype=np.int64)
  name = part_name(keys)
  _save(
    root / name,
    arrays,
    key=name,
    # Images of different parts may have the same name.
    names=keys,
    image_keys=keys,
    dimension=images[0].part.dimension,
    failures={image.key: image.failure for image in images if image.failure is not None},
  )
  return open_part(root, name)


def remove_part(root: pathlib.Path, name: str) -> None:
  """Removes an unused part of a store; a path without the name of a part stays."""
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
  """Returns a checksum of features."""
  digest = hashlib.blake2b(precision.encode(), digest_size=16)
  for field, values in vars(features).items():
    digest.update(f"{field} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values, np.float32).data)
  return digest.hexdigest()

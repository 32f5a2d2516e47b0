"""Local features in files of others, and their way into a store of ours."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tqdm

from l2g_jax import files
from l2g_jax.data import store
from l2g_jax.errors import InputError
from l2g_jax.features.protocol import LocalFeatures

_IMAGES_PER_PART = 256
_SUFFIXES = (".bin", ".bmp", ".desc", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class LocalSource:
  """Local features of N images, strongest first, in files that others made.

  Attributes:
    names: of the images.
    dimension: the length of a descriptor.
    state: of an image by its number, a JSON value that changes with what is read.
    read: of an image by its number, its features.
  """

  names: tuple[str, ...]
  dimension: int
  state: Callable[[int], Any]
  read: Callable[[int], LocalFeatures]


def import_local(
  source: LocalSource,
  directory: os.PathLike | str,
  *,
  max_descriptors: int | None = None,
  precision: store.Precision = "float16",
  show_progress: bool = True,
) -> store.FeatureStore:
  """Copies published features into a store, or opens the store where that was done before.

  Args:
    source: what to copy.
    directory: the store's folder.
    max_descriptors: how many of an image are kept, the first ones; None = all.
    precision: in which descriptors are kept.
    show_progress: whether to show a bar.

  Returns:
    The store.

  Raises:
    InputError: a file is damaged or does not fit; the message names the image.
  """
  root = pathlib.Path(directory)
  parts = [
    range(start, min(start + _IMAGES_PER_PART, len(source.names)))
    for start in range(0, len(source.names), _IMAGES_PER_PART)
  ]
  keys = []
  with tqdm.tqdm(
    total=len(source.names), desc="reading features", unit="image", disable=not show_progress
  ) as bar:
    for number, part in enumerate(parts):
      names = [source.names[index] for index in part]
      states = [source.state(index) for index in part]
      keys.append(files.checksum_json([names, states, max_descriptors, precision]))
      if not store.has_part(root, number, key=keys[-1]):
        store.save_part(
          root,
          number,
          key=keys[-1],
          names=names,
          features=[_first(_check(source, index), max_descriptors) for index in part],
          dimension=source.dimension,
          precision=precision,
        )
      bar.update(len(part))
  store.finish(root, keys=keys)
  return store.open_store(root)


def bare_features(descriptors: np.ndarray) -> LocalFeatures:
  """Returns descriptors `[count, d]` of which nothing else is known."""
  count = len(descriptors)
  one = np.ones(count, np.float32)
  return LocalFeatures(descriptors, np.zeros((count, 2), np.float32), one, one)


def file_state(path: pathlib.Path) -> list[int]:
  """Returns what changes with a file's content, as far as that can be told without reading it."""
  stat = path.stat()
  return [stat.st_size, stat.st_mtime_ns]


def image_name(path: str) -> str:
  """Returns the name of the image that a file was made from: `a/b.jpg.desc` is of `b`."""
  name = pathlib.PurePosixPath(path).name
  while pathlib.PurePosixPath(name).suffix.lower() in _SUFFIXES:
    name = pathlib.PurePosixPath(name).stem
  return name


def match_files(
  paths: Sequence[pathlib.Path], names: Sequence[str], where: str
) -> list[pathlib.Path]:
  """Finds the file of every image.

  Args:
    paths: the files, named after their images.
    names: of the images; what leads to their folder does not count.
    where: what lists the files, for messages.

  Raises:
    InputError: an image has no file, or two.
  """
  found: dict[str, pathlib.Path] = {}
  for path in paths:
    name = image_name(path.name)
    if name in found:
      raise InputError(f"{where} has two files of image {name!r}: {found[name]} and {path}.")
    found[name] = path
  missing = [name for name in names if image_name(name) not in found]
  if missing:
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    raise InputError(f"{where} lacks {len(missing)} of {len(names)} images: {shown}.")
  return [found[image_name(name)] for name in names]


def _check(source: LocalSource, index: int) -> LocalFeatures:
  features = source.read(index)
  if not np.all(np.isfinite(features.descriptors)):
    raise InputError(f"The published descriptors of {source.names[index]!r} are not finite.")
  return features


def _first(features: LocalFeatures, count: int | None) -> LocalFeatures:
  return LocalFeatures(**{name: values[:count] for name, values in vars(features).items()})

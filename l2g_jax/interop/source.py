"""Local features in foreign files, and their import into a feature store."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features import parts, store
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import checksums, files
from l2g_jax.runtime.progress import Meter

# Features of so many images are in memory at a time.
IMAGES_PER_PART = 256
_NOTICE = "Another process copies features to {}; waiting until it is done."
_SUFFIXES = (".bin", ".bmp", ".desc", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class LocalSource:
  """Local features of N images, strongest first, in foreign files.

  Attributes:
    names: N names of images.
    dimension: the length of a descriptor.
    state: maps the number of an image to a JSON value that says how its features are read.
    read: maps the number of an image to its features.
    files: for each image, the files that hold its features; their contents are part of its key.
  """

  names: tuple[str, ...]
  dimension: int
  state: Callable[[int], Any]
  read: Callable[[int], LocalFeatures]
  files: Sequence[Sequence[pathlib.Path]] = ()


def import_local(
  source: LocalSource,
  directory: os.PathLike | str,
  *,
  max_descriptors: int | None = None,
  precision: store.Precision = "float16",
  show_progress: bool = True,
  verify: bool = False,
) -> store.FeatureStore:
  """Copies published features into a store, or opens a store that has them.

  Features are identified by the contents of their files. While another process copies to the same
  folder, this one waits.

  Args:
    source: the published features.
    directory: the store's folder.
    max_descriptors: number of descriptors of an image that are kept, the first ones; None = all.
    precision: type in which descriptors are kept.
    show_progress: whether to show progress.
    verify: whether to compare checksums of earlier copies, not only sizes.

  Returns:
    The store.

  Raises:
    InputError: a file is damaged or does not fit; the message names the image.
  """
  root = pathlib.Path(directory)
  memory = root / checksums.NAME
  keys = import_keys(source, memory, max_descriptors=max_descriptors, precision=precision)
  with files.locked(root, refusal=None, notice=_NOTICE.format(root)):
    found = parts.find_images(root, verify=verify)
    missing = [index for index, key in enumerate(keys) if key not in found]
    with Meter(
      "reading features",
      total=len(keys),
      done=len(keys) - len(missing),
      unit="images",
      disabled=not (show_progress and missing),
    ) as meter:
      for start in range(0, len(missing), IMAGES_PER_PART):
        part = missing[start : start + IMAGES_PER_PART]
        part_keys = [keys[index] for index in part]
        features = [_first(_check(source, index), max_descriptors) for index in part]
        if _keys(source, part, memory, max_descriptors, precision) != part_keys:
          raise InputError(
            f"The published descriptors of {source.names[part[0]]!r} or images after it changed"
            " while they were read; run again."
          )
        name = parts.part_name(part_keys)
        store.save_part(
          root,
          name,
          key=name,
          names=[source.names[index] for index in part],
          features=features,
          dimension=source.dimension,
          precision=precision,
          image_keys=part_keys,
        )
        meter.advance(len(part))
    found = parts.find_images(root)
    return store.complete(root, source.names, [found[key] for key in keys], failures={})


def import_keys(
  source: LocalSource,
  memory: os.PathLike | str | None,
  *,
  max_descriptors: int | None = None,
  precision: store.Precision = "float16",
) -> list[str]:
  """Returns the keys that images have in the store that `import_local` makes of them.

  Args:
    source: the published features.
    memory: see `checksums.checksum_files`.
    max_descriptors: see `import_local`.
    precision: see `import_local`.
  """
  return _keys(source, range(len(source.names)), memory, max_descriptors, precision)


def _keys(
  source: LocalSource,
  indices: Sequence[int],
  memory: os.PathLike | str | None,
  max_descriptors: int | None,
  precision: store.Precision,
) -> list[str]:
  used = [tuple(source.files[index]) if source.files else () for index in indices]
  paths = list(dict.fromkeys(itertools.chain.from_iterable(used)))
  contents = dict(zip(paths, checksums.checksum_files(paths, memory), strict=True))
  return [
    files.checksum_json(
      [source.state(index), [contents[path] for path in paths], max_descriptors, precision]
    )
    for index, paths in zip(indices, used, strict=True)
  ]


def bare_features(descriptors: np.ndarray) -> LocalFeatures:
  """Returns descriptors `[count, d]` as features without locations, with scale and strength 1."""
  count = len(descriptors)
  one = np.ones(count, np.float32)
  return LocalFeatures(descriptors, np.zeros((count, 2), np.float32), one, one)


def image_name(path: str) -> str:
  """Returns the name of the image from which a file was made; `a/b.jpg.desc` gives `b`."""
  name = pathlib.PurePosixPath(path).name
  while pathlib.PurePosixPath(name).suffix.lower() in _SUFFIXES:
    name = pathlib.PurePosixPath(name).stem
  return name


def match_files(
  paths: Sequence[pathlib.Path], names: Sequence[str], where: str
) -> list[pathlib.Path]:
  """Returns the file of each image.

  Args:
    paths: files named after their images.
    names: names of the images; their folders do not count.
    where: the folder or list of the files, for messages.

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

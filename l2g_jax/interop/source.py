"""Local features in files of others, and their way into a store of ours."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tqdm

from l2g_jax.errors import InputError
from l2g_jax.features import parts, store
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import checksums, files

_IMAGES_PER_PART = 256
_NOTICE = "Another process copies features to {}; waiting until it is done."
_SUFFIXES = (".bin", ".bmp", ".desc", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class LocalSource:
  """Local features of N images, strongest first, in files that others made.

  Attributes:
    names: of the images.
    dimension: the length of a descriptor.
    state: of an image by its number, a JSON value: how its features are read from the files.
    read: of an image by its number, its features.
    files: of every image, where its features are read from; their contents count.
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
  """Copies published features into a store, or opens the store where that was done before.

  Features are known by the contents of the files that they are in. Where another process copies to
  the same folder this one waits.

  Args:
    source: what to copy.
    directory: the store's folder.
    max_descriptors: how many of an image are kept, the first ones; None = all.
    precision: in which descriptors are kept.
    show_progress: whether to show a bar.
    verify: whether checksums of what was copied before are compared, not only sizes.

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
    with tqdm.tqdm(
      total=len(keys),
      initial=len(keys) - len(missing),
      desc="reading features",
      unit="image",
      disable=not (show_progress and missing),
    ) as bar:
      for start in range(0, len(missing), _IMAGES_PER_PART):
        part = missing[start : start + _IMAGES_PER_PART]
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
        bar.update(len(part))
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
    source: what to copy.
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
  """Returns descriptors `[count, d]` of which nothing else is known."""
  count = len(descriptors)
  one = np.ones(count, np.float32)
  return LocalFeatures(descriptors, np.zeros((count, 2), np.float32), one, one)


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

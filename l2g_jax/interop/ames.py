"""Files of AMES: local features in HDF5, and nearest neighbours by global features.

An HDF5 file has one dataset `features` `[N, most, 5 + d]`. Its columns are x, y, the number of the
scale, a mask that is 1 for padding, the weight, and the descriptor. Rows descend by weight.
"""

import functools
import importlib
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.interop import source
from l2g_jax.interop.tensor import read_tensor
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import as_float32

_COLUMNS = 5
# Limit for an image and for a chunk, which HDF5 reads at once; published ones have some megabytes.
_MOST_BYTES = 256 << 20


def find_local(folder: os.PathLike | str, part: str) -> pathlib.Path:
  """Returns the one file of local features in a folder; `part` is `gallery` or `query`."""
  found = sorted(pathlib.Path(folder).glob(f"*_{part}_local.hdf5"))
  if len(found) != 1:
    raise InputError(f"{folder} must hold one file *_{part}_local.hdf5, not {len(found)}.")
  return found[0]


def open_local(
  path: os.PathLike | str, names: Sequence[str], *, max_descriptors: int | None = None
) -> source.LocalSource:
  """Opens local features.

  Args:
    path: path of the HDF5 file.
    names: names of its N images, which the file itself does not have.
    max_descriptors: largest number of descriptors of an image that are read; None = all.

  Raises:
    InputError: h5py is not installed; or the file is damaged, has another layout or another number
      of images, or refers to a file that is missing.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no file of local features at {path}.")
  try:
    h5py: Any = importlib.import_module("h5py")
  except ImportError as error:
    raise InputError(f"Reading {path} needs h5py: pip install h5py.") from error
  with damage_refused(f"{path} is truncated, or no HDF5 file with a dataset `features`."):
    features = h5py.File(path, "r")["features"]
    shape, kind, itemsize = tuple(features.shape), features.dtype.kind, features.dtype.itemsize
    is_virtual, is_outside = features.is_virtual, bool(features.external)
  if len(shape) != 3 or shape[2] <= _COLUMNS or kind != "f":
    raise InputError(f"features in {path} must be [N, count, 5 + d] numbers, not {shape}.")
  if shape[0] != len(names):
    raise InputError(f"{path} has features of {shape[0]} images; the data set has {len(names)}.")
  if is_outside:
    raise InputError(f"{path} keeps its numbers in other files; copy them into one.")
  if max(math.prod(shape[1:]), math.prod(features.chunks or ())) * itemsize > _MOST_BYTES:
    raise InputError(f"{path} can't be read in parts of less than {_MOST_BYTES >> 20} MiB.")
  with damage_refused(f"{path} is truncated or damaged."):
    _check_parts(features, path) if is_virtual else _check_chunks(features, path)
    others = _referred(features, path) if is_virtual else []
  return source.LocalSource(
    names=tuple(names),
    dimension=shape[2] - _COLUMNS,
    state=lambda index: [list(shape), index],
    read=functools.partial(_read, features, path, max_descriptors),
    files=[(path, *others)] * len(names),
  )


def read_neighbors(path: os.PathLike | str, num_queries: int, num_images: int) -> Ranked:
  """Reads nearest neighbours: a pickled tensor `[2, Q, k]` of similarities and of ids.

  Args:
    path: a pickle such as `nn_superglobal.pkl`, or the same tensor by `torch.save` or as `.npy`.
    num_queries: Q.
    num_images: number of images in the collection.

  Returns:
    The neighbours `[Q, k]`, with the scores of the file, which may be below 0.

  Raises:
    InputError: the file is damaged, holds no such tensor, or does not fit the data set.
  """
  values = read_tensor(path)
  if values.ndim != 3 or values.shape[:2] != (2, num_queries) or not values.shape[2]:
    raise InputError(f"The tensor in {path} must be [2, {num_queries}, k], not {values.shape}.")
  similarities = as_float32(values[0])
  if not np.all((values[1] >= 0) & (values[1] < num_images) & (values[1] % 1 == 0)):
    raise InputError(f"{path} names images outside 0 .. {num_images - 1}.")
  ids = values[1].astype(np.int64)
  for query, row in enumerate(ids):
    if len(np.unique(row)) != len(row):
      raise InputError(f"{path} lists an image twice for query {query}.")
  if not np.all(np.isfinite(similarities)) or np.any(np.diff(similarities, axis=1) > 0):
    raise InputError(f"The similarities in {path} are not finite and descending.")
  return Ranked(ids, similarities)


def _referred(features: Any, path: pathlib.Path) -> list[pathlib.Path]:
  """Returns the other files that hold values of a virtual dataset."""
  names = {part.file_name for part in features.virtual_sources()} - {"."}
  return [path.parent / name for name in sorted(names)]


def _check_parts(features: Any, path: pathlib.Path) -> None:
  """Raises InputError if files of a virtual dataset are missing; HDF5 would read zeros instead."""
  for part in features.virtual_sources():
    # HDF5 looks for a file beside the one that refers to it.
    source_path = path if part.file_name == "." else path.parent / part.file_name
    if not files.is_file(source_path):
      raise InputError(f"{path} refers to {part.file_name}, which is not there.")


def _check_chunks(features: Any, path: pathlib.Path) -> None:
  """Raises InputError if values were never written; HDF5 would read zeros instead."""
  if features.chunks is None:
    whole = features.id.get_storage_size() == features.size * features.dtype.itemsize
  else:
    sides = zip(features.shape, features.chunks, strict=True)
    whole = features.id.get_num_chunks() == math.prod(-(-side // chunk) for side, chunk in sides)
  if not whole:
    raise InputError(f"{path} was not written to its end: numbers of `features` are missing.")


def _read(features: Any, path: pathlib.Path, count: int | None, index: int) -> LocalFeatures:
  with damage_refused(f"{path} is truncated or damaged."):
    rows = as_float32(features[index, :count])
  is_padding = rows[:, 3]
  if not np.all((is_padding == 0) | (is_padding == 1)):
    raise InputError(f"Image {index} in {path} has a mask that is neither 0 nor 1.")
  rows = rows[is_padding == 0]
  if np.any(np.diff(rows[:, 4]) > 0):
    raise InputError(f"The weights of image {index} in {path} do not descend.")
  return LocalFeatures(
    descriptors=rows[:, _COLUMNS:], locations=rows[:, :2], scales=rows[:, 2], strengths=rows[:, 4]
  )

"""Folders of `.npy` files with descriptors, each named after its image."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.interop import source
from l2g_jax.runtime.arrays import as_float32, read_array


def open_local(folder: os.PathLike | str, names: Sequence[str]) -> source.LocalSource:
  """Opens the descriptors in a folder and below it.

  Args:
    folder: folder whose files hold `[count, d]` descriptors, strongest first.
    names: names of the images, each of which must have a file.

  Raises:
    InputError: the folder is missing, or lacks a file of an image, which the message names.
  """
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise InputError(f"There is no folder {root} with descriptors.")
  paths = source.match_files(sorted(root.rglob("*.npy")), names, str(root))
  dimension = _load(paths[0]).shape[1]

  def read(index: int) -> np.ndarray:
    descriptors = _load(paths[index])
    if descriptors.shape[1] != dimension:
      raise InputError(
        f"{paths[index]} has {descriptors.shape[1]} dimensions; {paths[0]} has {dimension}."
      )
    return descriptors

  return source.LocalSource(
    names=tuple(names),
    dimension=dimension,
    state=lambda index: ["npy"],
    read=lambda index: source.bare_features(read(index)),
    files=[(path,) for path in paths],
  )


def _load(path: pathlib.Path) -> np.ndarray:
  descriptors = read_array(path)
  if descriptors.ndim != 2:
    raise InputError(f"{path} must be [count, d] numbers, not {descriptors.shape}.")
  return as_float32(descriptors)

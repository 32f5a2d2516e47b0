"""Global features in foreign files: .npz, .mat, and folders of .npy or PyTorch tensors."""

import os
import pathlib
from typing import Literal

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.interop import matlab
from l2g_jax.interop.tensor import read_tensor
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import as_float32, read_archived

Part = Literal["queries", "database"]

# Variables of the published MATLAB example; each column is an image.
_MATLAB_NAMES = {"queries": "Q", "database": "X"}
# So many rows of a memory-mapped array are checked at a time.
_CHECKED_ROWS = 1 << 14
_SUFFIXES = (".npy", ".pth", ".pt")


def read_global(path: os.PathLike | str, part: Part, count: int) -> np.ndarray:
  """Reads the global features of the queries or the database of a data set.

  Args:
    path: a `.npz` with `queries` and `database`; a `.mat` with `Q` and `X`, whose columns are
      images; or a folder with both as feature stores, `.npy`, or tensors of `torch.save`, and maybe
      with `distractors`, whose rows follow those of `database`.
    part: `queries` or `database`.
    count: number of images.

  Returns:
    `[count, D]` float32, memory-mapped if the file holds only a tensor.

  Raises:
    InputError: a file is missing or damaged, has another number of images, or has values that are
      not finite.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    where, features = path / part, _read_folder(path, part)
  elif path.suffix == ".mat":
    where, features = path, _read_matlab(path, _MATLAB_NAMES[part])
  else:
    where, features = path, _read_arrays(path, part)
  if features.ndim != 2 or len(features) != count:
    raise InputError(f"{part} in {where} must be [{count}, D], not {features.shape}.")
  chunks = range(0, len(features), _CHECKED_ROWS)
  if not all(np.all(np.isfinite(features[i : i + _CHECKED_ROWS])) for i in chunks):
    raise InputError(f"{part} in {where} has values that are not finite.")
  return features


def stack_global(features: store.FeatureStore) -> np.ndarray:
  """Returns the global features in a store, `[N, D]` float32; zero for an image without one.

  Raises:
    InputError: the store holds local features.
  """
  counts = features.counts()
  if np.any(counts > 1):
    raise InputError("A store of local features was given where global ones are needed.")
  stacked = np.zeros((len(features), features.dimension), np.float32)
  for row in np.flatnonzero(counts):
    stacked[row] = features[int(row)].descriptors[0]
  return stacked


def _read_folder(folder: pathlib.Path, part: str) -> np.ndarray:
  if (folder / part).is_dir():
    features = stack_global(store.open_store(folder / part))
  else:
    features = _read_matrix(folder, part)
  if part == "database" and _find(folder, "distractors") is not None:
    distractors = _read_matrix(folder, "distractors")
    if distractors.shape[1:] != features.shape[1:]:
      raise InputError(f"database and distractors in {folder} differ in their dimension.")
    features = np.concatenate([features, distractors])
  return features


def _find(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  return next((p for s in _SUFFIXES if files.is_file(p := folder / (name + s))), None)


def _read_matrix(folder: pathlib.Path, name: str) -> np.ndarray:
  path = _find(folder, name)
  if path is None:
    raise InputError(f"{folder} has no {name}: a store, .npy or .pth.")
  return as_float32(read_tensor(path))


def _read_arrays(path: pathlib.Path, part: str) -> np.ndarray:
  if not path.is_file():
    raise InputError(f"There is no file {path} with global features.")
  return as_float32(read_archived(path, part))


def _read_matlab(path: pathlib.Path, name: str) -> np.ndarray:
  if not path.is_file():
    raise InputError(f"There is no file {path} with global features.")
  return as_float32(matlab.read_matrix(path, name).T)

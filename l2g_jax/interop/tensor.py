"""Files that hold one tensor, written by `torch.save`, `pickle.dump` or `numpy.save`."""

import os
import pathlib

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.torch_file import Tensor, open_torch_file
from l2g_jax.runtime.arrays import read_array


def read_tensor(path: os.PathLike | str) -> np.ndarray:
  """Reads the only tensor of a file, without PyTorch and without calling functions it names.

  Returns:
    A read-only array, memory-mapped if the numbers lie in the file in one piece.

  Raises:
    InputError: the file is missing, truncated, damaged or hostile, or holds anything else.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no file {path}.")
  if path.suffix == ".npy":
    return read_array(path)
  with open_torch_file(path) as file:
    if not isinstance(file.content, Tensor):
      raise InputError(f"{path} does not hold exactly one tensor.")
    return file.read(file.content)

"""Files that hold one tensor: of `torch.save`, of `pickle.dump`, or `.npy`."""

import os
import pathlib

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.torch_file import Tensor, open_torch_file
from l2g_jax.runtime.arrays import read_array


def read_tensor(path: os.PathLike | str) -> np.ndarray:
  """Reads the one tensor of a file; PyTorch is not needed, and nothing that it names is called.

  Returns:
    A read-only array, memory-mapped where the file has its numbers in one piece.

  Raises:
    InputError: the file is missing, truncated, damaged, hostile, or holds something else.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no file {path}.")
  if path.suffix == ".npy":
    return read_array(path)
  with open_torch_file(path) as file:
    if not isinstance(file.content, Tensor):
      raise InputError(f"{path} holds something else than one tensor.")
    return file.read(file.content)

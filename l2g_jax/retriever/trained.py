"""Weights of networks that were trained here, with the sizes of the network beside them."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from flax import traverse_util

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features import weights

Model = Literal["learned", "bilstm"]

# Folder of trained weights in a work folder.
_FOLDER = "trained"
# What trains each.
COMMANDS: Mapping[Model, str] = {
  "learned": "python -m experiments.train_similarity",
  "bilstm": "python -m experiments.train_lists",
}


# Known by its checksum; arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """A trained network.

  Attributes:
    params: float32 arrays, nested as in Flax.
    sizes: JSON values that say which network it is, and what it is given.
    checksum: identifies both.
  """

  params: Mapping[str, Any]
  sizes: Mapping[str, Any]
  checksum: str


def default_path(work_dir: os.PathLike | str, model: Model) -> pathlib.Path:
  """Returns where a training leaves its weights unless it is told otherwise."""
  return pathlib.Path(work_dir) / _FOLDER / f"{model}.safetensors"


def save_trained(
  path: os.PathLike | str, model: Model, params: Mapping[str, Any], sizes: Mapping[str, Any]
) -> None:
  """Writes a trained network as safetensors, atomically.

  Args:
    path: of the file.
    model: which it is.
    params: nested as in Flax.
    sizes: see `Trained`.
  """
  flat = traverse_util.flatten_dict(dict(params), sep="/")
  arrays = {name: np.asarray(array, np.float32) for name, array in flat.items()}
  metadata = {"model": model, "sizes": json.dumps(dict(sizes), sort_keys=True)}
  weights.save_weights(path, arrays, metadata)


def load_trained(path: os.PathLike | str, model: Model) -> Trained:
  """Reads what `save_trained` wrote.

  Raises:
    InputError: the file is missing, damaged, or of another model.
  """
  if not pathlib.Path(path).is_file():
    raise InputError(f"There are no weights at {path}; `{COMMANDS[model]}` makes them.")
  loaded = weights.load_weights(path, model=model)
  with damage_refused(f"{path} does not say which network it holds; train it again."):
    sizes = dict(json.loads(loaded.metadata["sizes"]))
  return Trained(loaded.params, sizes, loaded.metadata["checksum"])

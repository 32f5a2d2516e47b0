"""Weights of networks as safetensors files, which name their model and their origin."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.runtime import files

_FORMAT = "l2g_jax.weights"
_VERSION = "1"


# Weights are known by their checksum; arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
  """A network's weights.

  Attributes:
    params: float32 arrays, nested as in Flax.
    metadata: texts by name; `checksum` identifies arrays and metadata.
  """

  params: Mapping[str, Any]
  metadata: Mapping[str, str]


def make_weights(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Weights:
  """Returns what `load_weights` reads after `save_weights` of the same arrays and metadata."""
  arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  params = traverse_util.unflatten_dict(arrays, sep="/")
  return Weights(params, {**metadata, "checksum": _checksum(arrays, metadata)})


def save_weights(
  path: os.PathLike | str, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
  """Writes weights, atomically.

  Args:
    path: path of the file.
    arrays: arrays by their path in the parameters, such as `trunk/stem/kernel`.
    metadata: texts by name; `model` is needed.
  """
  arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  header = {
    **metadata,
    "format": _FORMAT,
    "version": _VERSION,
    "checksum": _checksum(arrays, metadata),
  }
  with files.atomic_path(path) as temporary:
    temporary.write_bytes(safetensors.numpy.save(arrays, metadata=header))


def is_weights(path: os.PathLike | str) -> bool:
  """Returns whether a file is, by its header, one that `save_weights` wrote."""
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      return (file.metadata() or {}).get("format") == _FORMAT
  except (OSError, safetensors.SafetensorError):
    return False


def load_weights(path: os.PathLike | str, *, model: str) -> Weights:
  """Reads a file that `save_weights` wrote.

  Raises:
    InputError: the file is missing, truncated or altered, or holds weights of another model.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There are no weights at {path}; `l2g convert` makes them.")
  with (
    damage_refused(f"{path} is truncated or not a safetensors file."),
    safetensors.safe_open(path, framework="numpy") as file,
  ):
    header = dict(file.metadata() or {})
    if header.pop("format", None) != _FORMAT:
      raise InputError(f"{path} holds no weights of l2g_jax; `l2g convert` makes them.")
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  if header.pop("version", None) != _VERSION:
    raise InputError(f"{path} was written by another version; convert the checkpoint again.")
  checksum = header.pop("checksum", None)
  if checksum != _checksum(arrays, header):
    raise InputError(f"{path} was altered; convert the checkpoint again.")
  if header.get("model") != model:
    raise InputError(f"{path} holds weights of {header.get('model')}, not of {model}.")
  with damage_refused(f"{path} has two parameters of one name; convert the checkpoint again."):
    params = traverse_util.unflatten_dict(arrays, sep="/")
  return Weights(params, {**header, "checksum": checksum})


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
  digest = hashlib.blake2b(files.checksum_json(dict(metadata)).encode(), digest_size=16)
  for name in sorted(arrays):
    array = arrays[name]
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()

"""Weights that depend on a seed, the key and the shape alone: those of the golden files."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from l2g_jax.features.checkpoints.conversion import Architecture, convert_tensors


def synthetic_weight(seed: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns a weight of a plausible size for what its key names."""
  rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
  *parents, last = key.split(".")
  if last == "num_batches_tracked":
    return np.array(0, np.int64)
  if last == "p":
    return np.full(shape, 3.0, np.float32)
  if last == "running_var":
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  if last == "weight" and len(shape) == 1:
    bounds = (0.2, 0.4) if parents[-1] in ("c_bn", "bn3") else (0.8, 1.2)
    return rng.uniform(*bounds, shape).astype(np.float32)
  if len(shape) == 4:
    deviation = np.sqrt(2.0 / np.prod(shape[1:]))
  elif last == "templates_init":
    deviation = 1.0
  elif len(shape) == 2:
    deviation = np.sqrt(1.0 / shape[1])
  else:
    deviation = 0.1
  return (deviation * rng.standard_normal(shape)).astype(np.float32)


def synthetic_state(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
  """Returns every tensor that an architecture needs, by its key in a checkpoint."""
  return {
    architecture.prefix + key: synthetic_weight(seed, architecture.prefix + key, shape)
    for layer in architecture.layers
    for key, shape in layer.shapes.items()
  }


def synthetic_params(architecture: Architecture, seed: int) -> dict[str, Any]:
  """Returns those tensors as parameters of ours."""
  state = synthetic_state(architecture, seed)
  return traverse_util.unflatten_dict(convert_tensors(architecture, state.__getitem__), sep="/")


def shallow(params: Mapping[str, Any]) -> dict[str, Any]:
  """Returns parameters with the first block of every stage alone, which compile quickly."""
  trunk = {
    name: part
    for name, part in params["trunk"].items()
    if name == "stem" or name.endswith("_block1")
  }
  return {**params, "trunk": trunk}


def run(module: Any, params: Mapping[str, Any], *arrays: Any) -> Any:
  """Runs a module under jit; Flax types no result."""
  return jax.jit(lambda *inputs: module.apply({"params": params}, *inputs))(*arrays)

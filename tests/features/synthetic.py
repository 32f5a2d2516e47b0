"""Parameters made of synthetic weights: those of the golden files."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util

from benchmarks.synthetic import synthetic_state
from l2g_jax.interop.checkpoints.layers import Architecture, convert_tensors


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

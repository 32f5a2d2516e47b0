"""The published networks of AMES: every tensor of them, by key and shape."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from l2g_jax.interop.checkpoints.layers import Architecture, Layer, dense, layer_norm
from l2g_jax.interop.checkpoints.state import has_tensor
from l2g_jax.ranking.ames.config import VARIANTS, AmesConfig


def find_variant(state: Mapping[str, Any]) -> str:
  """Returns the variant whose first layer tensors have; dinov2_fp where they are of none.

  Args:
    state: values by name, tensors among them.
  """
  for variant, config in VARIANTS.items():
    if has_tensor(state, *_first_weight(config)):
      return variant
  return "dinov2_fp"


def published_architecture(variant: str) -> Architecture:
  """Returns the network of a variant in its checkpoint; the metadata of the weights names it."""
  return dataclasses.replace(ames_architecture(VARIANTS[variant]), settings={"variant": variant})


def ames_architecture(config: AmesConfig) -> Architecture:
  """Returns the network in its checkpoint."""
  width = config.model_dim
  layers = [
    Layer("", {"mtc_token": (width,)}, lambda token: {"token": token}),
    *_remap(config),
  ]
  for number in range(config.num_layers):
    layers += _layer(config, f"layer{number}", f"decoder.layers.{number}")
  layers.append(dense("classifier", "classifier.weight", "classifier.bias", 1, width))
  return Architecture(tuple(layers), own=("mtc_token", "remap_local.", "decoder.", "classifier."))


def _first_weight(config: AmesConfig) -> tuple[str, tuple[int, int]]:
  if config.binarized:
    return "remap_local.0.W", (config.local_dim, config.model_dim)
  return "remap_local.0.weight", (config.model_dim, config.local_dim)


def _remap(config: AmesConfig) -> Iterator[Layer]:
  key, shape = _first_weight(config)
  number, width_in = 0, config.local_dim
  if config.binarized:
    # The only matrix that the published network multiplies from the right.
    yield Layer("remap/projection", {key: shape}, lambda weight: {"kernel": weight})
    number, width_in = 1, config.model_dim
  there = f"remap_local.{number}"
  yield dense("remap/linear", f"{there}.weight", f"{there}.bias", config.model_dim, width_in)
  yield layer_norm("remap/norm", f"remap_local.{number + 1}", config.model_dim)


def _layer(config: AmesConfig, here: str, there: str) -> Iterator[Layer]:
  width, hidden = config.model_dim, config.hidden_dim
  for target, key in (("own", "self_attn"), ("other", "cross_attn")):
    shapes = {
      f"{there}.{key}.in_proj_weight": (3 * width, width),
      f"{there}.{key}.in_proj_bias": (3 * width,),
    }
    yield Layer(f"{here}/{target}", shapes, _unstack)
    output = f"{there}.{key}.out_proj"
    yield dense(f"{here}/{target}/output", f"{output}.weight", f"{output}.bias", width, width)
  for target, key, *sizes in (
    ("hidden", "linear1", hidden, width),
    ("output", "linear2", width, hidden),
  ):
    yield dense(f"{here}/{target}", f"{there}.{key}.weight", f"{there}.{key}.bias", *sizes)
  for target, key in (("norm_own", "norm1"), ("norm_other", "norm2"), ("norm_output", "norm3")):
    yield layer_norm(f"{here}/{target}", f"{there}.{key}", width)


def _unstack(weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the layers of an attention, which PyTorch keeps as one."""
  arrays = {}
  names = ("query", "key", "value")
  for name, kernel, offset in zip(names, np.split(weight, 3), np.split(bias, 3), strict=True):
    arrays |= {f"{name}/kernel": kernel.T, f"{name}/bias": offset}
  return arrays

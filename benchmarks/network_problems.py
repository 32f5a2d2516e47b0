"""The networks that `benchmarks.features` measures: each with input and peer in PyTorch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from l2g_jax.features import aliked, fire, lite0, superglobal
from l2g_jax.features.extractors import Dtype
from l2g_jax.interop.checkpoints.aliked import aliked_architecture
from l2g_jax.interop.checkpoints.architectures import (
  fire_architecture,
  lite0_architecture,
  superglobal_architecture,
)
from l2g_jax.interop.checkpoints.conversion import Model
from l2g_jax.interop.checkpoints.layers import Architecture

# Features by name: (scale, template) or pixel for local ones, "image" or its number for global
# ones.
Found = Mapping[Any, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Problem:
  """A network to compare.

  Attributes:
    title: of its tables.
    model: its name on the command line.
    architecture: the layers and keys of its checkpoint.
    prepare: maps an image `[height, width, 3]` uint8 to the input of both.
    apply: our function of parameters, inputs `[B, height, width, 3]` and precision.
    by_name: maps the result of `apply` to the features of the first input, by name.
    peer: maps tensors by key, and whether channels are last, to PyTorch's function of an input
      `[height, width, 3]`.
    counts_flops: whether XLA can tell its operations; it does not know how often a loop runs.
  """

  title: str
  model: Model
  architecture: Architecture
  prepare: Callable[[np.ndarray], np.ndarray]
  apply: Callable[[Any, jax.Array, Dtype], Any]
  by_name: Callable[[Any], Found]
  peer: Callable[[Mapping[str, np.ndarray], bool], Callable[[np.ndarray], Found]]
  counts_flops: bool = True


def superglobal_problem(depth: superglobal.Depth, num_scales: superglobal.NumScales) -> Problem:
  """Returns SuperGlobal at its published settings."""

  def apply(params: Any, images: jax.Array, dtype: Dtype) -> jax.Array:
    config = superglobal.SuperGlobalConfig(depth=depth, num_scales=num_scales, dtype=dtype)
    return superglobal.apply(params, images, config)

  def peer(state: Mapping[str, np.ndarray], channels_last: bool) -> Callable[[np.ndarray], Found]:
    from benchmarks import torch_networks

    placed = torch_networks.place(state, channels_last=channels_last)
    scales = superglobal.SCALES[num_scales]
    return lambda image: {"image": torch_networks.superglobal(placed, image, scales)}

  return Problem(
    f"SuperGlobal R{depth}, {num_scales} scales",
    "superglobal",
    superglobal_architecture(depth),
    _normalized,
    apply,
    lambda features: {"image": np.asarray(features[0])},
    peer,
  )


def fire_problem(scales: tuple[float, ...] = fire.SCALES) -> Problem:
  """Returns FIRe at the given scales, and otherwise at its published settings."""

  def apply(params: Any, images: jax.Array, dtype: Dtype) -> fire.FireFeatures:
    return fire.apply(params, images, fire.FireConfig(scales=scales, dtype=dtype))

  def by_name(features: fire.FireFeatures) -> Found:
    found = jax.device_get(jax.tree.map(lambda values: values[0], features))
    return dict(
      zip(zip(found.scales, found.templates, strict=True), found.descriptors, strict=True)
    )

  def peer(state: Mapping[str, np.ndarray], channels_last: bool) -> Callable[[np.ndarray], Found]:
    from benchmarks import torch_networks

    placed = torch_networks.place(state, channels_last=channels_last)
    factors = np.asarray(scales, np.float32)

    def describe(image: np.ndarray) -> Found:
      descriptors, numbers = torch_networks.fire(placed, image, scales)
      names = zip(factors[numbers // fire.NUM_TEMPLATES], numbers % fire.NUM_TEMPLATES, strict=True)
      return dict(zip(names, descriptors, strict=True))

    return describe

  title = f"FIRe, {len(scales)} scales"
  return Problem(title, "fire", fire_architecture(), _normalized, apply, by_name, peer)


def lite0_problem() -> Problem:
  """Returns EfficientNet-Lite0 at one size, for images whose sides are multiples of 32."""

  def apply(params: Any, images: jax.Array, dtype: Dtype) -> jax.Array:
    layouts = np.full((len(images), 3), (*images.shape[1:3], 0), np.int32)
    return lite0.apply(params, images, layouts, dtype=dtype)

  def peer(state: Mapping[str, np.ndarray], channels_last: bool) -> Callable[[np.ndarray], Found]:
    from benchmarks import torch_networks

    placed = torch_networks.place(state, channels_last=channels_last)
    layers = torch_networks.fold_lite0(placed)
    return lambda image: {"image": torch_networks.lite0(layers, image)}

  return Problem(
    "EfficientNet-Lite0",
    "lite0",
    lite0_architecture(),
    lambda image: image,
    apply,
    lambda features: {"image": np.asarray(features[0])},
    peer,
  )


def aliked_problem(variant: str = "n16", *, max_descriptors: int = 500) -> Problem:
  """Returns ALIKED, for images whose sides are multiples of 32.

  Its peer has the same savings: it is twice as fast as the code of the public packages.
  """

  def apply(params: Any, images: jax.Array, dtype: Dtype) -> aliked.AlikedFeatures:
    sizes = np.full((len(images), 2), images.shape[1:3], np.int32)
    config = aliked.AlikedConfig(
      aliked.VARIANTS[variant], max_descriptors=max_descriptors, dtype=dtype
    )
    return aliked.apply(params, images, sizes, config)

  def by_name(features: aliked.AlikedFeatures) -> Found:
    found = jax.device_get(jax.tree.map(lambda values: values[0], features))
    return _by_pixel(found.positions[found.valid], found.descriptors[found.valid])

  def peer(state: Mapping[str, np.ndarray], channels_last: bool) -> Callable[[np.ndarray], Found]:
    from benchmarks import torch_aliked, torch_networks

    folded = torch_aliked.fold(torch_networks.place(state, channels_last=channels_last))

    def describe(image: np.ndarray) -> Found:
      descriptors, positions = torch_aliked.aliked(folded, image, max_descriptors)
      return _by_pixel(positions, descriptors)

    return describe

  return Problem(
    f"ALIKED {variant}",
    "aliked",
    aliked_architecture(variant),
    lambda image: image,
    apply,
    by_name,
    peer,
    counts_flops=False,
  )


def _by_pixel(positions: np.ndarray, descriptors: np.ndarray) -> Found:
  """Names key points by the nearest pixel."""
  pixels = map(tuple, np.rint(positions).astype(int).tolist())
  return dict(zip(pixels, descriptors, strict=True))


def _normalized(image: np.ndarray) -> np.ndarray:
  return (image.astype(np.float32) - 115) / 58

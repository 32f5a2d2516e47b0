"""The published network of ALIKED: every tensor of it, by key and shape."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from l2g_jax.features.aliked.config import SCORE_WIDTHS, VARIANTS, Sizes
from l2g_jax.interop.checkpoints.layers import Architecture, Layer, convolution
from l2g_jax.interop.checkpoints.state import has_tensor

_RGB = 3
_TOP = "layers"


def find_variant(state: Mapping[str, Any]) -> str:
  """Returns the variant whose sizes tensors have; n16 where they are of none.

  Args:
    state: values by name, tensors among them.
  """
  for variant, sizes in VARIANTS.items():
    first = (sizes.widths[0], sizes.widths[0], 3, 3)
    last = (sizes.num_samples, sizes.dimension, sizes.dimension)
    if has_tensor(state, "block1.conv2.weight", first) and has_tensor(
      state, "desc_head.agg_weights", last
    ):
      return variant
  return "n16"


def aliked_architecture(variant: str) -> Architecture:
  """Returns the network of a variant in its checkpoint."""
  sizes = VARIANTS[variant]
  first, dimension, count = sizes.widths[0], sizes.dimension, 2 * sizes.num_samples
  scores = zip(SCORE_WIDTHS, (*SCORE_WIDTHS[1:], 1), strict=True)
  layers = [
    convolution(f"{_TOP}/block1/first", "block1.conv1.weight", "block1.bn1", first, _RGB, 3),
    convolution(f"{_TOP}/block1/second", "block1.conv2.weight", "block1.bn2", first, first, 3),
    *_blocks(sizes),
    *(
      _pointwise(f"{_TOP}/levels/level{number}", f"conv{number}", dimension // 4, width)
      for number, width in enumerate(sizes.widths, start=1)
    ),
    Layer(
      f"{_TOP}/score/mix",
      {"score_head.0.weight": (SCORE_WIDTHS[0], dimension, 1, 1)},
      lambda weight: {"kernel": _matrix(weight)},
    ),
    *(
      Layer(
        f"{_TOP}/score/conv{number}",
        {f"score_head.{2 * number}.weight": (width, width_in, 3, 3)},
        lambda weight: {"kernel": _kernel(weight)},
      )
      for number, (width_in, width) in enumerate(scores, start=1)
    ),
    Layer(
      f"{_TOP}/descriptor/hidden",
      {
        "desc_head.offset_conv.0.weight": (count, dimension, 3, 3),
        "desc_head.offset_conv.0.bias": (count,),
      },
      lambda weight, bias: {"kernel": _kernel(weight), "bias": bias},
    ),
    Layer(
      f"{_TOP}/descriptor/offset",
      {
        "desc_head.offset_conv.2.weight": (count, count, 1, 1),
        "desc_head.offset_conv.2.bias": (count,),
      },
      lambda weight, bias: {"kernel": _matrix(weight), "bias": bias},
    ),
    _pointwise(f"{_TOP}/descriptor/sample", "desc_head.sf_conv", dimension, dimension),
    Layer(
      f"{_TOP}/descriptor/aggregate",
      {"desc_head.agg_weights": (sizes.num_samples, dimension, dimension)},
      lambda weight: {"kernel": weight},
    ),
  ]
  own = ("block", "conv", "score_head.", "desc_head.")
  return Architecture(tuple(layers), own=own, settings={"variant": variant})


def _blocks(sizes: Sizes) -> Iterator[Layer]:
  widths = zip(sizes.widths, sizes.widths[1:], strict=False)
  for number, (width_in, width) in enumerate(widths, start=2):
    for name, part, inner in (("first", "1", width_in), ("second", "2", width)):
      target, key = f"{_TOP}/block{number}/{name}", f"block{number}.conv{part}"
      norm = f"block{number}.bn{part}"
      if number == 2:
        yield convolution(target, f"{key}.weight", norm, width, inner, 3)
        continue
      yield convolution(target, f"{key}.regular_conv.weight", norm, width, inner, 3)
      shapes = {
        f"{key}.offset_conv.weight": (18, inner, 3, 3),
        f"{key}.offset_conv.bias": (18,),
      }
      yield Layer(
        f"{target}_offset", shapes, lambda weight, bias: {"kernel": _kernel(weight), "bias": bias}
      )
    key = f"block{number}.downsample"
    yield Layer(
      f"{_TOP}/block{number}/project",
      {f"{key}.weight": (width, width_in, 1, 1), f"{key}.bias": (width,)},
      lambda weight, bias: {"kernel": _matrix(weight), "bias": bias},
    )


def _pointwise(target: str, key: str, width: int, width_in: int) -> Layer:
  shapes = {f"{key}.weight": (width, width_in, 1, 1)}
  return Layer(target, shapes, lambda weight: {"kernel": _matrix(weight)})


def _kernel(weight: np.ndarray) -> np.ndarray:
  """Puts the channels of a convolution last."""
  return weight.transpose(2, 3, 1, 0)


def _matrix(weight: np.ndarray) -> np.ndarray:
  """Returns a 1x1 convolution as a matrix."""
  return weight[:, :, 0, 0].T

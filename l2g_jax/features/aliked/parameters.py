"""The parameters of ALIKED by name and shape.

A layer is a dictionary with `kernel` and, if it has one, `bias`. Batch norms are folded into them.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from l2g_jax.features.aliked.config import SCORE_WIDTHS, Sizes

NUM_TAPS = 9
_RGB = 3

# Shapes by name, nested as the parameters are.
Shapes = Mapping[str, Any]


def parameter_shapes(sizes: Sizes) -> Shapes:
  """Returns the shapes of all parameters of a variant."""
  first, dimension, count = sizes.widths[0], sizes.dimension, 2 * sizes.num_samples
  shapes = {"block1": {"first": _layer(3, _RGB, first), "second": _layer(3, first, first)}}
  for number in (2, 3, 4):
    width_in, width = sizes.widths[number - 2 : number]
    shapes[f"block{number}"] = {
      "first": _layer(3, width_in, width),
      "second": _layer(3, width, width),
      "project": _layer(1, width_in, width),
    }
    if number > 2:
      shapes[f"block{number}"] |= {
        "first_offset": _layer(3, width_in, 2 * NUM_TAPS),
        "second_offset": _layer(3, width, 2 * NUM_TAPS),
      }
  quarter = dimension // 4
  shapes["levels"] = {
    f"level{number}": _layer(1, width, quarter, has_bias=False)
    for number, width in enumerate(sizes.widths, start=1)
  }
  widths = zip(SCORE_WIDTHS, (*SCORE_WIDTHS[1:], 1), strict=True)
  shapes["score"] = {
    "mix": _layer(1, dimension, SCORE_WIDTHS[0], has_bias=False),
    **{f"conv{number}": _layer(3, *pair, has_bias=False) for number, pair in enumerate(widths, 1)},
  }
  shapes["descriptor"] = {
    "hidden": _layer(3, dimension, count),
    "offset": _layer(1, count, count),
    "sample": _layer(1, dimension, dimension, has_bias=False),
    "aggregate": {"kernel": (sizes.num_samples, dimension, dimension)},
  }
  return shapes


def _layer(side: int, width_in: int, width: int, *, has_bias: bool = True) -> Shapes:
  kernel = (width_in, width) if side == 1 else (side, side, width_in, width)
  return {"kernel": kernel, "bias": (width,)} if has_bias else {"kernel": kernel}


class Parameters(nn.Module):
  """A tree of parameters."""

  shapes: Shapes

  @nn.compact
  def __call__(self) -> dict[str, Any]:
    """Returns the parameters, nested as their shapes are."""
    return {
      name: Parameters(shape, name=name)()
      if isinstance(shape, Mapping)
      else self.param(name, nn.initializers.normal(0.1), shape)
      for name, shape in self.shapes.items()
    }

"""Settings of ALIKED, and the sizes of its published variants."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from l2g_jax import settings
from l2g_jax.features.protocol import Dtype

# The coarsest level has one pixel for so many pixels of the image, along each side.
STRIDE = 32
# Pixels of a level's side in one of its own: of block1 to block4.
STRIDES = (1, 2, 8, 32)
# Hidden channels of the score head.
SCORE_WIDTHS = (8, 4, 4)


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The sizes of a variant.

  Attributes:
    widths: channels of the four blocks.
    dimension: channels of the feature map, and length of a descriptor.
    num_samples: positions that a descriptor looks at.
  """

  widths: tuple[int, int, int, int]
  dimension: int
  num_samples: int


# Turned photographs trained n16rot, which is n16 by its sizes.
VARIANTS: Mapping[str, Sizes] = {
  "t16": Sizes((8, 16, 32, 64), 64, 16),
  "n16": Sizes((16, 32, 64, 128), 128, 16),
  "n32": Sizes((16, 32, 64, 128), 128, 32),
}


@dataclasses.dataclass(frozen=True)
class AlikedConfig:
  """Settings of ALIKED.

  Attributes:
    sizes: those of the variant.
    max_descriptors: number of key points that are kept, those of the highest scores.
    dtype: type of the convolutions of the trunk, `float32` or `bfloat16`.
  """

  sizes: Sizes = VARIANTS["n16"]
  max_descriptors: int = 500
  dtype: Dtype = "float32"

  def __post_init__(self):
    checked: Mapping[str, Any] = {
      "max_descriptors": settings.integer("max_descriptors", self.max_descriptors, least=1),
      "dtype": settings.choice("dtype", self.dtype, get_args(Dtype)),
    }
    for name, value in checked.items():
      object.__setattr__(self, name, value)

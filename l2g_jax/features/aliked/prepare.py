"""Inputs of ALIKED: images reduced, padded as the network wants it, and put into a larger array."""

from typing import NamedTuple

import numpy as np

from l2g_jax.features.aliked.config import STRIDE
from l2g_jax.features.preprocess import reduce_by_area

# Sides of arrays: those of common shapes of photographs, few enough to compile a program for each
# pair, which takes as long as tens of images. Larger ones are multiples of 256.
_SIDES = (64, 128, 192, 256, 320, 384, 512, 640)
_LARGE_MULTIPLE = 256


class Input(NamedTuple):
  """The input of one image.

  Attributes:
    pixels: `[height, width, 3]` uint8, see `pad`.
    size: `[2]` int32, height and width of the image that was padded.
    whole: `[2]` int32, height and width of the image before it was reduced.
  """

  pixels: np.ndarray
  size: np.ndarray
  whole: np.ndarray


def make_input(image: np.ndarray, *, max_side: int) -> Input:
  """Reduces an image so that its longer side has at most `max_side` pixels, and pads it.

  Args:
    image: `[height, width, 3]` uint8, RGB.
    max_side: the limit; images are never enlarged.
  """
  pixels = reduce_by_area(image, max_side=max_side)
  padded = pad(pixels, (padded_side(pixels.shape[0]), padded_side(pixels.shape[1])))
  size = np.array(pixels.shape[:2], np.int32)
  return Input(padded, size, np.array(image.shape[:2], np.int32))


def padded_side(side: int) -> int:
  """Returns the side of the array for a side of an image; there are few."""
  larger = -(-side // _LARGE_MULTIPLE) * _LARGE_MULTIPLE
  return next((padded for padded in _SIDES if padded >= side), larger)


def pad(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Pads an image to multiples of 32 by its outermost pixels, and then to a shape by zeros.

  Args:
    image: `[height, width, 3]` uint8.
    shape: height and width of the result, multiples of 32.
  """
  true = [-(-side // STRIDE) * STRIDE for side in image.shape[:2]]
  margins = []
  for side, whole in zip(image.shape[:2], true, strict=True):
    before = (whole - side) // 2
    margins.append((before, whole - side - before))
  result = np.zeros((*shape, 3), np.uint8)
  result[: true[0], : true[1]] = np.pad(image, [*margins, (0, 0)], mode="edge")
  return result

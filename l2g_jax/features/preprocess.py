"""Inputs of the published networks: sizes, colour order and statistics of each reference.

Each reference also reads files and crops queries in its own way, see `Reading`.
"""

import dataclasses

import cv2
import numpy as np
from PIL import Image

from l2g_jax.data.images import CropPolicy

# Mean and deviation of ImageNet, in the order red, green, blue.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# Side of a patch of DINOv2 in pixels.
_PATCH = 14


@dataclasses.dataclass(frozen=True)
class Reading:
  """The way a reference reads a photograph.

  Attributes:
    crop_policy: how the box of a query becomes a crop, see `images.crop_to_box`.
    apply_exif: whether the image is turned by its EXIF orientation.
  """

  crop_policy: CropPolicy
  apply_exif: bool


SUPERGLOBAL_READING = Reading("truncate", apply_exif=True)
FIRE_READING = Reading("round", apply_exif=False)


def superglobal_input(image: np.ndarray) -> np.ndarray:
  """Returns the input of SuperGlobal: the image in its own size, in the order blue, green, red.

  Args:
    image: `[height, width, 3]` uint8, RGB.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  return np.ascontiguousarray(_normalized(image)[:, :, ::-1])


def fire_input(image: np.ndarray, *, max_side: float = 1024) -> np.ndarray:
  """Returns the input of FIRe: the image in a limited size, in the order red, green, blue.

  Args:
    image: `[height, width, 3]` uint8, RGB.
    max_side: the longer side is reduced to this many pixels, rounded down; images are never
      enlarged. For a crop, see `fire_query_side`.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  return _normalized(fire_thumbnail(image, max_side=max_side))


def fire_thumbnail(image: np.ndarray, *, max_side: float = 1024) -> np.ndarray:
  """Reduces an image as FIRe does, with the Lanczos filter of Pillow; see `fire_input`."""
  if max(image.shape[:2]) <= max_side:
    return image
  # The limit of a tiny crop may be below one; Pillow has no images without pixels.
  max_side = max(max_side, 1.0)
  thumbnail = Image.fromarray(np.ascontiguousarray(image))
  thumbnail.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
  return np.asarray(thumbnail)


def fire_query_side(
  crop: tuple[int, int], image: tuple[int, int], *, max_side: float = 1024
) -> float:
  """Returns the limit for a crop with which it is reduced as much as its whole image.

  Args:
    crop: height and width of the crop.
    image: height and width of the image from which it is cut.
    max_side: the limit for whole images.
  """
  return max_side * max(crop) / max(image)


def reduce_by_area(image: np.ndarray, *, max_side: int) -> np.ndarray:
  """Reduces an image so that its longer side has at most so many pixels, by OpenCV's area filter.

  Args:
    image: `[height, width, 3]` or `[height, width]` uint8.
    max_side: the limit, at least 1; images are never enlarged.
  """
  height, width = image.shape[:2]
  scale = max_side / max(height, width)
  if scale >= 1.0:
    return image
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)


def ames_cvnet_input(image: np.ndarray, *, scale: float) -> np.ndarray:
  """Returns the input of CVNet for the local features of AMES, in the order blue, green, red.

  Args:
    image: `[height, width, 3]` uint8, RGB.
    scale: factor of the sides, which are rounded; published are 0.7071, 1 and 1.4142.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
  return superglobal_input(cv2.resize(image, None, fx=scale, fy=scale, interpolation=method))


def ames_dinov2_input(image: np.ndarray) -> np.ndarray:
  """Returns the input of DINOv2 for the local features of AMES, in the order blue, green, red.

  Args:
    image: `[height, width, 3]` uint8, RGB; its sides become the nearest multiples of 14.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  height, width = (max(1, round(side / _PATCH)) * _PATCH for side in image.shape[:2])
  shrinks = height < image.shape[0] or width < image.shape[1]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return superglobal_input(cv2.resize(image, (width, height), interpolation=method))


def _normalized(image: np.ndarray) -> np.ndarray:
  return (image.astype(np.float32) / np.float32(255) - _MEAN) / _DEVIATION

"""What the published networks are given: sizes, colour order and statistics of each reference.

A reference also has its way to read a file and to cut a query out of it, see `Reading`.
"""

import dataclasses

import cv2
import numpy as np
from PIL import Image

from l2g_jax.data.images import CropPolicy

# Of ImageNet, in the order red, green, blue.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# Side of a patch of DINOv2, in pixels.
_PATCH = 14


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a reference reads a photograph.

  Attributes:
    crop_policy: how a query's box becomes a crop, see `images.crop_to_box`.
    apply_exif: whether the image is turned as its EXIF orientation says.
  """

  crop_policy: CropPolicy
  apply_exif: bool


SUPERGLOBAL_READING = Reading("truncate", apply_exif=True)
FIRE_READING = Reading("round", apply_exif=False)


def superglobal_input(image: np.ndarray) -> np.ndarray:
  """Returns what SuperGlobal is given: the image in its own size, in the order blue, green, red.

  Args:
    image: `[height, width, 3]` uint8, RGB.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  return np.ascontiguousarray(_normalized(image)[:, :, ::-1])


def fire_input(image: np.ndarray, *, max_side: float = 1024) -> np.ndarray:
  """Returns what FIRe is given: the image in the order red, green, blue, of a limited size.

  Args:
    image: `[height, width, 3]` uint8, RGB.
    max_side: the longer side is reduced to this many pixels, rounded down; it is never enlarged.
      See `fire_query_side` for a crop.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  return _normalized(fire_thumbnail(image, max_side=max_side))


def fire_thumbnail(image: np.ndarray, *, max_side: float = 1024) -> np.ndarray:
  """Reduces an image as FIRe does, by Pillow's Lanczos filter; see `fire_input`."""
  if max(image.shape[:2]) <= max_side:
    return image
  # Pillow has no image without pixels; a limit below one is that of a tiny crop.
  max_side = max(max_side, 1.0)
  thumbnail = Image.fromarray(np.ascontiguousarray(image))
  thumbnail.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
  return np.asarray(thumbnail)


def fire_query_side(
  crop: tuple[int, int], image: tuple[int, int], *, max_side: float = 1024
) -> float:
  """Returns the limit for a crop, so that it is reduced as much as its whole image would be.

  Args:
    crop: its height and width.
    image: height and width of the image that it is cut from.
    max_side: the limit for whole images.
  """
  return max_side * max(crop) / max(image)


def ames_cvnet_input(image: np.ndarray, *, scale: float) -> np.ndarray:
  """Returns what CVNet is given for AMES's local features, in the order blue, green, red.

  Args:
    image: `[height, width, 3]` uint8, RGB.
    scale: 0.7071, 1 or 1.4142 as published; sides are rounded.

  Returns:
    `[height, width, 3]` float32, normalised.
  """
  method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
  return superglobal_input(cv2.resize(image, None, fx=scale, fy=scale, interpolation=method))


def ames_dinov2_input(image: np.ndarray) -> np.ndarray:
  """Returns what DINOv2 is given for AMES's local features, in the order blue, green, red.

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

"""What a picture looks like when it is small, and how much it shows."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import cv2
import numpy as np

from l2g_jax.data.images import read_photograph
from l2g_jax.features.preprocess import reduce_by_area

# Of the small picture; what two pictures share is compared on it.
SIDE = 320
# Sharpness is told at this longer side, or below, of all pictures.
_SHARPNESS_SIDE = 512
# What is lost where a picture is reduced and enlarged again, in grey levels, root mean square: less
# is noise, and then the picture shows no more than the reduced one.
_LOSS = 1.5
_REDUCTIONS = (0.25, 0.35, 0.5, 0.71)
_MIDDLE = 1024


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known of a picture besides its features.

  Attributes:
    size: height and width in pixels of the file, turned by its EXIF.
    reduction: see `Photograph`.
    bytes: of the file.
    detail: pixels that it truly shows: those of the smallest copy from which it can be enlarged.
    sharpness: variance of the Laplacian of its grey levels at a longer side of 512 pixels or below.
    pixels: digest of what was decoded.
  """

  size: tuple[int, int]
  reduction: int
  bytes: int
  detail: float
  sharpness: float
  pixels: str

  def to_json(self) -> list[Any]:
    """Returns a JSON value."""
    return [list(self.size), *dataclasses.astuple(self)[1:]]

  @classmethod
  def from_json(cls, values: list[Any]) -> "Facts":
    """Reads what `to_json` returned."""
    (height, width), *others = values
    return cls((height, width), *others)


@dataclasses.dataclass(frozen=True)
class Look:
  """A small picture.

  Attributes:
    grey: `[h, w]` uint8, longer side at most `SIDE`.
    facts: of the whole picture.
  """

  grey: np.ndarray
  facts: Facts


def read_look(path: pathlib.Path) -> Look:
  """Reads a picture.

  Raises:
    InputError: it can't be used.
  """
  photograph = read_photograph(path)
  grey = cv2.cvtColor(np.ascontiguousarray(photograph.pixels), cv2.COLOR_RGB2GRAY)
  digest = hashlib.blake2b(np.ascontiguousarray(photograph.pixels).data, digest_size=16)
  facts = Facts(
    size=photograph.size,
    reduction=photograph.reduction,
    bytes=path.stat().st_size,
    detail=_detail(grey),
    sharpness=sharpness(reduce_by_area(grey, max_side=_SHARPNESS_SIDE)),
    pixels=f"{photograph.pixels.shape[0]}x{digest.hexdigest()}",
  )
  return Look(reduce_by_area(grey, max_side=SIDE), facts)


def sharpness(grey: np.ndarray) -> float:
  """Returns the variance of the Laplacian of `[h, w]` uint8."""
  return float(np.var(cv2.Laplacian(grey, cv2.CV_32F)))


def _detail(grey: np.ndarray) -> float:
  """Returns how many of the pixels `[h, w]` a picture truly shows, by its middle."""
  middle = tuple(
    slice((side - min(side, _MIDDLE)) // 2, (side + min(side, _MIDDLE)) // 2) for side in grey.shape
  )
  seen = grey[middle]
  height, width = seen.shape
  for reduction in _REDUCTIONS:
    size = (max(1, round(width * reduction)), max(1, round(height * reduction)))
    small = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    if np.sqrt(np.mean(np.square(cv2.subtract(seen, again, dtype=cv2.CV_32F)))) <= _LOSS:
      return grey.size * reduction**2
  return float(grey.size)

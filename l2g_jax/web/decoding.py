"""What worker processes do with pictures: look at them, reduce them, turn them.

This module is light: a worker imports it when it starts.
"""

import dataclasses
import os
import pathlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from l2g_jax.data.images import read_photograph, read_size
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.web.failures import DAMAGED, NO_PICTURE, TOO_LARGE, Refusal

_QUALITY = 82


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known of a picture once it was decoded.

  Attributes:
    width: in pixels of the file, turned by its EXIF.
    height: likewise.
    notes: see `Photograph.notes`.
  """

  width: int
  height: int
  notes: tuple[str, ...]


def inspect(path: pathlib.Path, shown: str, max_pixels: int) -> Facts:
  """Decodes a picture that somebody sent.

  Args:
    path: its file.
    shown: the picture in sentences, in place of the path.
    max_pixels: the most that are decoded.

  Raises:
    Refusal: it is no picture, too large or damaged.
  """
  if not path.stat().st_size:
    raise Refusal(NO_PICTURE, f"{shown} is an empty file.")
  try:
    height, width = read_size(path)
    if height * width > max_pixels:
      raise Refusal(
        TOO_LARGE,
        f"{shown} has {width} x {height} pixels; at most {max_pixels / 1e6:g} megapixels are"
        " taken.",
      )
    return look_at(path)
  except Refusal:
    raise
  except InputError as error:
    is_other = isinstance(error.__cause__, UnidentifiedImageError)
    is_bomb = isinstance(error.__cause__, Image.DecompressionBombError) or "too large" in str(error)
    status = NO_PICTURE if is_other else TOO_LARGE if is_bomb else DAMAGED
    sentence = str(error).replace(os.fspath(path), shown).replace(f"Image {shown}", shown)
    raise Refusal(status, sentence) from None


def look_at(path: pathlib.Path) -> Facts:
  """Decodes a picture of the collection.

  Raises:
    InputError: it can't be read.
  """
  photograph = read_photograph(path)
  return Facts(photograph.size[1], photograph.size[0], photograph.notes)


def write_reduced(
  path: pathlib.Path, side: int, turn: int, mirror: bool, output: pathlib.Path
) -> None:
  """Writes a picture as a JPEG, turned by its EXIF and as `turned` does.

  Args:
    path: its file.
    side: the longer side in pixels, at most; it is never enlarged.
    turn: clockwise, in degrees.
    mirror: whether it is mirrored.
    output: the file to write.

  Raises:
    InputError: the picture can't be read.
  """
  image, profile = _read_drafted(path, side) or (Image.fromarray(_read(path)), None)
  if max(image.size) > side:
    image = ImageOps.contain(image, (side, side), Image.Resampling.BICUBIC)
  pixels = turned(np.asarray(image), turn, mirror=mirror)
  options = {"icc_profile": profile} if profile else {}
  with files.atomic_path(output) as temporary:
    Image.fromarray(pixels).save(temporary, format="JPEG", quality=_QUALITY, **options)


def write_turned(path: pathlib.Path, turn: int, mirror: bool, output: pathlib.Path) -> None:
  """Writes a picture without loss, turned by its EXIF and as `turned` does.

  Args:
    path: its file.
    turn: clockwise, in degrees.
    mirror: whether it is mirrored.
    output: the file to write.

  Raises:
    InputError: the picture can't be read.
  """
  pixels = turned(_read(path), turn, mirror=mirror)
  with files.atomic_path(output) as temporary:
    # Written and read again in no time, and soon removed.
    Image.fromarray(pixels).save(temporary, format="BMP")


def turned(pixels: np.ndarray, turn: int, *, mirror: bool) -> np.ndarray:
  """Turns a picture clockwise, and then mirrors it left to right.

  Args:
    pixels: `[height, width, ...]`.
    turn: 0, 90, 180 or 270 degrees.
    mirror: whether it is mirrored.
  """
  values = np.rot90(pixels, -turn // 90)
  return np.ascontiguousarray(values[:, ::-1] if mirror else values)


def _read(path: pathlib.Path) -> np.ndarray:
  return np.ascontiguousarray(read_photograph(path).pixels)


def _read_drafted(path: pathlib.Path, side: int) -> tuple[Image.Image, bytes | None] | None:
  """Has the decoder of a JPEG reduce it, which takes a fraction of the time.

  Returns:
    The picture, larger than wanted where it is so itself, and its colour profile; None where it is
    no plain JPEG that is whole.
  """
  try:
    with Image.open(path, formats=["JPEG"]) as image:
      if image.mode not in ("RGB", "L"):
        return None
      image.draft("RGB", (2 * side, 2 * side))
      turned_image = ImageOps.exif_transpose(image)
      return turned_image.convert("RGB"), image.info.get("icc_profile")
  except Exception:  # `read_photograph` knows what to do with such a file.
    return None

"""Photographs from disk: decoding, and cropping to the box of a query.

Pillow decodes them, since it tells damaged files from whole ones and knows every colour mode.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from l2g_jax import settings
from l2g_jax.data import decoding, pixels
from l2g_jax.data.image_formats import open_image, unread_kinds
from l2g_jax.data.image_names import printable
from l2g_jax.data.photo_folders import list_images as list_images
from l2g_jax.errors import InputError

CropPolicy = Literal["truncate", "round", "inclusive", "none"]
Box = tuple[float, float, float, float]

# Notes on the reading of a photograph, beside those in `pixels`.
CUT_SHORT = "the file is cut short or damaged, nearly all of its pixels were decoded"
FIRST_OF_SEVERAL = "the first of several pictures in the file is used"
REDUCED = "larger than 89 megapixels, read at a reduced size"

# By EXIF orientation: whether columns are flipped, and then the quarter turns of np.rot90.
_TURNS = {
  2: (True, 0),
  3: (False, 2),
  4: (True, 2),
  5: (True, 1),
  6: (False, 3),
  7: (True, 3),
  8: (False, 1),
}


@dataclasses.dataclass(frozen=True)
class Photograph:
  """A decoded photograph.

  Attributes:
    pixels: `[height, width, 3]` uint8, RGB.
    size: height and width in the file's own pixels, turned as `pixels` are; boxes have this unit.
    reduction: side of the square of the file's pixels that became one of `pixels`; 1 up to 89
      megapixels.
    notes: sentences about the reading that a user should know, such as `REDUCED`.
  """

  pixels: np.ndarray
  size: tuple[int, int]
  reduction: int
  notes: tuple[str, ...]


def read_photograph(path: os.PathLike | str, *, apply_exif: bool = True) -> Photograph:
  """Decodes a photograph.

  Args:
    path: a file of any format in `image_formats.endings` and any colour mode, see `pixels`.
    apply_exif: whether to turn the image by its EXIF orientation.

  Returns:
    The photograph; the first one if the file has several pictures.

  Raises:
    InputError: the file is missing, can't be read, is no image, is too large, or is too damaged,
      see `decoding`; the message names the file.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    return _read(decoding.decode(file, path.suffix), apply_exif=apply_exif)


def read_size(path: os.PathLike | str) -> tuple[int, int]:
  """Returns height and width of a photograph, turned by its EXIF; its pixels are not decoded.

  Args:
    path: see `read_photograph`.

  Raises:
    InputError: the file is missing, can't be read or is no image.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    image = open_image(file, path.suffix)
    width, height = image.size
    # Pillow tells the size of a TIFF as it will be turned.
    is_lying = _turn(image)[1] % 2 and not hasattr(image, "_tile_size")
    return (width, height) if is_lying else (height, width)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[decoding.SizedFile]:
  """Opens an image file; errors of reading it become sentences that name it."""
  shown = printable(str(path))
  try:
    with _open(path, shown) as file, warnings.catch_warnings():
      # Odd metadata is no reason to refuse pixels that decode.
      warnings.simplefilter("ignore")
      yield file
  except InputError:
    raise
  except (decoding.TooLargeError, Image.DecompressionBombError) as error:
    raise InputError(f"Image {shown} is too large to be decoded safely: {error}.") from error
  except UnidentifiedImageError as error:
    kind = unread_kinds().get(path.suffix.lower())
    remark = f": it is {kind}" if kind else ""
    raise InputError(f"{shown} is not an image that can be read{remark}.") from error
  except (decoding.DamagedError, *decoding.DAMAGE) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise InputError(f"Image {shown} can't be read: {error.strerror}.") from error
    raise InputError(f"Image {shown} is truncated or damaged: {error}.") from error
  except MemoryError as error:
    raise InputError(f"Image {shown} is too large for the memory at hand.") from error


def read_image(path: os.PathLike | str, *, apply_exif: bool = True) -> np.ndarray:
  """Returns the pixels of a photograph, `[height, width, 3]` uint8; see `read_photograph`."""
  return read_photograph(path, apply_exif=apply_exif).pixels


def crop_photograph(
  photograph: Photograph, box: Box, *, policy: CropPolicy = "truncate"
) -> np.ndarray:
  """Cuts a query out of its photograph.

  Args:
    photograph: the photograph.
    box: x1, y1, x2, y2 in the file's own pixels, zero-based; after the turn by EXIF, if it was
      applied.
    policy: see `crop_to_box`.

  Returns:
    The part of `photograph.pixels` that shows the box, a view.

  Raises:
    InputError: the box is not finite or lies outside the photograph.
    SettingError: there is no such policy.
  """
  settings.choice("policy", policy, get_args(CropPolicy))
  if not np.all(np.isfinite(box)):
    raise InputError(f"Box {list(box)} is not finite.")
  if policy == "none":
    return photograph.pixels
  height, width = photograph.size
  left, top, right, bottom = _bounds(box, policy)
  left, right = max(left, 0), min(right, width)
  top, bottom = max(top, 0), min(bottom, height)
  if left >= right or top >= bottom:
    raise InputError(f"Box {list(box)} lies outside its image of {width} x {height} pixels.")
  step = photograph.reduction
  return photograph.pixels[top // step : -(-bottom // step), left // step : -(-right // step)]


def count_notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
  """Returns a line for each note, with the number of its images and the names of the first.

  Args:
    notes: the notes of each image, by name.
  """
  names = collections.defaultdict(list)
  for name, own in notes.items():
    for note in own:
      names[note].append(printable(name))
  lines = []
  for note, found in sorted(names.items()):
    shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    lines.append(f"{len(found)} image{'s' if len(found) > 1 else ''}: {note} ({shown}).")
  return lines


def crop_to_box(image: np.ndarray, box: Box, *, policy: CropPolicy = "truncate") -> np.ndarray:
  """Cuts a query out of its photograph.

  Args:
    image: `[height, width, 3]`.
    box: x1, y1, x2, y2 in pixels, zero-based.
    policy: `truncate` takes int() of each coordinate, as SuperGlobal does; `round` rounds, as
      Pillow and FIRe do; `inclusive` includes both ends, as the published MATLAB example does;
      `none` keeps the whole image.

  Returns:
    The part of the box that lies in the image, a view.

  Raises:
    InputError: the box is not finite or lies outside the image.
    SettingError: there is no such policy.
  """
  height, width = image.shape[:2]
  return crop_photograph(Photograph(image, (height, width), 1, ()), box, policy=policy)


def _bounds(box: Box, policy: CropPolicy) -> tuple[int, int, int, int]:
  """Returns the first column and row of a box, and those behind its last column and row."""
  if policy == "inclusive":
    # uint32(box + 1) as one-based inclusive indices.
    left, top, right, bottom = (int(np.floor(value + 1.5)) for value in box)
    return left - 1, top - 1, right, bottom
  left, top, right, bottom = (round(x) if policy == "round" else int(x) for x in box)
  return left, top, right, bottom


@contextlib.contextmanager
def _open(path: pathlib.Path, shown: str) -> Iterator[decoding.SizedFile]:
  """Opens a regular file that is not empty; reading another, such as a pipe, might never end."""
  try:
    status = path.stat()
  except (FileNotFoundError, NotADirectoryError, ValueError) as error:
    raise InputError(f"There is no image at {shown}.") from error
  if not stat.S_ISREG(status.st_mode):
    raise InputError(f"{shown} is a folder or a device, not an image.")
  if status.st_size == 0:
    raise InputError(f"Image {shown} is an empty file.")
  try:
    file = decoding.SizedFile(path)
  except FileNotFoundError as error:
    raise InputError(f"There is no image at {shown}.") from error
  with file:
    yield file


def _read(decoded: decoding.Decoded, *, apply_exif: bool) -> Photograph:
  """Converts and turns a decoded image."""
  image = decoded.image
  if decoded.wide is None:
    values, notes = pixels.to_rgb(image, reduction=decoded.reduction)
  else:
    values, notes = pixels.wide_to_rgb(decoded.wide, image.info.get("transparency"))
  width, height = decoded.size
  mirrored, turns = _turn(image) if apply_exif else (False, 0)
  if mirrored or turns:
    values = np.ascontiguousarray(np.rot90(values[:, ::-1] if mirrored else values, turns))
    width, height = (height, width) if turns % 2 else (width, height)
  reduction = decoded.drafted * decoded.reduction
  applicable = {
    CUT_SHORT: not decoded.whole,
    FIRST_OF_SEVERAL: _has_several(image),
    REDUCED: reduction > 1,
  }
  notes = sorted([*notes, *(note for note, applies in applicable.items() if applies)])
  return Photograph(values, (height, width), reduction, tuple(notes))


def _turn(image: Image.Image) -> tuple[bool, int]:
  """Returns the turn by the EXIF orientation of an image; none if its EXIF can't be read."""
  try:
    return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), (False, 0))
  except Exception:  # Pillow's parser raises exceptions of many kinds.
    return False, 0


def _has_several(image: Any) -> bool:
  """Returns whether a file has several pictures; previews of cameras and layers do not count."""
  try:
    return image.format not in ("MPO", "PSD") and bool(image.is_animated)
  except Exception:  # Pillow may read on in the file, and raise exceptions of many kinds.
    return False

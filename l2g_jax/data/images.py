"""Photographs from disk: decoding, cropping to a query's box, and listing of folders.

Pillow decodes, since it tells damaged from whole files and knows every colour mode.
"""

import os
import pathlib
import warnings
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from l2g_jax.errors import InputError

CropPolicy = Literal["truncate", "round", "inclusive", "none"]
Box = tuple[float, float, float, float]

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


def read_image(path: os.PathLike | str, *, apply_exif: bool = True) -> np.ndarray:
  """Decodes a photograph.

  Args:
    path: a file of any format that Pillow reads; grey, CMYK, palette and 16-bit ones are converted.
    apply_exif: whether to turn the image as its EXIF orientation says.

  Returns:
    `[height, width, 3]` uint8, RGB.

  Raises:
    InputError: the file is missing, empty, truncated, no image, or of more than 89 megapixels; the
      message names it.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no image at {path}.")
  if path.stat().st_size == 0:
    raise InputError(f"Image {path} is an empty file.")
  try:
    with warnings.catch_warnings():
      # Odd metadata is no reason to refuse pixels that decode; a bomb is.
      warnings.simplefilter("ignore")
      warnings.simplefilter("error", Image.DecompressionBombWarning)
      with Image.open(path) as image:
        image.load()
        return _to_rgb(_turn(image) if apply_exif else image)
  except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
    raise InputError(f"Image {path} is too large to be decoded safely.") from error
  except UnidentifiedImageError as error:
    raise InputError(f"{path} is not an image that can be read.") from error
  except (OSError, SyntaxError, ValueError, EOFError) as error:
    raise InputError(f"Image {path} is truncated or damaged: {error}.") from error


def crop_to_box(image: np.ndarray, box: Box, *, policy: CropPolicy = "truncate") -> np.ndarray:
  """Cuts a query out of its photograph.

  Args:
    image: `[height, width, 3]`.
    box: x1, y1, x2, y2 in pixels, zero-based.
    policy: `truncate` as SuperGlobal, int() of each coordinate; `round` as PIL and FIRe;
      `inclusive` as the published MATLAB example, both ends within; `none` keeps the whole image.

  Returns:
    The part of the box that lies in the image, a view.

  Raises:
    InputError: nothing of the box lies in the image.
  """
  if policy == "none":
    return image
  if policy == "round":
    left, top, right, bottom = (round(value) for value in box)
  else:
    left, top, right, bottom = (int(value) for value in box)
  if policy == "inclusive":
    # uint32(box + 1) as one-based inclusive indices.
    left, top, right, bottom = (int(np.floor(value + 1.5)) for value in box)
    left, top = left - 1, top - 1
  crop = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
  if 0 in crop.shape:
    height, width = image.shape[:2]
    raise InputError(f"Box {list(box)} lies outside its image of {width} x {height} pixels.")
  return crop


def list_images(folder: os.PathLike | str) -> tuple[tuple[str, ...], tuple[pathlib.Path, ...]]:
  """Finds the images in a folder and below it.

  Args:
    folder: where to look; hidden files and folders are passed over.

  Returns:
    Names, relative and without extension, ascending; and their paths.

  Raises:
    InputError: the folder is missing, holds no image, or two images would have the same name.
  """
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise InputError(f"There is no folder {root}.")
  found: dict[str, pathlib.Path] = {}
  for path in sorted(root.rglob("*")):
    relative = path.relative_to(root)
    hidden = any(part.startswith(".") for part in relative.parts)
    if hidden or path.suffix.lower() not in EXTENSIONS or path.is_dir():
      continue
    name = relative.with_suffix("").as_posix()
    if name in found:
      raise InputError(f"{found[name]} and {path} would have the same name; rename one.")
    found[name] = path
  if not found:
    raise InputError(f"{root} holds no image ({', '.join(EXTENSIONS)}).")
  names = tuple(sorted(found))
  return names, tuple(found[name] for name in names)


def _turn(image: Image.Image) -> Image.Image:
  """Turns a decoded image as its EXIF orientation says; unreadable EXIF says nothing."""
  try:
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
  except Exception:  # Pillow's parser raises whatever it trips over.
    turn = None
  return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray:
  if image.mode.startswith(("I", "F")):
    # Pillow clips what is wider than 8 bits instead of scaling it.
    values = np.asarray(image, np.float64)
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1.0)
    grey = np.clip(values / top * 255.0, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
  return np.array(image.convert("RGB"))

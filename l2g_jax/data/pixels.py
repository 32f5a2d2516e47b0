"""Pixels of every colour mode that Pillow opens, as 8-bit RGB by one rule.

8-bit colours stay as they are; transparent parts are seen on white; what is wider than 8 bits is
scaled by its finite range, so that its smallest value becomes black and its largest white. Colour
profiles are not applied, since the published features were made without.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

TRANSPARENT = "transparent parts are seen on white"
WIDE = "values of more than 8 bits are scaled by their range"

# Converted at a time; it bounds the memory beside the image itself.
_BAND_PIXELS = 1 << 24
# TIFF's tags, and what the second says of unsigned values.
_BITS, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1


def to_rgb(image: Image.Image, *, reduction: int = 1) -> tuple[np.ndarray, frozenset[str]]:
  """Converts an image.

  Values wider than 8 bits: NaN and values that are declared transparent become white, -inf black
  and inf white. A constant image keeps its place in the range of its type, 0 to 65535 for integers
  and 0 to 1 for floats, cut there.

  Args:
    image: of any mode.
    reduction: so many pixels across and down become one, their mean.

  Returns:
    `[ceil(height / reduction), ceil(width / reduction), 3]` uint8, RGB; and which of `TRANSPARENT`
    and `WIDE` was done.

  Raises:
    ValueError: the image has no finite value, or its mode can't be converted.
  """
  convert = _converter(image)
  width, height = image.size
  rows = max(1, _BAND_PIXELS // (width * reduction)) * reduction
  if rows >= height and reduction == 1:
    return convert(image)
  pixels = np.empty((-(-height // reduction), -(-width // reduction), 3), np.uint8)
  notes: frozenset[str] = frozenset()
  for top in range(0, height, rows):
    part, done = convert(image.crop((0, top, width, min(top + rows, height))))
    first = top // reduction
    pixels[first : first + rows // reduction] = np.asarray(Image.fromarray(part).reduce(reduction))
    notes |= done
  return pixels, notes


_Convert = Callable[[Image.Image], tuple[np.ndarray, frozenset[str]]]


def wide_to_rgb(
  values: np.ndarray, transparent: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, frozenset[str]]:
  """Converts colours of 16 bits by the same rule: one range for all colours of an image.

  Args:
    values: `[height, width, 3 or 4]` uint16, RGB and maybe alpha.
    transparent: a colour that is declared transparent.

  Returns:
    As `to_rgb`.
  """
  if values.shape[2] == 4:
    alpha = values[:, :, 3]
  else:
    clear = np.zeros(values.shape[:2], bool)
    if transparent is not None:
      clear = np.all(values == np.array(transparent, np.uint16), axis=2)
    alpha = np.where(clear, 0, 65535).astype(np.uint16)
  colours, seen = values[:, :, :3], alpha > 0
  low = int(np.min(colours, where=seen[:, :, None], initial=65535))
  high = int(np.max(colours, where=seen[:, :, None], initial=0))
  if low >= high:
    low, high = 0, 65535
  pixels = np.empty(colours.shape, np.uint8)
  rows = max(1, _BAND_PIXELS // (4 * values.shape[1]))
  for top in range(0, len(values), rows):
    band = slice(top, top + rows)
    scaled = (np.clip(colours[band], low, high).astype(np.uint32) - low) * 255 // (high - low)
    opaque = alpha[band, :, None].astype(np.uint32) // 257
    pixels[band] = (scaled * opaque + 255 * (255 - opaque) + 127) // 255
  return pixels, frozenset({WIDE} if alpha.min(initial=65535) == 65535 else {WIDE, TRANSPARENT})


def _converter(image: Image.Image) -> _Convert:
  """Returns what converts the image or a part of it."""
  if image.mode.startswith(("I", "F")):
    return _wide_converter(image)
  if image.has_transparency_data:
    return _on_white
  if image.mode == "LAB":
    return _lab_converter()
  return lambda part: (np.array(part.convert("RGB")), frozenset())


def _on_white(part: Image.Image) -> tuple[np.ndarray, frozenset[str]]:
  if part.mode == "La":
    part = part.convert("LA")
  pixels = np.array(part.convert("RGBA"))
  colours, alpha = pixels[:, :, :3], pixels[:, :, 3:]
  if alpha.min() == 255:
    return np.ascontiguousarray(colours), frozenset()
  # 255 * 255 + 127 still fits 16 bits.
  alpha = alpha.astype(np.uint16)
  mixed = (colours * alpha + 255 * (255 - alpha) + 127) // 255
  return mixed.astype(np.uint8), frozenset({TRANSPARENT})


def _wide_converter(image: Image.Image) -> _Convert:
  """Returns what scales values by the finite range of the whole image."""
  clear = image.info.get("transparency")
  tags = getattr(image, "tag_v2", {})
  # Pillow takes unsigned 32-bit values for signed ones.
  unsigned = (
    image.mode == "I"
    and tuple(tags.get(_BITS, ())) == (32,)
    and tuple(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == (_UNSIGNED,)
  )

  def values_of(part: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values, float64 or int64, and which of them are there."""
    values = np.asarray(part)
    if values.dtype.kind == "f":
      return values.astype(np.float64), ~np.isnan(values)
    values = (values.view(np.uint32) if unsigned else values).astype(np.int64)
    return values, np.ones(values.shape, bool) if clear is None else values != clear

  low, high = np.inf, -np.inf
  width, height = image.size
  rows = max(1, _BAND_PIXELS // width)
  for top in range(0, height, rows):
    values, present = values_of(image.crop((0, top, width, min(top + rows, height))))
    finite = values[present & np.isfinite(values)]
    if len(finite):
      low, high = min(low, finite.min()), max(high, finite.max())
  if low > high:
    raise ValueError("it has no finite value")
  if low == high:
    low, high = 0, 1 if image.mode == "F" else 65535

  def convert(part: Image.Image) -> tuple[np.ndarray, frozenset[str]]:
    values, present = values_of(part)
    values = np.clip(np.where(present, values, high), low, high)
    if values.dtype.kind == "f":
      grey = np.floor((values - low) / (high - low) * 255)
    else:
      grey = (values - low) * 255 // (high - low)
    grey = np.where(present, grey, 255).astype(np.uint8)
    notes = {WIDE} if present.all() else {WIDE, TRANSPARENT}
    return np.repeat(grey[:, :, None], 3, axis=2), frozenset(notes)

  return convert


def _lab_converter() -> _Convert:
  transform = ImageCms.buildTransform(
    ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
  )

  def convert(part: Image.Image) -> tuple[np.ndarray, frozenset[str]]:
    converted = ImageCms.applyTransform(part, transform)
    assert converted is not None
    return np.array(converted), frozenset()

  return convert

"""Pixels of every colour mode that Pillow opens, as 8-bit RGB by one rule.

Colours of 8 bits stay as they are. Transparent parts are seen on white. Wider values are scaled by
their finite range, so that the smallest becomes black and the largest white; a few outliers, such
as the hot pixels of a sensor, do not stretch that range. Colour profiles are not applied, since the
published features were made without them.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

TRANSPARENT = "transparent parts are seen on white"
WIDE = "values of more than 8 bits are scaled by their range"
OUTLIERS = "values far outside the range of all others are cut off"

# So many pixels are converted at a time: 128 MiB as float64, beside the image itself.
BAND_PIXELS = 1 << 24
# Outliers are at most one pixel in a thousand; of fewer than a hundred pixels none is one, since it
# may be all that the image shows. They lie beyond ten times the range of the other pixels.
_PIXELS_PER_OUTLIER = 1000
_LEAST_PIXELS = 100
_OUTLIER_RANGES = 10
# TIFF's tags of bits and sample format, and the sample format of unsigned values.
_BITS, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1


def to_rgb(image: Image.Image, *, reduction: int = 1) -> tuple[np.ndarray, frozenset[str]]:
  """Converts an image.

  Of values wider than 8 bits, NaN and those declared transparent become white, -inf black and inf
  white. A constant image is scaled by the range of its type, 0 to 65535 for integers and 0 to 1 for
  floats, and clipped to it.

  Args:
    image: an image of any mode.
    reduction: side of the square of pixels that become one pixel, their mean.

  Returns:
    `[ceil(height / reduction), ceil(width / reduction), 3]` uint8, RGB; and those of `TRANSPARENT`,
    `WIDE` and `OUTLIERS` that apply.

  Raises:
    ValueError: the image has no finite value, or its mode can't be converted.
  """
  convert = _converter(image)
  width, height = image.size
  rows = max(1, BAND_PIXELS // (width * reduction)) * reduction
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
  """Converts colours of 16 bits by the same rule, with one range for the three colours.

  Args:
    values: `[height, width, 3 or 4]` uint16, RGB and maybe alpha.
    transparent: the colour that is declared transparent, if there is one.

  Returns:
    See `to_rgb`.
  """
  if values.shape[2] == 4:
    alpha = values[:, :, 3]
  else:
    clear = np.zeros(values.shape[:2], bool)
    if transparent is not None:
      clear = np.all(values == np.array(transparent, np.uint16), axis=2)
    alpha = np.where(clear, 0, 65535).astype(np.uint16)
  colours = values[:, :, :3]
  rows = max(1, BAND_PIXELS // (4 * values.shape[1]))
  bands = [slice(top, top + rows) for top in range(0, len(values), rows)]
  seen = (colours[band][alpha[band] > 0] for band in bands)
  extremes = ((band.min(axis=1), band.max(axis=1)) for band in seen)
  found = _find_range(extremes, alpha.size, full=65535) or _Range(0, 65535, is_cut=False)
  low, high = int(found.low), int(found.high)
  pixels = np.empty(colours.shape, np.uint8)
  for band in bands:
    scaled = (np.clip(colours[band], low, high).astype(np.uint32) - low) * 255 // (high - low)
    opaque = alpha[band, :, None].astype(np.uint32) // 257
    pixels[band] = (scaled * opaque + 255 * (255 - opaque) + 127) // 255
  notes = {
    WIDE: True,
    TRANSPARENT: alpha.min(initial=65535) < 65535,
    OUTLIERS: found.is_cut,
  }
  return pixels, frozenset(note for note, applies in notes.items() if applies)


class _Range(NamedTuple):
  """The range of values that is scaled, and whether outliers lie outside of it."""

  low: float
  high: float
  is_cut: bool


def _find_range(
  bands: Iterable[tuple[np.ndarray, np.ndarray]], num_pixels: int, *, full: int
) -> _Range | None:
  """Finds the range of an image's values without its outliers.

  Args:
    bands: for the pixels of each part of the image that have a value, `[n]` the smallest value of
      each pixel and `[n]` the largest.
    num_pixels: number of pixels of the image.
    full: largest value of the type, which ends the range of a constant image; 0 begins it.

  Returns:
    The range; None where no pixel has a value.
  """
  most = 1 + -(-num_pixels // _PIXELS_PER_OUTLIER)
  count = 0
  lows, highs = np.empty(0), np.empty(0)
  for smallest, largest in bands:
    count += len(smallest)
    lows = np.sort(np.concatenate([lows, _ends(smallest, most, first=True)]))[:most]
    highs = np.sort(np.concatenate([highs, _ends(largest, most, first=False)]))[::-1][:most]
  if not count:
    return None
  low, high = lows[0], highs[0]
  if low == high:
    return _Range(0, full, is_cut=False)
  num_outliers = -(-count // _PIXELS_PER_OUTLIER) if count >= _LEAST_PIXELS else 0
  inner_low, inner_high = lows[num_outliers], highs[num_outliers]
  reach = _OUTLIER_RANGES * (inner_high - inner_low)
  if reach > 0:
    low = lows[lows >= inner_high - reach][0]
    high = highs[highs <= inner_low + reach][0]
  return _Range(low, high, is_cut=bool(low > lows[0] or high < highs[0]))


def _ends(values: np.ndarray, count: int, *, first: bool) -> np.ndarray:
  """Returns the `count` smallest or largest of values, in any order; all if there are fewer."""
  if len(values) <= count:
    return values
  if first:
    return np.partition(values, count - 1)[:count]
  return np.partition(values, len(values) - count)[-count:]


def _converter(image: Image.Image) -> _Convert:
  """Returns a function that converts the image or a part of it."""
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
  """Returns a function that scales values by the finite range of the whole image."""
  clear = image.info.get("transparency")
  tags = getattr(image, "tag_v2", {})
  # Pillow takes unsigned 32-bit values for signed ones.
  unsigned = (
    image.mode == "I"
    and tuple(tags.get(_BITS, ())) == (32,)
    and tuple(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == (_UNSIGNED,)
  )

  def values_of(part: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values, float64 or int64, and a mask of valid ones."""
    values = np.asarray(part)
    if values.dtype.kind == "f":
      return values.astype(np.float64), ~np.isnan(values)
    values = (values.view(np.uint32) if unsigned else values).astype(np.int64)
    return values, np.ones(values.shape, bool) if clear is None else values != clear

  def bands() -> Iterable[tuple[np.ndarray, np.ndarray]]:
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
      values, present = values_of(image.crop((0, top, width, min(top + rows, height))))
      finite = values[present & np.isfinite(values)]
      yield finite, finite

  is_float = image.mode == "F"
  found = _find_range(bands(), image.size[0] * image.size[1], full=1 if is_float else 65535)
  if found is None:
    raise ValueError("it has no finite value")
  low, high = (found.low, found.high) if is_float else (int(found.low), int(found.high))

  def convert(part: Image.Image) -> tuple[np.ndarray, frozenset[str]]:
    values, present = values_of(part)
    values = np.clip(np.where(present, values, high), low, high)
    if values.dtype.kind == "f":
      grey = np.floor((values - low) / (high - low) * 255)
    else:
      grey = (values - low) * 255 // (high - low)
    grey = np.where(present, grey, 255).astype(np.uint8)
    notes = {WIDE: True, TRANSPARENT: not present.all(), OUTLIERS: found.is_cut}
    done = frozenset(note for note, applies in notes.items() if applies)
    return np.repeat(grey[:, :, None], 3, axis=2), done

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

"""Photographs made small for a report."""

import io
import os

import numpy as np
from PIL import Image, ImageOps

from l2g_jax.data.images import Box, crop_photograph, read_photograph
from l2g_jax.errors import InputError
from l2g_jax.report.blocks import Picture

# The longer side in pixels of a result, and of a query.
RESULT_SIDE = 200
QUERY_SIDE = 352
_QUALITY = 72
_GREY = (150, 150, 150)


def read_picture(
  name: str, path: os.PathLike | str, *, side: int = RESULT_SIDE, box: Box | None = None
) -> Picture:
  """Reads a photograph and reduces it; one that can't be read becomes a grey square.

  Args:
    name: of the image.
    path: its file.
    side: the longer side in pixels to which it is reduced; it is never enlarged.
    box: the part to show, x1, y1, x2, y2 in pixels of the photograph; None = all of it.
  """
  try:
    photograph = read_photograph(path)
    pixels = photograph.pixels if box is None else crop_photograph(photograph, box)
  except InputError:
    return Picture(name, _encode(Image.new("RGB", (side, side), _GREY)), (side, side))
  image = Image.fromarray(np.ascontiguousarray(pixels))
  if max(image.size) > side:
    image = ImageOps.contain(image, (side, side), Image.Resampling.BOX)
  return Picture(name, _encode(image), photograph.size)


def _encode(image: Image.Image) -> bytes:
  file = io.BytesIO()
  image.save(file, format="JPEG", quality=_QUALITY, optimize=True)
  return file.getvalue()

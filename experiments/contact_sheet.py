"""A picture of a query and its first results."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from l2g_jax import files
from l2g_jax.data.images import Box, read_image

_TILE = 240
_GAP = 12
_COLUMNS = 6
_INK = (20, 20, 20)
_FRAME = (215, 60, 30)


@dataclasses.dataclass(frozen=True)
class Tile:
  """One picture and the lines below it.

  Attributes:
    path: its file.
    lines: what is written below, one line each.
  """

  path: pathlib.Path
  lines: Sequence[str]


def save_contact_sheet(
  path: os.PathLike | str, query: Tile, box: Box | None, results: Sequence[Tile]
) -> None:
  """Writes a PNG: the query with its box first, then the results in order.

  Args:
    path: the file to write.
    query: the query.
    box: the part that was searched, x1, y1, x2, y2 in pixels; None = all of it.
    results: best first.
  """
  font = ImageFont.load_default(14)
  num_lines = max(len(tile.lines) for tile in (query, *results))
  height = _TILE + 18 * num_lines + _GAP
  rows = -(-(len(results) + 1) // _COLUMNS)
  size = (_COLUMNS * (_TILE + _GAP) + _GAP, rows * height + _GAP)
  sheet = Image.new("RGB", size, "white")
  draw = ImageDraw.Draw(sheet)
  for place, tile in enumerate((query, *results)):
    left = _GAP + place % _COLUMNS * (_TILE + _GAP)
    top = _GAP + place // _COLUMNS * height
    picture = _thumbnail(tile.path, box if place == 0 else None)
    sheet.paste(picture, (left + (_TILE - picture.width) // 2, top + _TILE - picture.height))
    if place == 0:
      draw.rectangle((left - 5, top - 5, left + _TILE + 5, top + height - _GAP), outline=_FRAME)
    for number, line in enumerate(tile.lines):
      draw.text((left, top + _TILE + 3 + 18 * number), _fit(line, font), fill=_INK, font=font)
  with files.atomic_path(path) as temporary:
    sheet.save(temporary, format="PNG")


def _thumbnail(path: pathlib.Path, box: Box | None) -> Image.Image:
  picture = Image.fromarray(np.ascontiguousarray(read_image(path)))
  if box is not None:
    width = max(1, round(max(picture.size) / 80))
    ImageDraw.Draw(picture).rectangle(box, outline=_FRAME, width=width)
  return ImageOps.contain(picture, (_TILE, _TILE))


def _fit(line: str, font) -> str:
  """Cuts a line to the width of a tile, at its front: names differ at their end."""
  if font.getlength(line) <= _TILE:
    return line
  while font.getlength("..." + line) > _TILE:
    line = line[1:]
  return "..." + line

"""A picture of a query and its first results."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box, read_photograph
from l2g_jax.data.photo_folders import SHEET_MARK
from l2g_jax.errors import InputError
from l2g_jax.runtime import files

_TILE = 240
_GAP = 12
_COLUMNS = 6
_INK = (20, 20, 20)
_FRAME = (215, 60, 30)
_MISSING = (190, 190, 190)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclasses.dataclass(frozen=True)
class Tile:
  """One picture and the lines below it.

  Attributes:
    path: its file.
    lines: the text below it.
  """

  path: pathlib.Path
  lines: Sequence[str]


def save_contact_sheet(
  path: os.PathLike | str, query: Tile, box: Box | None, results: Sequence[Tile]
) -> None:
  """Writes a PNG: the query with its box first, then the results in order.

  A picture that can't be read is a grey tile that says why.

  Args:
    path: the file to write; it is marked as a contact sheet, see `photo_folders`.
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
    picture = _thumbnail(tile.path, box if place == 0 else None, font)
    sheet.paste(picture, (left + (_TILE - picture.width) // 2, top + _TILE - picture.height))
    if place == 0:
      draw.rectangle((left - 5, top - 5, left + _TILE + 5, top + height - _GAP), outline=_FRAME)
    for number, line in enumerate(tile.lines):
      draw.text((left, top + _TILE + 3 + 18 * number), _fit(line, font), fill=_INK, font=font)
  mark = PngInfo()
  mark.add_text("Software", SHEET_MARK)
  with files.atomic_path(path) as temporary:
    sheet.save(temporary, format="PNG", pnginfo=mark)


def _thumbnail(path: pathlib.Path, box: Box | None, font: _Font) -> Image.Image:
  try:
    photograph = read_photograph(path)
  except InputError as error:
    return _grey_tile(str(error), font)
  picture = Image.fromarray(np.ascontiguousarray(photograph.pixels))
  if box is not None:
    width = max(1, round(max(picture.size) / 80))
    corners = [value / photograph.reduction for value in box]
    ImageDraw.Draw(picture).rectangle(corners, outline=_FRAME, width=width)
  return ImageOps.contain(picture, (_TILE, _TILE))


def _grey_tile(text: str, font: _Font) -> Image.Image:
  """Returns a grey tile with as much of a text as fits, broken anywhere: paths have no spaces."""
  tile = Image.new("RGB", (_TILE, _TILE), _MISSING)
  draw = ImageDraw.Draw(tile)
  top, line = _GAP, ""
  for letter in [*printable(text), None]:
    if letter is None or font.getlength(line + letter) > _TILE - 2 * _GAP:
      draw.text((_GAP, top), line, fill=_INK, font=font)
      top, line = top + 18, ""
    line += letter or ""
  return tile


def _fit(line: str, font: _Font) -> str:
  """Cuts a line to the width of a tile, at its front: names differ at their end."""
  line = printable(line)
  if font.getlength(line) <= _TILE:
    return line
  while font.getlength("..." + line) > _TILE:
    line = line[1:]
  return "..." + line

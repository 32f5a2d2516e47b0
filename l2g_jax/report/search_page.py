"""The results of a search for one photograph as a page that is one file, pictures among it."""

import base64
import dataclasses
from collections.abc import Sequence

from l2g_jax.report import templates
from l2g_jax.report.templates import escape


@dataclasses.dataclass(frozen=True)
class Tile:
  """A picture and what is said of it.

  Attributes:
    name: of the picture.
    jpeg: the picture, made small; None = its file can't be read.
    region: corners x, y of a part of it, as fractions of its width and height; None = all of it.
    lines: the words beside it.
  """

  name: str
  jpeg: bytes | None
  region: Sequence[Sequence[float]] | None = None
  lines: Sequence[str] = ()


def render(query: Tile, results: Sequence[Tile], remarks: Sequence[str]) -> str:
  """Returns the page.

  Args:
    query: the photograph that was searched for, and the part of it.
    results: best first.
    remarks: sentences for the reader.
  """
  style = templates.style()
  return templates.fill(
    "search.html",
    title=escape(f"Results for {query.name}"),
    remarks="\n".join(f"<p>{escape(remark)}</p>" for remark in remarks),
    query=_picture(query, f"Query {query.name}"),
    results="\n".join(_tile(rank, tile) for rank, tile in enumerate(results, start=1)),
    style=style,
    style_hash=templates.checksum(style),
  )


def corners(box: Sequence[float]) -> list[tuple[float, float]]:
  """Returns the corners of a box x1, y1, x2, y2, clockwise from its top left."""
  left, top, right, bottom = box
  return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _tile(rank: int, tile: Tile) -> str:
  words = "".join(f"<span>{escape(line)}</span>" for line in (tile.name, *tile.lines))
  return (
    f'<li class="tile"><span class="photo framed">{_picture(tile, tile.name)}</span>'
    f'<span class="words"><span class="head">{rank}</span>{words}</span></li>'
  )


def _picture(tile: Tile, text: str) -> str:
  if tile.jpeg is None:
    return "<span>The file can't be read.</span>"
  content = base64.b64encode(tile.jpeg).decode()
  return f'<img src="data:image/jpeg;base64,{content}" alt="{escape(text)}">{_outline(tile)}'


def _outline(tile: Tile) -> str:
  if tile.region is None:
    return ""
  points = " ".join(f"{100 * x:.2f},{100 * y:.2f}" for x, y in tile.region)
  strokes = "".join(
    f'<polygon points="{points}" fill="none" vector-effect="non-scaling-stroke"'
    f' stroke="{colour}" stroke-width="{line}"/>'
    for colour, line in (("#fff", 5), ("#d73c1e", 3))
  )
  return f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{strokes}</svg>'

"""Small photographs at points of a plot, moved aside where they would hide each other."""

import base64
import dataclasses
import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import numpy as np

# In units of the plot, 72 an inch.
_SIDE = 26.0
_GAP = 3.0
_RINGS = 40
# The pattern of a frame by the number of its group, so that groups differ not by colour alone.
_DASHES = ("4 2", "7 2 1.5 2", "", "1.5 1.5", "")
_WIDTH = 2.0


@dataclasses.dataclass(frozen=True)
class Thumbnail:
  """A photograph at a point.

  Attributes:
    group: the name of the group that has the point; the frame has its colour.
    x: of the point.
    y: likewise.
    jpeg: the reduced picture as a file; its middle is shown as a square.
  """

  group: str
  x: float
  y: float
  jpeg: bytes


def frames(
  thumbnails: Sequence[Thumbnail],
  points: np.ndarray,
  bounds: tuple[float, float, float, float],
  groups: Sequence[str],
  colours: Sequence[str],
) -> list[ElementTree.Element]:
  """Returns the elements of an SVG: each picture with its frame, and a line to its point.

  Args:
    thumbnails: those that matter most first, as these lie nearest to their points.
    points: `[n, 2]`, where their points lie in the plot.
    bounds: left, top, right and bottom of the part of the plot that may be covered.
    groups: the names of the groups, in order.
    colours: of the groups, begun anew at the end.
  """
  lines, made = [], []
  for thumbnail, (x, y), centre in zip(thumbnails, points, _places(points, bounds), strict=True):
    number = groups.index(thumbnail.group)
    colour, dash = colours[number % len(colours)], _DASHES[number % len(_DASHES)]
    left, top = centre - _SIDE / 2
    stroke = {"stroke": colour, "fill": "none"}
    ends = _texts(x1=x, y1=y, x2=centre[0], y2=centre[1])
    lines.append(ElementTree.Element("line", {**ends, **stroke, "stroke-opacity": "0.7"}))
    square = _texts(x=left, y=top, width=_SIDE, height=_SIDE)
    address = "data:image/jpeg;base64," + base64.b64encode(thumbnail.jpeg).decode()
    shown = {"href": address, "preserveAspectRatio": "xMidYMid slice"}
    made.append(ElementTree.Element("image", {**square, **shown}))
    border = {"stroke-width": f"{_WIDTH:g}", **({"stroke-dasharray": dash} if dash else {})}
    made.append(ElementTree.Element("rect", {**square, **stroke, **border}))
  return lines + made


def _texts(**numbers: float) -> dict[str, str]:
  return {name: f"{number:.2f}" for name, number in numbers.items()}


def _places(points: np.ndarray, bounds: tuple[float, float, float, float]) -> Iterator[np.ndarray]:
  """Yields the centres: each the nearest to its point at which nothing lies yet."""
  least = np.array(bounds[:2]) + _SIDE / 2
  most = np.array(bounds[2:]) - _SIDE / 2
  taken = np.empty((0, 2))
  for point in points:
    tried = np.clip(point + _OFFSETS, least, most)
    apart = np.abs(tried[:, None] - taken[None]).max(axis=2) >= _SIDE + _GAP
    # Where all places are taken, the first one is taken twice.
    centre = tried[int(np.argmax(apart.all(axis=1)))]
    taken = np.vstack([taken, centre])
    yield centre


def _make_offsets() -> np.ndarray:
  """Returns `[o, 2]`, offsets from a point, the nearest first."""
  offsets = [(0.0, 0.0)]
  for ring in range(1, _RINGS):
    radius, count = ring * _SIDE / 3, 8 + 4 * ring
    angles = [2 * math.pi * step / count for step in range(count)]
    offsets += [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
  return np.array(offsets)


_OFFSETS = _make_offsets()

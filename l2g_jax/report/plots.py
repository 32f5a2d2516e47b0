"""Plots as SVG text that a page takes in: no style, script or address of its own.

Text and axes have the colour of the text around them, so that a plot is legible on dark and on
light ground. Series differ by marker and dash too, not by colour alone.
"""

import dataclasses
import functools
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.report.thumbnails import Thumbnail, frames

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclasses.dataclass(frozen=True)
class Point:
  """What a point of a scatter plot is.

  Attributes:
    title: shown where the mouse rests on it.
    link: the identifier on the page to which it leads, such as `query-3`.
  """

  title: str
  link: str


_INCHES = (5.4, 3.4)
# Of a plot with photographs.
_TALL_INCHES = (5.4, 5.0)
# An SVG has as many units an inch; at this the places of points are those of its elements.
_DPI = 72
# Stands for the colour of the text around the plot until the SVG is written.
_INK = "#010203"
# Legible on white and on nearly black ground.
_COLOURS = ("#3f7fd1", "#d2691e", "#2a9d6f", "#b8529f", "#8f8a1e", "#7d8590")
# Begins the identifier of the markers of a group.
_GROUP = "points-of-"
_MARKERS = "osD^vP"
_MOST_TICKS = 9
# Of the first series; the later are narrower, so that one which covers another leaves its rim.
_WIDEST, _NARROWEST = 3.6, 1.2
# The size of a hollow marker, which is seen around a line and a marker of the widest series.
_HOLLOW = 8.5
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_SETTINGS = {
  "svg.fonttype": "none",
  "svg.hashsalt": "l2g_jax",
  "font.size": 10,
  "text.color": _INK,
  "axes.edgecolor": _INK,
  "axes.labelcolor": _INK,
  "xtick.color": _INK,
  "ytick.color": _INK,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "legend.frameon": False,
  "legend.fontsize": 9,
}


def lines(
  series: Series,
  *,
  x: str,
  y: str,
  log_x: bool = False,
  log_y: bool = False,
  mark_x: float | None = None,
  y_range: tuple[float, float] | None = None,
  subject: str | None = None,
) -> str:
  """Draws series of points joined by lines.

  Args:
    series: by name, values along x and along y, as many of both; one without a name has no legend.
    x: the label of that axis.
    y: likewise.
    log_x: whether the axis is logarithmic; values are above 0 then.
    log_y: likewise.
    mark_x: where an upright line stands, such as at a default; None = nowhere.
    y_range: the least and the greatest value that the axis shows; None = by the values.
    subject: the name of the series that the plot is about: it is wide and lies on top, and the
      others are thin with hollow markers that look out from under it; None = all are alike.

  Returns:
    SVG text.

  Raises:
    InputError: Matplotlib is not installed, or a series has not as many values along x as along y.
  """

  def draw(axes: Any) -> None:
    names = sorted(series, key=lambda name: name != subject)
    widths = np.linspace(_WIDEST, _NARROWEST, len(series)) if len(series) > 1 else [_NARROWEST]
    for name, (xs, ys) in series.items():
      number = names.index(name)
      is_thin = subject is not None and name != subject
      width = _NARROWEST if is_thin else widths[number]
      axes.plot(
        xs,
        ys,
        label=name,
        color=_COLOURS[number % len(_COLOURS)],
        linestyle=_DASHES[number % len(_DASHES)],
        linewidth=width,
        marker=_MARKERS[number % len(_MARKERS)] if len(xs) <= 24 else None,
        markersize=_HOLLOW if is_thin else 3 + width,
        markerfacecolor="none" if is_thin else None,
        zorder=2.5 if name == subject else 2,
      )
    if mark_x is not None:
      axes.axvline(mark_x, color=_INK, linewidth=0.8, linestyle=(0, (2, 3)))
    if y_range is not None:
      axes.set_ylim(*y_range)

  return _draw(draw, series, x=x, y=y, log_x=log_x, log_y=log_y)


def scatter(
  groups: Series,
  *,
  x: str,
  y: str,
  log_x: bool = False,
  log_y: bool = False,
  diagonal: bool = False,
  thumbnails: Sequence[Thumbnail] = (),
  points: Mapping[str, Sequence[Point]] | None = None,
) -> str:
  """Draws groups of points.

  Args:
    groups: by name, values along x and along y, as many of both; one without a name has no legend.
    x: the label of that axis.
    y: likewise.
    log_x: whether the axis is logarithmic; values are above 0 then.
    log_y: likewise.
    diagonal: whether a line shows where both values are equal.
    thumbnails: photographs at some of the points, those that matter most first.
    points: by the name of a group, what each of its points is; None = they have no names.

  Returns:
    SVG text.

  Raises:
    InputError: Matplotlib is not installed, or a group has not as many values along x as along y.
  """

  def draw(axes: Any) -> None:
    for number, (name, (xs, ys)) in enumerate(groups.items()):
      axes.plot(
        xs,
        ys,
        label=name,
        color=_COLOURS[number % len(_COLOURS)],
        linestyle="none",
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=5,
        markerfacecolor="none" if number % 2 else None,
        gid=f"{_GROUP}{name}",
      )
    if diagonal:
      axes.axline((0, 0), slope=1, color=_INK, linewidth=0.8, linestyle=(0, (2, 3)))

  return _draw(
    draw,
    groups,
    x=x,
    y=y,
    log_x=log_x,
    log_y=log_y,
    thumbnails=thumbnails,
    at_points=False,
    points=points or {},
  )


def require() -> None:
  """Refuses, before the work, to draw without Matplotlib.

  Raises:
    InputError: it is not installed.
  """
  _matplotlib()


def _draw(
  draw: Callable[[Any], None],
  series: Series,
  *,
  x: str,
  y: str,
  log_x: bool,
  log_y: bool,
  thumbnails: Sequence[Thumbnail] = (),
  at_points: bool = True,
  points: Mapping[str, Sequence[Point]] = MappingProxyType({}),
) -> str:
  for name, (xs, ys) in series.items():
    if len(xs) != len(ys):
      raise InputError(f"{name!r} has {len(xs)} values along x and {len(ys)} along y.")
  matplotlib, figures = _matplotlib()
  with matplotlib.rc_context(_SETTINGS):
    inches = _TALL_INCHES if thumbnails else _INCHES
    figure = figures.Figure(figsize=inches, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if log_x:
      axes.set_xscale("log")
      _label_powers(axes.xaxis, {x for xs, _ in series.values() for x in xs if at_points})
    if log_y:
      axes.set_yscale("log")
      _label_powers(axes.yaxis, {y for _, ys in series.values() for y in ys if at_points})
    axes.grid(color=_INK, alpha=0.15, linewidth=0.6)
    if [*series] != [""]:
      figure.legend(loc="outside upper left", ncols=3)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    pictures = _frames(axes, thumbnails, [*series])
  return _clean(text.getvalue(), pictures, points)


def _frames(
  axes: Any, thumbnails: Sequence[Thumbnail], names: Sequence[str]
) -> list[ElementTree.Element]:
  """Returns the elements of the thumbnails of axes that were drawn."""
  points = np.reshape([(each.x, each.y) for each in thumbnails], (-1, 2))
  # From the lower left corner; an SVG counts from the upper one.
  points = axes.transData.transform(points)
  height, box = axes.figure.bbox.height, axes.bbox
  points[:, 1] = height - points[:, 1]
  bounds = (box.x0, height - box.y1, box.x1, height - box.y0)
  return frames(thumbnails, points, bounds, names, _COLOURS)


def _label_powers(axis: Any, values: Collection[float]) -> None:
  """Labels a logarithmic axis with plain numbers: those of the series, where they are a few."""
  if 0 < len(values) <= _MOST_TICKS:
    axis.set_ticks(sorted(values), labels=[f"{value:g}" for value in sorted(values)])
    axis.set_ticks([], minor=True)
  else:
    axis.set_major_formatter("{x:g}")


@functools.cache
def _matplotlib() -> tuple[Any, Any]:
  try:
    import matplotlib
    from matplotlib import figure
  except ImportError as error:
    raise InputError(
      'Reports need Matplotlib for their plots: pip install "l2g_jax[report]".'
    ) from error
  return matplotlib, figure


def _name_points(group: ElementTree.Element, points: Sequence[Point]) -> None:
  """Wraps each marker of a group in a link with a title, which a browser shows at the point."""
  # Matplotlib draws markers in the order of the points.
  markers = [(parent, each) for parent in group.iter() for each in parent if each.tag == "use"]
  for (parent, marker), point in zip(markers, points, strict=True):
    link = ElementTree.Element("a", {"href": f"#{point.link}"})
    ElementTree.SubElement(link, "title").text = point.title
    parent[[*parent].index(marker)] = link
    link.append(marker)


def _clean(
  text: str, pictures: Sequence[ElementTree.Element], points: Mapping[str, Sequence[Point]]
) -> str:
  """Returns an SVG without names, addresses and style attributes, which a strict page refuses.

  Args:
    text: as Matplotlib writes it.
    pictures: elements to lay upon it.
    points: by group, what each of its points is.
  """
  root = ElementTree.fromstring(text)
  groups = {f"{_GROUP}{name}": own for name, own in points.items()}
  named = [(each, groups[key]) for each in root.iter() if (key := each.get("id", "")) in groups]
  for parent in [*root.iter()]:
    for child in [*parent]:
      if _bare(child.tag) in ("metadata", "style", "title"):
        parent.remove(child)
  for element in root.iter():
    element.tag = _bare(element.tag)
    attributes = {_bare(key): value for key, value in element.attrib.items()}
    if element.tag == "g":
      attributes.pop("id", None)
    for item in attributes.pop("style", "").split(";"):
      key, _, value = (part.strip() for part in item.partition(":"))
      if key == "font":
        attributes["font-size"] = re.findall(r"[\d.]+px", value)[0]
      elif key:
        attributes[key] = value
    element.attrib = attributes
  for key in ("width", "height", "version"):
    root.attrib.pop(key, None)
  for group, own in named:
    _name_points(group, own)
  root.extend(pictures)
  return ElementTree.tostring(root, encoding="unicode").replace(_INK, "currentColor")


def _bare(name: str) -> str:
  """Returns a name without its namespace."""
  return name.rpartition("}")[2]

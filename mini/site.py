"""A building site: walls in layers, boxes, roofs, towers, domes and columns in space."""

import dataclasses
import itertools

import cv2
import numpy as np

from mini import parts
from mini.facades import Style, make_facade
from mini.render import Surface
from mini.textures import TEXELS_PER_METRE, Patch, Texture, make_wall, paste

# Depth of windows in a wall, and distance of ornaments before it, in metres.
_DEPTH = 0.35
_RELIEF = 0.3
_UP = np.array([0.0, 1.0, 0.0])


@dataclasses.dataclass
class Site:
  """A building under construction.

  Attributes:
    rng: draws the composition.
    style: style of the building.
    surfaces: surfaces built so far.
  """

  rng: np.random.Generator
  style: Style
  surfaces: list[Surface] = dataclasses.field(default_factory=list)

  def add(self, texture: Texture, origin: np.ndarray, across: np.ndarray, down: np.ndarray) -> None:
    """Adds one surface."""
    self.surfaces.append(Surface(origin, across, down, texture, owned=True))

  def facade(
    self,
    left: tuple[float, float],
    right: tuple[float, float],
    base: float,
    height: float,
    *,
    door: bool = False,
    rich: bool = True,
  ) -> None:
    """Adds a wall in layers between two points (x, z) of the plan, `left` as seen from outside."""
    start = np.array([left[0], base + height, left[1]])
    across = np.array([right[0] - left[0], 0.0, right[1] - left[1]])
    width = float(np.linalg.norm(across))
    down = -height * _UP
    normal = np.cross(down, across) / (width * height)
    layers = make_facade(self.rng, self.style, width, height, door=door, rich=rich)
    self.add(Texture(layers.wall), start, across, down)
    if layers.inside is not None:
      self.add(Texture(layers.inside), start - _DEPTH * normal, across, down)
    if layers.ornament is not None:
      self.add(Texture(layers.ornament), start + _RELIEF * normal, across, down)

  def block(
    self,
    center: tuple[float, float],
    size: tuple[float, float, float],
    *,
    base: float = 0.0,
    door: bool = False,
    rich: bool = True,
    flat: bool = True,
  ) -> None:
    """Adds a box of width, height and depth, whose front is richer than its sides."""
    (x, z), (width, height, depth) = center, size
    corners = [
      (x - width / 2, z + depth / 2),
      (x + width / 2, z + depth / 2),
      (x + width / 2, z - depth / 2),
      (x - width / 2, z - depth / 2),
    ]
    for side in range(4):
      ends = corners[side], corners[(side + 1) % 4]
      front = side == 0
      ornate = rich if front else rich and bool(self.rng.random() < 0.4)
      self.facade(*ends, base, height, door=door and front, rich=ornate)
    if flat:
      top = np.array([x - width / 2, base + height, z - depth / 2])
      roof = self.cover(width, depth)
      self.add(roof, top, np.array([width, 0.0, 0.0]), np.array([0.0, 0.0, depth]))

  def cover(self, width: float, height: float, *, top: float = 1.0) -> Texture:
    """Returns roofing whose upper edge has `top` times the width of the lower, in [0, 1]."""
    shape = (
      max(4, round(height * TEXELS_PER_METRE * 0.7)),
      max(4, round(width * TEXELS_PER_METRE * 0.7)),
    )
    patch = make_wall(self.rng, self.style.roof, shape, np.array(self.style.roof_color))
    return Texture(_taper(patch, top))

  def saddle(
    self, center: tuple[float, float], size: tuple[float, float, float], *, base: float
  ) -> None:
    """Adds a roof whose ridge runs from front to back, with carved gables."""
    (x, z), (width, height, depth) = center, size
    left, right = x - width / 2 - 0.3, x + width / 2 + 0.3
    ridge = np.array([x, base + height, z])
    slant = float(np.hypot(right - x, height))
    for edge, sign in ((right, 1.0), (left, -1.0)):
      start = ridge + np.array([0.0, 0.0, sign * (depth / 2 + 0.3)])
      across = np.array([0.0, 0.0, -sign * (depth + 0.6)])
      self.add(self.cover(depth, slant), start, across, np.array([edge - x, -height, 0.0]))
    gable = _make_gable(self.rng, self.style, width, height)
    for sign in (1.0, -1.0):
      start = np.array([x - sign * width / 2, base + height, z + sign * depth / 2])
      self.add(gable, start, np.array([sign * width, 0.0, 0.0]), -height * _UP)

  def ring(
    self,
    center: tuple[float, float],
    sides: int,
    radii: tuple[float, float],
    base: float,
    height: float,
    texture: Texture | None = None,
  ) -> None:
    """Adds a ring of planes from the lower radius to the upper; `texture` defaults to roofing."""
    turns = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    lower, upper = (
      np.stack([center[0] + r * np.sin(turns), 0 * turns, center[1] + r * np.cos(turns)], axis=1)
      for r in radii
    )
    edge = float(np.linalg.norm(lower[1] - lower[0]))
    apothems = (radii[0] - radii[1]) * np.cos(np.pi / sides)
    slant = float(np.hypot(height, apothems))
    texture = texture or self.cover(edge, slant, top=radii[1] / radii[0])
    for side in range(sides):
      following = (side + 1) % sides
      across = lower[following] - lower[side]
      foot = (lower[side] + lower[following]) / 2 + base * _UP
      head = (upper[side] + upper[following]) / 2 + (base + height) * _UP
      self.add(texture, head - across / 2, across, foot - head)

  def drum(
    self, center: tuple[float, float], sides: int, radius: float, base: float, height: float
  ) -> None:
    """Adds an upright prism whose sides share one facade."""
    width = 2 * radius * np.sin(np.pi / sides)
    facade = make_facade(self.rng, self.style, width, height)
    wall, inside = Texture(facade.wall), facade.inside
    self.ring(center, sides, (radius, radius), base, height, wall)
    if inside is not None:
      deep = radius - _DEPTH
      self.ring(center, sides, (deep, deep), base, height, Texture(inside))

  def dome(self, center: tuple[float, float], radius: float, base: float, rise: float) -> None:
    """Adds a dome of three rings and a lantern."""
    steps = np.linspace(0, np.pi / 2 * 0.92, 4)
    for low, high in itertools.pairwise(steps):
      heights = rise * np.sin([low, high])
      radii = (radius * float(np.cos(low)), radius * float(np.cos(high)))
      self.ring(center, 10, radii, base + heights[0], heights[1] - heights[0])
    top = base + rise * float(np.sin(steps[-1]))
    self.drum(center, 6, max(0.7, radius * 0.16), top, 2.0)
    self.ring(center, 6, (radius * 0.2, 0.05), top + 2.0, 1.6)

  def column(self, x: float, z: float, radius: float, base: float, height: float) -> None:
    """Adds a fluted column with a capital."""
    rows, columns = (max(4, round(v * TEXELS_PER_METRE)) for v in (height, radius))
    patch = make_wall(self.rng, "ashlar", (rows, columns), np.array(self.style.color) * 1.05)
    patch.color[:, :: max(3, columns // 4)] //= 2
    capital = parts.make_relief(self.style.reliefs[0], columns, min(columns, rows))
    patch.color[: len(capital.color)] = capital.color
    self.ring((x, z), 6, (radius, radius), base, height, Texture(patch))


def _taper(patch: Patch, top: float) -> Patch:
  height, width = patch.alpha.shape
  inset = (1 - top) * (width - 1) / 2
  points = [(inset, 0), (width - 1 - inset, 0), (width - 1, height - 1), (0, height - 1)]
  mask = np.zeros((height, width), np.uint8)
  cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
  return dataclasses.replace(patch, alpha=cv2.bitwise_and(mask, patch.alpha))


def _make_gable(rng: np.random.Generator, style: Style, width: float, height: float) -> Texture:
  """Returns a triangular wall with a carving or a dial in it."""
  shape = round(height * TEXELS_PER_METRE), round(width * TEXELS_PER_METRE)
  wall = make_wall(rng, style.wall, shape, np.array(style.color))
  if rng.random() < 0.6:
    size = int(shape[1] * 0.72), int(shape[0] * 0.72)
    piece = parts.make_relief(style.reliefs[2], *size, shape="gable")
  else:
    piece = parts.make_dial(style.dials[0], int(min(shape) * 0.5))
  rows, columns = piece.alpha.shape
  paste(wall, piece, (shape[1] - columns) // 2, int(shape[0] * 0.96) - rows)
  return Texture(_taper(wall, 0.0))

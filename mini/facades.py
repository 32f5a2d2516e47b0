"""Facades: walls with bays of windows and ornaments, in the style of a building."""

import dataclasses

import cv2
import numpy as np

from mini import parts
from mini.textures import (
  TEXELS_PER_METRE,
  Patch,
  make_noise,
  make_patch,
  make_rng,
  make_wall,
  paste,
)

# Wall and its colour, roof and its colour, which the buildings of one quarter share.
_QUARTERS = (
  ("ashlar", (196, 178, 138), "slate", (92, 98, 108)),
  ("brick", (158, 86, 66), "tiles", (138, 74, 56)),
  ("plaster", (212, 190, 140), "tiles", (160, 92, 66)),
  ("rubble", (150, 144, 132), "slate", (84, 88, 92)),
  ("timber", (216, 206, 184), "tiles", (128, 66, 52)),
  ("panel", (188, 190, 190), "slate", (110, 112, 114)),
  ("ashlar", (176, 160, 150), "tiles", (98, 120, 108)),
  ("plaster", (176, 192, 200), "slate", (100, 92, 88)),
)
_STREAM = 102
# Designs from this number on are drawn for one building; smaller ones are shared by a quarter.
_UNIQUE = 1_000_000


@dataclasses.dataclass(frozen=True)
class Style:
  """The materials and parts of a building.

  Attributes:
    wall: a kind of `textures.make_wall`.
    color: RGB of the wall.
    roof: a kind of `textures.make_wall`.
    roof_color: RGB of the roof.
    windows: designs of `parts.make_window`, for the floors.
    doors: designs of `parts.make_window`.
    reliefs: designs of `parts.make_relief`.
    signs: designs of `parts.make_sign`.
    dials: designs of `parts.make_dial`.
    statues: designs of `parts.make_statue`.
  """

  wall: str
  color: tuple[float, ...]
  roof: str
  roof_color: tuple[float, ...]
  windows: tuple[int, ...]
  doors: tuple[int, ...]
  reliefs: tuple[int, ...]
  signs: tuple[int, ...]
  dials: tuple[int, ...]
  statues: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Facade:
  """One side of a building in layers, all of the same size.

  Attributes:
    wall: the wall, with holes for the windows.
    inside: the layer behind the holes; None without windows.
    ornament: the layer before the wall; None without ornaments.
  """

  wall: Patch
  inside: Patch | None
  ornament: Patch | None


def make_style(seed: int, building: int) -> Style:
  """Returns the style of a building: wall and common parts of its quarter, and parts of its own."""
  rng = make_rng(_STREAM, seed, building)
  quarter = building % len(_QUARTERS)
  wall, color, roof, roof_color = _QUARTERS[quarter]

  def draw(common: int, own: int) -> tuple[int, ...]:
    shared = rng.choice(6, size=common, replace=False) + 100 * quarter + 10_000 * (seed % 97)
    unique = _UNIQUE + rng.integers(_UNIQUE, size=own)
    return tuple(int(design) for design in rng.permutation(np.concatenate([shared, unique])))

  def vary(base: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(np.clip(np.array(base) * rng.uniform(0.85, 1.12) + rng.normal(0, 7, 3), 20, 240))

  return Style(
    wall=wall,
    color=vary(color),
    roof=roof,
    roof_color=vary(roof_color),
    windows=draw(1, 2),
    doors=draw(1, 1),
    reliefs=draw(1, 3),
    signs=draw(1, 1),
    dials=draw(0, 1),
    statues=draw(1, 2),
  )


def borrow_parts(style: Style, other: Style, rng: np.random.Generator) -> Style:
  """Returns a style with some kinds of parts taken from another building."""
  kinds = ("windows", "doors", "reliefs", "signs", "dials", "statues")
  chosen = rng.choice(kinds, size=int(rng.integers(2, 5)), replace=False)
  borrowed = {kind: getattr(other, kind) for kind in chosen}
  if rng.random() < 0.5:
    borrowed |= {"wall": other.wall, "color": other.color}
  return dataclasses.replace(style, **borrowed)


def make_facade(
  rng: np.random.Generator,
  style: Style,
  width: float,
  height: float,
  *,
  door: bool = False,
  rich: bool = True,
) -> Facade:
  """Composes a facade.

  Args:
    rng: draws the composition; designs decide the look of parts.
    style: style of the building.
    width: width in metres.
    height: height in metres.
    door: whether it has an entrance.
    rich: whether it has ornaments.
  """
  shape = (round(height * TEXELS_PER_METRE), round(width * TEXELS_PER_METRE))
  wall = make_wall(rng, style.wall, shape, np.array(style.color))
  inside, ornament = _blank(shape), _blank(shape)
  floors = max(1, round(height / rng.uniform(3.0, 4.2)))
  bays = max(1, round(width / rng.uniform(2.0, 3.4)))
  storey, bay = shape[0] / floors, shape[1] / bays
  opening = (int(bay * rng.uniform(0.34, 0.52)), int(storey * rng.uniform(0.4, 0.58)))
  middle = bays // 2
  entrance = middle if door else -1
  center_special = rich and bays % 2 == 1 and floors > 1
  special = int(rng.integers(1, floors)) if center_special else -1
  for floor in range(floors):
    design = style.windows[int(rng.integers(len(style.windows)))]
    foot = int(shape[0] - floor * storey)
    for column in range(bays):
      x = int((column + 0.5) * bay)
      if floor == 0 and column == entrance:
        size = (int(bay * 0.62), int(storey * 0.78))
        _open(wall, inside, parts.make_window(style.doors[0], *size, door=True), x, foot)
      elif floor == special and column == middle:
        _set_centerpiece(rng, style, ornament, x, foot, bay, storey)
      elif rng.random() < 0.95:
        lift = int((storey - opening[1]) * 0.42)
        _open(wall, inside, parts.make_window(design, *opening), x, foot - lift)
      if rich and column and rng.random() < 0.12:
        _set_statue(rng, style, ornament, int(column * bay), foot, bay, storey)
    if floor:
      _add_band(rng, ornament, foot, max(3, int(storey * 0.05)))
  if rich:
    _enrich(rng, style, ornament, bays, bay, storey)
  return Facade(
    wall=wall,
    inside=inside if np.any(inside.alpha) else None,
    ornament=ornament if np.any(ornament.alpha) else None,
  )


def _blank(shape: tuple[int, int]) -> Patch:
  return Patch(
    np.full((*shape, 3), 36, np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
  )


def _open(wall: Patch, inside: Patch, window: parts.Window, x: int, foot: int) -> None:
  """Breaks a window through a wall, with its middle at column `x` and its lowest row at `foot`."""
  rows, columns = window.surround.alpha.shape
  corner = (x - columns // 2, foot - rows)
  paste(wall, window.surround, *corner)
  paste(wall, window.opening, *corner, opaque=False)
  paste(inside, window.glazing, *corner)


def _set_centerpiece(
  rng: np.random.Generator,
  style: Style,
  ornament: Patch,
  x: int,
  foot: int,
  bay: float,
  storey: float,
) -> None:
  size = int(0.92 * min(bay * 1.2, storey))
  if rng.random() < 0.5:
    piece = parts.make_dial(style.dials[0], size)
  else:
    shape = str(rng.choice(["shield", "disc", "arch"]))
    piece = parts.make_relief(style.reliefs[0], size, size, shape=shape)
  paste(ornament, piece, x - size // 2, int(foot - storey / 2 - size / 2))


def _set_statue(
  rng: np.random.Generator,
  style: Style,
  ornament: Patch,
  x: int,
  foot: int,
  bay: float,
  storey: float,
) -> None:
  height = int(storey * 0.55)
  width = max(8, int(min(height * 0.42, bay * 0.4)))
  design = style.statues[int(rng.integers(len(style.statues)))]
  figure = parts.make_statue(design, width, height)
  paste(ornament, figure, x - width // 2, int(foot - storey * 0.2 - height))


def _add_band(rng: np.random.Generator, ornament: Patch, y: int, thickness: int) -> None:
  columns = ornament.alpha.shape[1]
  tone = 1.0 + 0.06 * make_noise(rng, (thickness, columns), coarsest=24)
  paste(ornament, make_patch(tone, np.array([205, 198, 180]), np.full(tone.shape, 3.0)), 0, y)


def _enrich(
  rng: np.random.Generator,
  style: Style,
  ornament: Patch,
  bays: int,
  bay: float,
  storey: float,
) -> None:
  """Adds a frieze below the eaves and maybe pilasters, a sign and a balustrade."""
  rows, columns = ornament.alpha.shape
  cornice = max(6, int(storey * rng.uniform(0.12, 0.2)))
  design = style.reliefs[-1]
  length = int(cornice * rng.uniform(1.0, 3.0))
  tile = parts.make_relief(design, length, cornice)
  for left in range(0, columns, length):
    paste(ornament, tile, left, 0)
  if rng.random() < 0.6:
    width = max(5, int(bay * rng.uniform(0.08, 0.14)))
    pilaster = _make_pilaster(rng, style, width, rows - cornice)
    step = int(rng.integers(1, 3))
    for column in range(0, bays + 1, step):
      left = int(np.clip(column * bay - width / 2, 0, columns - width))
      paste(ornament, pilaster, left, cornice)
  if rng.random() < 0.6:
    width, height = int(bay * rng.uniform(1.0, 2.2)), int(storey * rng.uniform(0.14, 0.22))
    board = parts.make_sign(style.signs[0], width, max(height, 8))
    left = int(rng.uniform(0, max(1, columns - width)))
    paste(ornament, board, left, int(rows - storey * 1.02))
  if rng.random() < 0.5:
    rail = _make_balustrade(rng, int(bay * 1.4), int(storey * 0.24))
    left = int((int(rng.integers(bays)) + 0.5) * bay - rail.alpha.shape[1] / 2)
    paste(ornament, rail, left, int(rows - storey * 1.26))


def _make_pilaster(rng: np.random.Generator, style: Style, width: int, height: int) -> Patch:
  across = np.abs(np.linspace(-1, 1, width, dtype=np.float32))
  tone = 1.0 + 0.05 * make_noise(rng, (height, width), coarsest=32) - 0.25 * across[None] ** 2
  patch = make_patch(
    tone, np.array([208, 200, 182]) * rng.uniform(0.8, 1.05), np.full(tone.shape, 4.0)
  )
  capital = parts.make_relief(style.reliefs[1], width, min(height, width))
  paste(patch, capital, 0, 0)
  return patch


def _make_balustrade(rng: np.random.Generator, width: int, height: int) -> Patch:
  alpha = np.zeros((max(height, 8), max(width, 8)), np.uint8)
  rail = max(2, alpha.shape[0] // 6)
  alpha[:rail] = alpha[-rail:] = 255
  step = max(5, alpha.shape[0] // 3)
  for x in range(step // 2, alpha.shape[1], step):
    cv2.ellipse(
      alpha, (x, alpha.shape[0] // 2), (step // 3, alpha.shape[0] // 2), 0, 0, 360, 255, -1
    )
  tone = 1.0 + 0.06 * make_noise(rng, (alpha.shape[0], alpha.shape[1]), coarsest=12)
  patch = make_patch(tone, rng.uniform(0.5, 1.0) * np.array([210, 205, 195]), 3.0 + 0 * tone)
  return dataclasses.replace(patch, alpha=alpha)

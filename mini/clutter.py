"""Surroundings of a landmark: houses, ground, trees, people, cars, lamps, posters and sky.

They come from one small stock, so that they tell little about the landmark.
"""

import dataclasses
import functools

import cv2
import numpy as np

from mini.facades import make_facade, make_style
from mini.render import Surface
from mini.textures import (
  Patch,
  Texture,
  light_relief,
  make_masonry,
  make_noise,
  make_plaster,
  make_rng,
  paste,
)

_STREAM = 103
_NUM_HOUSES = 16
_NUM_GROUNDS = 5
_SPRITES = {"tree": 10, "person": 12, "car": 6, "lamp": 4, "poster": 8}
# Width and height in metres.
_SIZES = {
  "tree": (5.0, 7.5),
  "person": (0.7, 1.75),
  "car": (4.2, 1.5),
  "lamp": (0.8, 5.0),
  "poster": (1.3, 2.3),
}
# Texels per metre, and the side of a ground tile in metres.
_SPRITE_TEXELS = 40
_HOUSE_TEXELS = 26
_GROUND_TEXELS = 22
_GROUND_TILE = 12.0


@dataclasses.dataclass(frozen=True)
class House:
  """A house of the stock.

  Attributes:
    size: width, height, depth in metres.
    front: texture of its front and back.
    side: texture of its sides.
    roof: texture of its flat roof.
  """

  size: tuple[float, float, float]
  front: Texture
  side: Texture
  roof: Texture


def make_row(
  rng: np.random.Generator, seed: int, *, reach: float, front: float, back: float
) -> list[Surface]:
  """Returns the houses beside and behind a building.

  Args:
    rng: draws their positions.
    seed: seed of the benchmark.
    reach: half the width of the building in metres.
    front: z of its front in metres.
    back: z of its back in metres.
  """
  surfaces = []
  for side in (-1.0, 1.0):
    edge = reach + rng.uniform(0.8, 5.0)
    for _ in range(int(rng.integers(0, 3))):
      house = _make_house(seed, int(rng.integers(_NUM_HOUSES)))
      setback = front - rng.uniform(0.5, 4.0)
      surfaces += _stand(house, side * (edge + house.size[0] / 2), setback)
      edge += house.size[0] + rng.uniform(0.0, 3.0)
  for x in rng.uniform(-34, 34, 2):
    house = _make_house(seed, int(rng.integers(_NUM_HOUSES)))
    surfaces += _stand(house, float(x), back - rng.uniform(10, 26))
  return surfaces


def make_ground(rng: np.random.Generator, seed: int) -> list[Surface]:
  """Returns the ground as tiles about the origin."""
  texture = _make_paving(seed, int(rng.integers(_NUM_GROUNDS)))
  return [
    Surface(
      np.array([x, 0.0, z]),
      np.array([_GROUND_TILE, 0.0, 0.0]),
      np.array([0.0, 0.0, _GROUND_TILE]),
      texture,
    )
    for x in np.arange(-60, 60, _GROUND_TILE)
    for z in np.arange(-48, 72, _GROUND_TILE)
  ]


def make_sprite(rng: np.random.Generator, seed: int, kind: str, x: float, z: float) -> Surface:
  """Returns a tree, person, car, lamp or poster of the stock, upright at x and z in metres."""
  width, height = _SIZES[kind]
  grown = rng.uniform(0.75, 1.3) if kind == "tree" else rng.uniform(0.94, 1.06)
  texture = _draw_sprite(seed, kind, int(rng.integers(_SPRITES[kind])))
  return Surface(
    np.array([x - width * grown / 2, height * grown, z]),
    np.array([width * grown, 0.0, 0.0]),
    np.array([0.0, -height * grown, 0.0]),
    texture,
    facing=True,
  )


def make_sky(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
  """Returns a sky `[h, w, 3]` uint8: a gradient, with or without clouds."""
  rows, columns = shape[0] // 4, shape[1] // 4
  top = np.array([96, 142, 208]) * rng.uniform(0.7, 1.1) + rng.normal(0, 10, 3)
  low = np.array([206, 216, 226]) * rng.uniform(0.85, 1.08) + rng.normal(0, 10, 3)
  ramp = np.linspace(0, 1, rows)[:, None, None]
  sky = top * (1 - ramp) + low * ramp + np.zeros((1, columns, 1))
  cover = rng.uniform(-1.0, 1.6)
  clouds = make_noise(rng, (rows, columns), coarsest=80, finest=8)
  clouds = cv2.GaussianBlur(np.clip((clouds + cover) * 0.5, 0, 1), (0, 0), 2)[:, :, None]
  sky = sky * (1 - clouds) + clouds * rng.uniform(170, 245)
  return cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), (shape[1], shape[0]))


@functools.cache
def _make_house(seed: int, index: int) -> House:
  rng = make_rng(_STREAM, seed, 1, index)
  style = make_style(seed, 500_000 + index)
  size = (rng.uniform(7, 13), rng.uniform(6, 12), rng.uniform(7, 10))

  def bake(width: float, *, door: bool) -> Texture:
    layers = make_facade(rng, style, width, size[1], door=door, rich=door)
    canvas = layers.inside
    if canvas is None:
      canvas = layers.wall
    paste(canvas, layers.wall, 0, 0)
    if layers.ornament is not None:
      paste(canvas, layers.ornament, 0, 0)
    canvas.alpha[:] = 255
    shape = (round(width * _HOUSE_TEXELS), round(size[1] * _HOUSE_TEXELS))
    lit = cv2.resize(light_relief(canvas, 1), shape, interpolation=cv2.INTER_AREA)
    return _flat(lit, np.full(lit.shape[:2], 255, np.uint8))

  roof = make_plaster(rng, (64, 64), np.array(style.roof_color))
  return House(
    size, bake(size[0], door=True), bake(size[2], door=False), _flat(roof.color, roof.alpha)
  )


def _stand(house: House, x: float, front: float) -> list[Surface]:
  width, height, depth = house.size
  left, right, back = x - width / 2, x + width / 2, front - depth
  walls = [
    ((left, front), (right, front), house.front),
    ((right, front), (right, back), house.side),
    ((right, back), (left, back), house.front),
    ((left, back), (left, front), house.side),
  ]
  down = np.array([0.0, -height, 0.0])
  surfaces = [
    Surface(
      np.array([start[0], height, start[1]]),
      np.array([stop[0] - start[0], 0.0, stop[1] - start[1]]),
      down,
      texture,
    )
    for start, stop, texture in walls
  ]
  top = np.array([left, height, back])
  across, deep = np.array([width, 0.0, 0.0]), np.array([0.0, 0.0, depth])
  return [*surfaces, Surface(top, across, deep, house.roof)]


@functools.cache
def _make_paving(seed: int, index: int) -> Texture:
  rng = make_rng(_STREAM, seed, 2, index)
  side = round(_GROUND_TILE * _GROUND_TEXELS)
  base = rng.uniform(80, 150) * np.array([1.0, 0.97, 0.92])
  if index == 0:
    patch = make_plaster(rng, (side, side), np.array([96, 124, 66]))
  elif index == 1:
    patch = make_plaster(rng, (side, side), base * 0.7)
  else:
    block = int(rng.integers(8, 24))
    patch = make_masonry(rng, (side, side), base, block=(block, block), spread=0.07)
  return _flat(patch.color, patch.alpha)


@functools.cache
def _draw_sprite(seed: int, kind: str, index: int) -> Texture:
  rng = make_rng(_STREAM, seed, 3, sorted(_SPRITES).index(kind), index)
  width, height = (round(v * _SPRITE_TEXELS) for v in _SIZES[kind])
  draw = {
    "tree": _draw_tree,
    "person": _draw_person,
    "car": _draw_car,
    "lamp": _draw_lamp,
    "poster": _draw_poster,
  }[kind]
  return _flat(*draw(rng, height, width))


def _flat(color: np.ndarray, alpha: np.ndarray) -> Texture:
  return Texture(Patch(color, alpha, np.zeros((1, 1), np.float32)), flat=True)


def _draw_tree(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  crown = np.zeros((height, width), np.uint8)
  for _ in range(12):
    x, y = rng.normal(width / 2, width * 0.16), rng.normal(height * 0.36, height * 0.13)
    cv2.circle(crown, (int(x), int(y)), int(width * rng.uniform(0.12, 0.24)), 255, -1)
  leaves = make_noise(rng, (height, width), coarsest=20, finest=2)
  depth = cv2.distanceTransform(crown, cv2.DIST_L2, 3)
  alpha = np.where(leaves + 0.08 * depth > 0.9, crown, 0).astype(np.uint8)
  color = _tint(0.9 + 0.3 * leaves, rng.uniform(0.5, 1.0) * np.array([92, 122, 56]))
  trunk = (int(width * 0.47), int(height * 0.4)), (int(width * 0.53), height)
  bark = cv2.rectangle(np.zeros_like(alpha), *trunk, 255, -1)
  bark[alpha > 0] = 0
  color[bark > 0] = (82, 66, 52)
  return color, cv2.bitwise_or(alpha, bark)


def _draw_person(
  rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
  color = np.zeros((height, width, 3), np.uint8)
  alpha = np.zeros((height, width), np.uint8)
  cloth = _tint(1 + 0.15 * make_noise(rng, (height, width), coarsest=8), rng.uniform(30, 220, 3))
  body = (width // 2, int(height * 0.36)), (int(width * 0.36), int(height * 0.22))
  cv2.ellipse(alpha, *body, 0, 0, 360, 255, -1)
  color[alpha > 0] = cloth[alpha > 0]
  legs = np.zeros_like(alpha)
  for side in (-1, 1):
    foot = (int(width * (0.5 + side * rng.uniform(0.05, 0.3))), height - 1)
    cv2.line(legs, (width // 2 + side * 3, int(height * 0.5)), foot, 255, max(3, width // 5))
  color[legs > 0] = rng.uniform(20, 110, 3)
  head = (width // 2, int(height * 0.085)), int(height * 0.075)
  cv2.circle(
    color, *head, tuple(float(v) for v in rng.uniform(0.4, 1) * np.array([226, 180, 150])), -1
  )
  cv2.circle(alpha, *head, 255, -1)
  return color, cv2.bitwise_or(alpha, legs)


def _draw_car(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  alpha = np.zeros((height, width), np.uint8)
  outline = [(0, 0.5), (0.2, 0.42), (0.33, 0.04), (0.74, 0.04), (0.88, 0.45), (1, 0.55)]
  outline += [(1, 0.85), (0, 0.85)]
  points = [(int(x * (width - 1)), int(y * (height - 1))) for x, y in outline]
  cv2.fillPoly(alpha, [np.array(points, np.int32)], 255)
  shade = np.linspace(1.15, 0.7, height, dtype=np.float32)[:, None] + np.zeros(
    (1, width), np.float32
  )
  color = _tint(shade, rng.uniform(60, 200) * rng.uniform(0.7, 1.1, 3))
  for left, right in ((0.34, 0.52), (0.55, 0.74)):
    corners = (int(left * width), int(0.12 * height)), (int(right * width), int(0.42 * height))
    cv2.rectangle(color, *corners, (40, 48, 58), -1)
  for x in (0.2, 0.8):
    wheel = (int(x * width), int(height * 0.83)), int(height * 0.16)
    cv2.circle(alpha, *wheel, 255, -1)
    cv2.circle(color, *wheel, (26, 26, 28), -1)
    cv2.circle(color, wheel[0], wheel[1] // 2, (150, 150, 152), -1)
  return color, alpha


def _draw_lamp(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  color = np.full((height, width, 3), int(rng.uniform(30, 90)), np.uint8)
  alpha = np.zeros((height, width), np.uint8)
  middle = width // 2
  cv2.rectangle(alpha, (middle - 2, height // 12), (middle + 2, height), 255, -1)
  globe = (middle, height // 14), int(width * 0.3)
  cv2.circle(alpha, *globe, 255, -1)
  cv2.circle(color, *globe, (228, 222, 196), -1)
  return color, alpha


def _draw_poster(
  rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a poster of random shapes."""
  color = _tint(1 + 0.05 * make_noise(rng, (height, width)), rng.uniform(60, 220, 3))
  for _ in range(9):
    center = (int(rng.uniform(0, width)), int(rng.uniform(0, height * 0.8)))
    ink = tuple(float(v) for v in rng.uniform(10, 245, 3))
    size = (int(rng.uniform(3, width * 0.3)), int(rng.uniform(3, width * 0.2)))
    cv2.ellipse(color, center, size, float(rng.uniform(0, 180)), 0, 360, ink, -1, cv2.LINE_AA)
  cv2.rectangle(color, (0, 0), (width - 1, height - 1), (60, 62, 66), 4)
  return color, np.full((height, width), 255, np.uint8)


def _tint(tone: np.ndarray, base: np.ndarray) -> np.ndarray:
  tone = np.maximum(tone, 0).astype(np.float32)
  return cv2.merge([cv2.convertScaleAbs(tone, alpha=float(channel)) for channel in base])

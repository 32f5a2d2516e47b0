"""The library of building parts: windows, doors, reliefs, signs, clocks, roses, statues.

A part is named by its design, an integer; the same design on two buildings is the same part.
"""

import dataclasses
import functools

import cv2
import numpy as np

from mini.textures import Patch, make_noise, make_patch, make_rng

_GLYPHS = 24
_STREAM = 101


@dataclasses.dataclass(frozen=True)
class Window:
  """A window or door in three layers.

  Attributes:
    surround: layer on the wall; its alpha covers the frame and the opening.
    opening: hole through the wall; its alpha covers the hole.
    glazing: layer behind the hole.
  """

  surround: Patch
  opening: Patch
  glazing: Patch


@functools.lru_cache(maxsize=512)
def make_window(design: int, width: int, height: int, *, door: bool = False) -> Window:
  """Makes a window or a door.

  Args:
    design: number of the design.
    width: width of the opening in texels.
    height: height of the opening in texels.
    door: whether it has leaves of wood instead of glass, and no sill.
  """
  rng = make_rng(_STREAM, 1, design)
  kind = str(rng.choice(["flat", "round", "pointed", "circle"], p=[0.45, 0.3, 0.2, 0.05]))
  trim = rng.uniform(0.55, 1.15) * np.array([215.0, 208.0, 192.0])
  margin = max(3, int(width * rng.uniform(0.12, 0.26)))
  crown = int(width * rng.choice([0.12, 0.3, 0.5]))
  rows, columns = height + crown + 2 * margin, width + 2 * margin
  center, top = columns // 2, crown + margin

  hole = np.zeros((rows, columns), np.uint8)
  cv2.fillPoly(hole, [_arch(kind, margin, top, width, height)], 255)
  frame = cv2.dilate(hole, np.ones((margin, margin), np.uint8))
  if crown > 4:
    outline = _pediment(rng, margin, crown, columns)
    cv2.fillPoly(frame, [outline], 255)
  if not door:
    cv2.rectangle(frame, (0, rows - margin), (columns, rows - 1), 255, -1)

  tone = 1.0 + 0.05 * make_noise(rng, (rows, columns), coarsest=16)
  wedge = int(rng.integers(0, 9))
  if wedge > 2:
    for ray in np.linspace(-np.pi, 0, wedge * 2 - 1):
      tip = (int(center + columns * np.cos(ray)), int(top + margin + columns * np.sin(ray)))
      cv2.line(tone, (center, top + margin), tip, 0.62, 1)
  height_map = np.full((rows, columns), 2.0, np.float32)
  carving = _carve(rng, (rows, columns), grain=max(4.0, margin * 0.8))
  if rng.random() < 0.6:
    tone *= 0.82 + 0.3 * carving
    height_map += 2.0 * carving
  ring = cv2.subtract(hole, cv2.erode(hole, np.ones((3, 3), np.uint8)))
  tone[ring > 0] *= 0.7
  surround = make_patch(tone, trim, height_map)
  surround = dataclasses.replace(surround, alpha=frame)

  leaf = _make_leaves if door else _make_glass
  glazing = leaf(rng, (rows, columns), (margin, top, width, height))
  # The glass reaches beyond the hole, so that it is also seen from the side.
  glazing = dataclasses.replace(
    glazing, alpha=cv2.dilate(hole, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
  )
  opening = Patch(surround.color, hole, surround.height)
  return Window(surround, opening, glazing)


@functools.lru_cache(maxsize=256)
def make_relief(design: int, width: int, height: int, *, shape: str = "full") -> Patch:
  """Makes a symmetrical carving.

  Args:
    design: number of the design.
    width: width in texels.
    height: height in texels.
    shape: `full`, `disc`, `shield`, `gable` or `arch`.
  """
  rng = make_rng(_STREAM, 2, design)
  mask = np.zeros((height, width), np.uint8)
  corners = {
    "full": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "shield": [(0, 0), (1, 0), (1, 0.6), (0.5, 1), (0, 0.6)],
    "gable": [(0.5, 0), (1, 1), (0, 1)],
  }
  if shape == "disc":
    cv2.ellipse(mask, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 255, -1)
  elif shape == "arch":
    cv2.ellipse(mask, (width // 2, height - 1), (width // 2, height - 1), 0, 180, 360, 255, -1)
  else:
    points = [(round(x * (width - 1)), round(y * (height - 1))) for x, y in corners[shape]]
    cv2.fillPoly(mask, [np.array(points, np.int32)], 255)
  carving = _carve(rng, (height, width), grain=rng.uniform(0.1, 0.22) * height)
  edge = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, 0), cv2.DIST_L2, 3)[1:-1, 1:-1]
  rim = edge < max(2.0, 0.05 * height)
  tone = np.where(rim, 1.05, 0.72 + 0.4 * carving).astype(np.float32)
  tone += 0.05 * make_noise(rng, (height, width), coarsest=8)
  base = rng.uniform(0.6, 1.1) * np.array([208.0, 198.0, 178.0])
  if rng.random() < 0.25:
    base = base * rng.uniform(0.5, 1.1, 3)
  patch = make_patch(tone, base, 3.0 + 4.0 * np.where(rim, 1.0, carving))
  return dataclasses.replace(patch, alpha=mask)


@functools.lru_cache(maxsize=256)
def make_sign(design: int, width: int, height: int) -> Patch:
  """Makes a board with a row or two of writing in the city's one alphabet."""
  rng = make_rng(_STREAM, 3, design)
  colors = rng.uniform(40, 220, (2, 1)) * rng.uniform(0.7, 1.1, (2, 3))
  colors[1] = np.where(np.mean(colors[0]) > 130, colors[1] * 0.35, 255 - 0.3 * colors[1])
  board = np.broadcast_to(colors[0].astype(np.uint8), (height, width, 3)).copy()
  ink = tuple(int(value) for value in colors[1])
  lines = 1 if height < 0.35 * width else 2
  size = height / lines
  for line in range(lines):
    left = size * 0.25
    while left + size * 0.6 < width:
      if rng.random() < 0.85:
        corner = np.array([left, (line + 0.2) * size])
        for stroke in _glyph(int(rng.integers(_GLYPHS))):
          points = np.round(corner + stroke * [size * 0.45, size * 0.6]).astype(np.int32)
          cv2.polylines(board, [points], False, ink, max(1, round(size * 0.1)), cv2.LINE_AA)
      left += size * 0.62
  cv2.rectangle(board, (0, 0), (width - 1, height - 1), ink, max(1, round(height * 0.04)))
  return _opaque(board, 3.0)


@functools.lru_cache(maxsize=128)
def make_dial(design: int, size: int) -> Patch:
  """Makes a round window with tracery, or a clock."""
  rng = make_rng(_STREAM, 4, design)
  clock = bool(rng.random() < 0.4)
  color = np.zeros((size, size, 3), np.uint8)
  height = np.full((size, size), 2.0, np.float32)
  center, radius = (size // 2, size // 2), size // 2 - 1
  stone = tuple(int(v) for v in rng.uniform(0.6, 1.0) * np.array([220, 210, 190]))
  face = (232, 228, 214) if clock else (34, 38, 50)
  cv2.circle(color, center, radius, stone, -1, cv2.LINE_AA)
  cv2.circle(color, center, int(radius * 0.86), face, -1, cv2.LINE_AA)
  spokes = 12 if clock else int(rng.integers(5, 15))
  rings = sorted(rng.uniform(0.2, 0.84, 1 if clock else 3))
  angles = 2 * np.pi * np.arange(spokes) / spokes
  ink = (30, 28, 40) if clock else stone
  if not clock:
    for angle in angles:
      tint = tuple(int(v) for v in rng.uniform(20, 190, 3))
      spot = _at(center, radius * rings[2] * 0.95, angle + np.pi / spokes)
      cv2.circle(color, spot, max(2, int(radius * 0.9 / spokes)), tint, -1, cv2.LINE_AA)
  for ring in rings:
    cv2.circle(color, center, int(radius * ring), ink, max(1, size // 40), cv2.LINE_AA)
  start = 0.68 if clock else 0.1
  for angle in angles:
    ends = _at(center, radius * start, angle), _at(center, radius * 0.84, angle)
    cv2.line(color, *ends, ink, max(1, size // 28), cv2.LINE_AA)
  if clock:
    for length, angle in zip((0.45, 0.66), rng.uniform(0, 2 * np.pi, 2), strict=True):
      cv2.line(color, center, _at(center, radius * length, angle), ink, size // 22, cv2.LINE_AA)
  disc = np.zeros((size, size), np.uint8)
  cv2.circle(disc, center, radius, 255, -1)
  height[cv2.cvtColor(color, cv2.COLOR_RGB2GRAY) > 110] = 5.0
  return Patch(color, disc, height)


@functools.lru_cache(maxsize=128)
def make_statue(design: int, width: int, height: int) -> Patch:
  """Makes a standing figure on a base, cut out."""
  rng = make_rng(_STREAM, 5, design)
  mask = np.zeros((height, width), np.uint8)

  def blob(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> None:
    size = (max(1, int(rx * width)), max(1, int(ry * height)))
    cv2.ellipse(mask, (int(x * width), int(y * height)), size, angle, 0, 360, 255, -1)

  lean = rng.uniform(-0.06, 0.06)
  blob(0.5 + lean, 0.12, 0.13, 0.08)
  blob(0.5 + lean / 2, 0.32, 0.26, 0.15)
  blob(0.5, 0.58, rng.uniform(0.2, 0.32), 0.28)
  for side in (-1, 1):
    reach = rng.uniform(0.0, 0.16)
    blob(0.5 + side * (0.25 + reach / 2), 0.36, 0.08, 0.15, side * rng.uniform(-60, 40))
  cv2.rectangle(mask, (width // 6, int(height * 0.85)), (width - width // 6, height), 255, -1)
  folds = make_noise(rng, (max(2, height // 3), width), coarsest=width / 4)
  folds = cv2.resize(folds, (width, height))
  depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
  tone = 0.75 + 0.16 * folds + 0.015 * np.minimum(depth, 14)
  base = rng.uniform(0.6, 1.0) * np.array([205.0, 200.0, 188.0])
  patch = make_patch(tone.astype(np.float32), base, np.minimum(depth, 8.0) + 2.0 * folds)
  return dataclasses.replace(patch, alpha=mask)


def _opaque(color: np.ndarray, height: float) -> Patch:
  shape = color.shape[:2]
  return Patch(color, np.full(shape, 255, np.uint8), np.full(shape, height, np.float32))


def _at(center: tuple[int, int], radius: float, angle: float) -> tuple[int, int]:
  return (
    int(center[0] + radius * np.sin(angle)),
    int(center[1] - radius * np.cos(angle)),
  )


@functools.cache
def _glyph(index: int) -> tuple[np.ndarray, ...]:
  """Returns a letter's strokes as polylines in the unit square."""
  rng = make_rng(_STREAM, 6, index)
  grid = np.array([(x / 2, y / 2) for x in range(3) for y in range(3)])
  return tuple(
    grid[rng.choice(9, size=int(rng.integers(2, 5)), replace=False)]
    for _ in range(int(rng.integers(1, 4)))
  )


def _arch(kind: str, left: int, top: int, width: int, height: int) -> np.ndarray:
  """Returns the outline of an opening of a kind."""
  turns = np.linspace(0, np.pi, 13)
  if kind == "circle":
    turns = np.linspace(0, 2 * np.pi, 25)
    radius = min(width, height) / 2
    center = (left + width / 2, top + height / 2)
    points = np.stack([center[0] + radius * np.cos(turns), center[1] - radius * np.sin(turns)], 1)
    return np.round(points).astype(np.int32)
  base = [(left, top + height - 1), (left + width - 1, top + height - 1)]
  if kind == "flat":
    return np.array([*base, (left + width - 1, top), (left, top)], np.int32)
  rise = width * (0.5 if kind == "round" else 0.85)
  x = np.cos(turns)
  y = np.sin(turns) if kind == "round" else np.sqrt(np.maximum(1 - np.abs(x), 0))
  crown = np.stack([left + width / 2 * (1 + x), top + rise * (1 - y)], 1)
  return np.array([*base, *np.round(crown).astype(int).tolist()], np.int32)


def _pediment(rng: np.random.Generator, margin: int, crown: int, columns: int) -> np.ndarray:
  foot = crown + max(2, margin // 2)
  if rng.random() < 0.5:
    return np.array([(0, foot), (columns // 2, 0), (columns - 1, foot)], np.int32)
  return np.array(
    [(0, foot), (0, foot // 2), (columns - 1, foot // 2), (columns - 1, foot)], np.int32
  )


def _carve(rng: np.random.Generator, shape: tuple[int, int], *, grain: float) -> np.ndarray:
  """Returns a carving in [0, 1]: terraces of smooth noise, mirrored at the middle."""
  half = (shape[0], (shape[1] + 1) // 2)
  field = make_noise(rng, half, coarsest=max(grain, 2.0), finest=max(grain / 2, 2.0))
  field = cv2.GaussianBlur(field, (0, 0), max(0.6, grain / 6))
  mirrored = np.concatenate([field, field[:, : shape[1] - half[1]][:, ::-1]], axis=1)
  levels = np.float32(rng.integers(2, 5))
  spread = mirrored / (np.abs(mirrored).max() + np.float32(1e-6))
  return np.floor((spread + 1) / 2 * levels) / levels


def _make_glass(
  rng: np.random.Generator, shape: tuple[int, int], box: tuple[int, int, int, int]
) -> Patch:
  """Returns panes between bars; some stained, some with curtains."""
  left, top, width, height = box
  bars = (int(rng.integers(1, 4)), int(rng.integers(1, 6)))
  dark = rng.uniform(22, 70) * np.array([0.9, 1.0, 1.15])
  color = np.broadcast_to(dark.astype(np.uint8), (*shape, 3)).copy()
  stained = rng.random() < 0.15
  step = width / (bars[0] + 1), height / (bars[1] + 1)
  for row in range(bars[1] + 1):
    for column in range(bars[0] + 1):
      gain = rng.uniform(0.6, 2.2)
      tint = dark * gain if not stained else rng.uniform(15, 190, 3)
      start = (int(left + column * step[0]), int(top + row * step[1]))
      stop = (int(start[0] + step[0]), int(start[1] + step[1]))
      cv2.rectangle(color, start, stop, tuple(float(v) for v in np.minimum(tint, 255)), -1)
  if rng.random() < 0.4:
    veil = int(width * rng.uniform(0.15, 0.35))
    for x in (left, left + width - veil):
      cv2.rectangle(color, (x, top), (x + veil, top + height), (196, 190, 176), -1)
  bar = tuple(float(v) for v in rng.uniform(0.3, 1.0) * np.array([235, 232, 222]))
  thick = max(1, width // 16)
  for column in range(1, bars[0] + 1):
    x = int(left + column * step[0])
    cv2.line(color, (x, 0), (x, shape[0]), bar, thick)
  for row in range(1, bars[1] + 1):
    y = int(top + row * step[1])
    cv2.line(color, (0, y), (shape[1], y), bar, thick)
  return _opaque(color, 0.0)


def _make_leaves(
  rng: np.random.Generator, shape: tuple[int, int], box: tuple[int, int, int, int]
) -> Patch:
  """Returns the leaves of a door: panels of wood."""
  left, top, width, height = box
  tone = 1.0 + 0.1 * make_noise(rng, shape, coarsest=24)
  relief = np.zeros(shape, np.float32)
  rows = int(rng.integers(2, 5))
  for row in range(rows):
    for column in range(2):
      x, y = left + int((column + 0.12) * width / 2), top + int((row + 0.15) * height / rows)
      far = (x + int(width * 0.38), y + int(height * 0.7 / rows))
      cv2.rectangle(tone, (x, y), far, 0.7, -1)
      cv2.rectangle(tone, (x, y), far, 1.25, 1)
      cv2.rectangle(relief, (x, y), far, -2.0, -1)
  cv2.line(tone, (left + width // 2, 0), (left + width // 2, shape[0]), 0.3, 2)
  return make_patch(tone, rng.uniform(30, 110) * rng.uniform(0.6, 1.0, 3), relief)

"""Procedural materials of walls, roofs and grounds, as colour and relief."""

import dataclasses

import cv2
import numpy as np

TEXELS_PER_METRE = 40

# Distances in texels at which relief casts a shadow.
_SHADOW_STEPS = (2, 5, 9)


@dataclasses.dataclass(frozen=True)
class Patch:
  """A piece of a surface.

  Attributes:
    color: `[h, w, 3]` uint8, RGB.
    alpha: `[h, w]` uint8, 255 where the patch is solid.
    height: `[h, w]` float32, relief in texels.
  """

  color: np.ndarray
  alpha: np.ndarray
  height: np.ndarray


class Texture:
  """A patch with reduced copies under each light, made when they are first needed.

  Attributes:
    patch: the patch.
    flat: whether it looks the same under every light.
  """

  def __init__(self, patch: Patch, *, flat: bool = False):
    self.patch = patch
    self.flat = flat
    self._levels: dict[int, list[np.ndarray]] = {}

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width in texels."""
    return self.patch.alpha.shape[0], self.patch.alpha.shape[1]

  def level(self, sun: int, index: int) -> np.ndarray:
    """Returns `[h, w, 4]` uint8 under light `sun`, reduced by about two to the power of `index`."""
    sun = -1 if self.flat else sun
    if sun not in self._levels:
      lit = self.patch.color if self.flat else light_relief(self.patch, sun)
      self._levels[sun] = [np.dstack([lit, self.patch.alpha])]
    levels = self._levels[sun]
    while len(levels) <= index and min(levels[-1].shape[:2]) > 3:
      height, width = levels[-1].shape[:2]
      size = ((width + 1) // 2, (height + 1) // 2)
      levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return levels[min(index, len(levels) - 1)]


def make_rng(*key: int) -> np.random.Generator:
  """Returns a generator that depends only on the integers that name its object.

  Modules put their `_STREAM` first, so that no two of them draw the same numbers.
  """
  return np.random.default_rng(np.random.SeedSequence([*key]))


def make_noise(
  rng: np.random.Generator, shape: tuple[int, int], *, coarsest: float = 64.0, finest: float = 1.0
) -> np.ndarray:
  """Returns `[h, w]` float32 noise of mean 0 and deviation about 1, with equal octaves.

  Args:
    rng: random generator.
    shape: h, w.
    coarsest: size of the coarsest grains in texels.
    finest: size of the finest grains in texels.
  """
  height, width = shape
  total = np.zeros(shape, np.float32)
  octaves, size = 0, coarsest
  while size >= finest:
    grid = (max(2, int(height / size) + 1), max(2, int(width / size) + 1))
    grains = rng.random(grid, np.float32) - np.float32(0.5)
    total += cv2.resize(grains, (width, height), interpolation=cv2.INTER_LINEAR)
    octaves, size = octaves + 1, size / 2
  return total * np.float32(4.0 / np.sqrt(max(octaves, 1)))


def make_patch(tone: np.ndarray, base: np.ndarray, height: np.ndarray) -> Patch:
  """Colours an opaque patch.

  Args:
    tone: `[h, w]` brightness around 1.
    base: `[3]` RGB in [0, 255].
    height: `[h, w]` relief in texels.
  """
  color = cv2.merge([cv2.convertScaleAbs(tone, alpha=float(channel)) for channel in base])
  return Patch(color, np.full(tone.shape, 255, np.uint8), height.astype(np.float32))


def paste(canvas: Patch, part: Patch, left: int, top: int, *, opaque: bool = True) -> None:
  """Draws a part on a canvas in place, and cuts it at the edges of the canvas.

  Args:
    canvas: patch that is changed.
    part: patch whose solid texels are drawn.
    left: column of the part's left edge in the canvas.
    top: row of the part's top edge in the canvas.
    opaque: whether the part is drawn; else it cuts a hole into the canvas.
  """
  rows, columns = canvas.alpha.shape
  height, width = part.alpha.shape
  y1, y2, x1, x2 = max(top, 0), min(top + height, rows), max(left, 0), min(left + width, columns)
  if y1 >= y2 or x1 >= x2:
    return
  source = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
  target = np.s_[y1:y2, x1:x2]
  where = part.alpha[source] > 127
  if not opaque:
    np.copyto(canvas.alpha[target], np.uint8(0), where=where)
    return
  np.copyto(canvas.color[target], part.color[source], where=where[:, :, None])
  np.copyto(canvas.alpha[target], np.uint8(255), where=where)
  np.copyto(canvas.height[target], part.height[source], where=where)


def light_relief(patch: Patch, sun: int) -> np.ndarray:
  """Shades a patch by its relief, with the shadows that it casts on itself.

  Args:
    patch: the patch.
    sun: direction of the light: 0 = from the left, 1 = diffuse from above, 2 = from the right.

  Returns:
    `[h, w, 3]` uint8.
  """
  side = sun - 1
  height = patch.height
  slope = np.zeros_like(height)
  slope[1:] += 0.16 * (height[1:] - height[:-1])
  if side:
    slope[:, 1:] += 0.2 * side * (height[:, :-1] - height[:, 1:])
  shade = 1.0 + np.clip(slope, -0.45, 0.45)
  for step in _SHADOW_STEPS:
    shift = np.array([[1.0, 0.0, -side * step], [0.0, 1.0, step]], np.float32)
    size = (height.shape[1], height.shape[0])
    above = cv2.warpAffine(height, shift, size, flags=cv2.INTER_NEAREST)
    shade -= np.float32(0.22) * (above > height + np.float32(0.5 * step + 0.5))
  return cv2.multiply(patch.color, cv2.merge([shade] * 3), dtype=cv2.CV_8U)


def make_masonry(
  rng: np.random.Generator,
  shape: tuple[int, int],
  base: np.ndarray,
  *,
  block: tuple[int, int],
  joint: int = 1,
  spread: float = 0.12,
) -> Patch:
  """Returns courses of blocks, each of its own tone.

  Args:
    rng: random generator.
    shape: h, w in texels.
    base: RGB in [0, 255].
    block: height and width of a block in texels.
    joint: width of the joints in texels.
    spread: deviation of the tones.
  """
  rows, columns = np.arange(shape[0]), np.arange(shape[1])
  course = rows // block[0]
  shifts = (rng.random(course[-1] + 1) * block[1]).astype(int)
  across = columns[None] + shifts[course][:, None]
  tones = 1.0 + spread * rng.standard_normal((course[-1] + 1, shape[1] // block[1] + 3))
  tone = tones.astype(np.float32)[course[:, None], across // block[1]]
  gap = (rows % block[0] < joint)[:, None] | (across % block[1] < joint)
  tone += np.float32(0.06) * make_noise(rng, shape, coarsest=96)
  tone[gap] *= np.float32(0.68)
  height = np.where(gap, np.float32(-1.2), np.float32(0.0))
  return make_patch(np.clip(tone, 0.2, 1.6), base, height)


def make_rubble(rng: np.random.Generator, shape: tuple[int, int], base: np.ndarray) -> Patch:
  """Returns irregular stones: the cells of scattered points."""
  points = (rng.random(shape, np.float32) > 1.0 / 170.0).astype(np.uint8)
  points[0, 0] = 0
  _, stones = cv2.distanceTransformWithLabels(
    points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
  )
  tones = (1.0 + 0.15 * rng.standard_normal(int(stones.max()) + 1)).astype(np.float32)
  tone = tones[np.asarray(stones, np.int64)]
  gap = cv2.morphologyEx(stones.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
  tone += np.float32(0.07) * make_noise(rng, shape, coarsest=64)
  tone[gap] *= np.float32(0.66)
  return make_patch(np.clip(tone, 0.2, 1.6), base, np.where(gap, -1.0, 0.0))


def make_plaster(rng: np.random.Generator, shape: tuple[int, int], base: np.ndarray) -> Patch:
  """Returns plaster with stains that run down, and patches where it has come off."""
  tone = 1.0 + np.float32(0.05) * make_noise(rng, shape, coarsest=128)
  runs = cv2.resize(
    make_noise(rng, (max(2, shape[0] // 24), shape[1]), coarsest=16), (shape[1], shape[0])
  )
  tone -= np.float32(0.07) * np.maximum(runs, 0)
  bare = make_noise(rng, shape, coarsest=48, finest=6) > 2.1
  tone[bare] *= np.float32(0.78)
  return make_patch(np.clip(tone, 0.2, 1.6), base, np.where(bare, -1.0, 0.0))


def make_timber(rng: np.random.Generator, shape: tuple[int, int], base: np.ndarray) -> Patch:
  """Returns plaster between posts, rails and braces of dark wood."""
  patch = make_plaster(rng, shape, base)
  field = int(rng.integers(44, 76))
  beams = np.zeros(shape, np.uint8)
  for top in range(0, shape[0] + field, field):
    cv2.rectangle(beams, (0, top - 4), (shape[1], top + 3), 255, -1)
    for left in range(0, shape[1] + field, field):
      cv2.rectangle(beams, (left - 3, top), (left + 3, top + field), 255, -1)
      lean = int(rng.integers(-2, 3))
      if lean:
        ends = (left, left + field) if lean > 0 else (left + field, left)
        cv2.line(beams, (ends[0], top), (ends[1], top + field), 255, 4 + abs(lean))
  grain = 70.0 + 14.0 * make_noise(rng, shape, coarsest=16)
  wood = cv2.merge([cv2.convertScaleAbs(grain, alpha=gain) for gain in (1.0, 0.78, 0.6)])
  np.copyto(patch.color, wood, where=beams[:, :, None] > 0)
  np.copyto(patch.height, np.float32(1.5), where=beams > 0)
  return patch


def make_tiles(
  rng: np.random.Generator, shape: tuple[int, int], base: np.ndarray, *, pitch: int = 10
) -> Patch:
  """Returns rows of overlapping roof tiles."""
  patch = make_masonry(rng, shape, base, block=(pitch, pitch), spread=0.16)
  ramp = (np.arange(shape[0]) % pitch).astype(np.float32) * np.float32(2.0 / pitch)
  return dataclasses.replace(patch, height=patch.height + ramp[:, None])


def make_wall(
  rng: np.random.Generator, kind: str, shape: tuple[int, int], base: np.ndarray
) -> Patch:
  """Returns a wall of a kind: brick, ashlar, rubble, plaster, timber, panel, tiles, slate."""
  if kind == "brick":
    return make_masonry(rng, shape, base, block=(5, 13), spread=0.13)
  if kind == "ashlar":
    block = (int(rng.integers(13, 22)), int(rng.integers(26, 48)))
    return make_masonry(rng, shape, base, block=block, joint=2, spread=0.08)
  if kind == "panel":
    block = (int(rng.integers(44, 80)), int(rng.integers(44, 90)))
    return make_masonry(rng, shape, base, block=block, joint=2, spread=0.05)
  if kind == "slate":
    return make_tiles(rng, shape, base, pitch=8)
  return {
    "rubble": make_rubble,
    "plaster": make_plaster,
    "timber": make_timber,
    "tiles": make_tiles,
  }[kind](rng, shape, base)

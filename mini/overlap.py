"""Measured overlap of views, and the labels that follow from it.

A building is represented by points spread evenly over its surfaces. A view sees a point that faces
the camera and lies in the frame, unless the z-buffer holds a nearer surface. In a query the point
must also lie in the box. The weight of a query's point is the number of pixels that its piece of
surface covers in the box. The overlap of a query and another view is the weighted share of the
query's points that the other view sees too. A point seen at a very different scale or from a very
different direction counts less.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from l2g_jax.data.images import Box
from mini.render import Camera, Rendering, Surface

# Least overlap times clarity of the photograph for which a view is easy, and hard. A view that
# overlaps less but still shows a part of the building, such as its back, is junk. Any other view is
# a negative. Both values were set by looking at global search and Chamfer similarity only.
EASY_OVERLAP = 0.33
HARD_OVERLAP = 0.07

# Agreement is full up to the first value and none from the second: octaves of scale, degrees.
_OCTAVES = (0.6, 2.6)
_DEGREES = (25.0, 70.0)
# Relative difference of depth up to which a point lies on the surface in the z-buffer.
_DEPTH_TOLERANCE = 0.006


@dataclasses.dataclass(frozen=True)
class Points:
  """Points on a building.

  Attributes:
    position: `[n, 3]` metres.
    normal: `[n, 3]` of unit length.
  """

  position: np.ndarray
  normal: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sighting:
  """The n points of a building in a view.

  Attributes:
    visible: `[n]` bool, whether the view sees the point.
    pixels: `[n, 2]` x, y in the photograph.
    area: `[n]` pixels of the photograph that a square metre of surface at the point covers.
    scale: `[n]` pixels per metre, seen head on.
    direction: `[n, 3]` from the point to the camera, of unit length.
  """

  visible: np.ndarray
  pixels: np.ndarray
  area: np.ndarray
  scale: np.ndarray
  direction: np.ndarray


def sample_points(rng: np.random.Generator, surfaces: Sequence[Surface], count: int) -> Points:
  """Draws points evenly by area from the solid parts of a building's surfaces."""
  owned = [surface for surface in surfaces if surface.owned]
  if not count or not owned:
    return Points(np.zeros((0, 3)), np.zeros((0, 3)))
  areas = np.array([np.linalg.norm(np.cross(s.down, s.across)) for s in owned])
  solid = np.array([np.mean(s.texture.patch.alpha > 127) for s in owned])
  shares = areas * solid / np.sum(areas * solid)
  positions, normals = [], []
  for surface, number in zip(owned, rng.multinomial(count, shares), strict=True):
    filled = np.flatnonzero(surface.texture.patch.alpha > 127)
    if not number or not len(filled):
      continue
    rows, columns = surface.texture.shape
    row, column = np.divmod(rng.choice(filled, int(number)), columns)
    x, y = (column + 0.5) / columns, (row + 0.5) / rows
    positions.append(surface.origin + x[:, None] * surface.across + y[:, None] * surface.down)
    normals.append(np.broadcast_to(surface.normal, (int(number), 3)))
  return Points(np.concatenate(positions), np.concatenate(normals))


def see_points(
  points: Points, camera: Camera, rendering: Rendering, size: tuple[int, int]
) -> Sighting:
  """Finds the points that a view shows.

  Args:
    points: points of the building.
    camera: camera of the view.
    rendering: rendering of the view.
    size: height and width of the photograph made from the rendering.
  """
  to_camera = camera.position - points.position
  distance = np.linalg.norm(to_camera, axis=1)
  direction = to_camera / distance[:, None]
  cosine = np.einsum("nd,nd->n", direction, points.normal)
  local = -to_camera @ camera.axes.T
  depth = np.maximum(local[:, 2], 1e-6)
  drawn = (local @ camera.matrix.T)[:, :2] / depth[:, None]
  pixel = np.round(drawn).astype(int)
  height, width = camera.size
  inside = np.all((pixel >= 0) & (pixel < [width, height]), axis=1) & (local[:, 2] > 0)
  pixel = np.where(inside[:, None], pixel, 0)
  nearest = rendering.nearness[pixel[:, 1], pixel[:, 0]]
  visible = inside & (cosine > 0.05) & (nearest * depth < 1 + _DEPTH_TOLERANCE)
  reduction = size[1] / width
  scale = camera.focal / depth * reduction
  return Sighting(
    visible=visible,
    pixels=(drawn + 0.5) * reduction - 0.5,
    area=scale**2 * np.maximum(cosine, 0.0),
    scale=scale,
    direction=direction,
  )


def find_box(sighting: Sighting, size: tuple[int, int], *, margin: float = 0.03) -> Box | None:
  """Returns the box of a building's visible points, a margin off the frame; None if too small."""
  pixels = sighting.pixels[sighting.visible]
  if len(pixels) < 20:
    return None
  low, high = np.quantile(pixels, 0.01, axis=0), np.quantile(pixels, 0.99, axis=0)
  frame = np.array([size[1], size[0]], np.float64)
  low, high = np.maximum(low - 3, margin * frame), np.minimum(high + 3, (1 - margin) * frame)
  if np.any(high - low < 0.2 * frame):
    return None
  x1, y1, x2, y2 = (float(v) for v in np.round([*low, *high], 1))
  return x1, y1, x2, y2


def measure_fill(rendering: Rendering, box: Box, size: tuple[int, int]) -> float:
  """Returns the share of a box in a photograph where the building is the nearest surface."""
  scale = rendering.owned.shape[1] / size[1]
  x1, y1, x2, y2 = (round(value * scale) for value in box)
  return float(np.mean(rendering.owned[y1:y2, x1:x2] > 0))


def measure_overlap(query: Sighting, box: Box, other: Sighting) -> float:
  """Returns the overlap of a query and another view of the same building, in [0, 1]."""
  x, y = query.pixels.T
  shown = query.visible & (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
  weights = query.area * shown
  total = float(weights.sum())
  if total <= 0:
    return 0.0
  octaves = np.abs(np.log2(query.scale / other.scale))
  cosine = np.einsum("nd,nd->n", query.direction, other.direction)
  degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
  agreement = _fall(octaves, _OCTAVES) * _fall(degrees, _DEGREES)
  return float(np.sum(weights * other.visible * agreement) / total)


def choose_label(overlap: float, clarity: float, *, visible: bool) -> str:
  """Returns `easy`, `hard`, `junk` or `negative`.

  Args:
    overlap: overlap of the query and the view, in [0, 1].
    clarity: clarity of the photograph of the view, in [0, 1].
    visible: whether the view shows any point of the building.
  """
  quality = overlap * clarity
  if quality >= EASY_OVERLAP:
    return "easy"
  if quality >= HARD_OVERLAP:
    return "hard"
  return "junk" if visible else "negative"


def _fall(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
  return np.clip((ends[1] - values) / (ends[1] - ends[0]), 0, 1)

"""Camera and rasteriser: draws textured planes in true perspective with a z-buffer."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from mini.textures import Texture

# Distance of the near plane in metres.
_NEAR = 0.3
# Share of ambient light from which on relief has no shadow to a side.
_DIFFUSE = 0.8


@dataclasses.dataclass(frozen=True)
class Surface:
  """A textured parallelogram, visible from the side to which `cross(down, across)` points.

  Attributes:
    origin: `[3]` metres, position of the texture's top left corner; y points up.
    across: `[3]` metres, the texture's upper edge.
    down: `[3]` metres, the texture's left edge.
    texture: the texture.
    owned: whether it belongs to the building of the scene.
    facing: whether it turns to every camera about a vertical axis, and so is always visible.
  """

  origin: np.ndarray
  across: np.ndarray
  down: np.ndarray
  texture: Texture
  owned: bool = False
  facing: bool = False

  @property
  def normal(self) -> np.ndarray:
    """`[3]`, of unit length."""
    normal = cross(self.down, self.across)
    return normal / np.linalg.norm(normal)


@dataclasses.dataclass(frozen=True)
class Camera:
  """A pinhole camera.

  Attributes:
    position: `[3]` metres.
    axes: `[3, 3]`, whose rows are right, down and forward in the world.
    focal: focal length in pixels.
    size: height and width in pixels.
  """

  position: np.ndarray
  axes: np.ndarray
  focal: float
  size: tuple[int, int]

  @property
  def matrix(self) -> np.ndarray:
    """`[3, 3]`, maps directions in the camera to homogeneous pixels."""
    return np.array(
      [
        [self.focal, 0.0, (self.size[1] - 1) / 2],
        [0.0, self.focal, (self.size[0] - 1) / 2],
        [0.0, 0.0, 1.0],
      ]
    )


@dataclasses.dataclass(frozen=True)
class Rendering:
  """The view of a camera, before it becomes a photograph.

  Attributes:
    color: `[h, w, 3]` uint8, RGB; zero without a surface.
    nearness: `[h, w]` float32, 1 / depth in metres; zero without a surface.
    owned: `[h, w]` uint8, 255 on the building of the scene.
  """

  color: np.ndarray
  nearness: np.ndarray
  owned: np.ndarray


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns the cross product of two `[3]`; that of NumPy is slow for single vectors."""
  return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def look_at(
  position: np.ndarray, target: np.ndarray, *, roll: float, focal: float, size: tuple[int, int]
) -> Camera:
  """Returns a camera at a position that looks at a target, turned by `roll` radians."""
  forward = target - position
  forward = forward / np.linalg.norm(forward)
  right = np.cross(forward, np.array([0.0, 1.0, 0.0]))
  right = right / np.linalg.norm(right)
  down = np.cross(forward, right)
  cos, sin = np.cos(roll), np.sin(roll)
  axes = np.stack([cos * right + sin * down, cos * down - sin * right, forward])
  return Camera(position, axes, focal, size)


def render(
  surfaces: Sequence[Surface], camera: Camera, *, light: np.ndarray, ambient: float
) -> Rendering:
  """Draws surfaces.

  Args:
    surfaces: surfaces of the scene.
    camera: camera that sees them.
    light: `[3]` direction to the sun, of unit length.
    ambient: share of light that comes from all directions, in [0, 1]; from 0.8 on, relief casts no
      shadow to a side.
  """
  height, width = camera.size
  color = np.zeros((height, width, 3), np.uint8)
  nearness = np.zeros((height, width), np.float32)
  owned = np.zeros((height, width), np.uint8)
  placed = [_turn(surface, camera) for surface in surfaces]
  # Near surfaces come first, since surfaces behind them need not be drawn.
  placed.sort(
    key=lambda s: float(np.sum((s.origin + (s.across + s.down) / 2 - camera.position) ** 2))
  )
  for surface in placed:
    direct = 0.6 if surface.facing else max(0.0, float(surface.normal @ light))
    side = float(surface.across @ light / np.linalg.norm(surface.across))
    sun = 1 if ambient >= _DIFFUSE or abs(side) < 0.2 else 1 + int(np.sign(side))
    shade = ambient + (1 - ambient) * direct
    _draw(surface, camera, sun, shade, color, nearness, owned)
  return Rendering(color, nearness, owned)


def _turn(surface: Surface, camera: Camera) -> Surface:
  """Turns a facing surface to a camera, about its vertical middle line."""
  if not surface.facing:
    return surface
  middle = surface.origin + surface.across / 2
  away = camera.position - middle
  right = np.array([away[2], 0.0, -away[0]]) / max(float(np.hypot(away[0], away[2])), 1e-6)
  across = right * np.linalg.norm(surface.across)
  return dataclasses.replace(surface, origin=middle - across / 2, across=across)


def _draw(
  surface: Surface,
  camera: Camera,
  sun: int,
  shade: float,
  color: np.ndarray,
  nearness: np.ndarray,
  owned: np.ndarray,
) -> None:
  to_origin = camera.axes @ (surface.origin - camera.position)
  across, down = camera.axes @ surface.across, camera.axes @ surface.down
  normal = cross(down, across)
  offset = float(normal @ to_origin)
  if offset >= 0:
    return
  corners = np.stack([to_origin, to_origin + across, to_origin + across + down, to_origin + down])
  seen = _clip(corners)
  if len(seen) < 3:
    return
  matrix = camera.matrix
  pixels = seen @ matrix.T
  pixels = pixels[:, :2] / pixels[:, 2:]
  low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
  high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, [camera.size[1], camera.size[0]])
  if np.any(high - low < 1):
    return
  x1, y1, x2, y2 = *low, *high
  # The inverse depth of a plane is affine in the pixel.
  slope = np.linalg.solve(matrix.T, normal / offset).astype(np.float32)
  plane = (slope[0] * np.arange(x1, x2, dtype=np.float32))[None] + (
    slope[1] * np.arange(y1, y2, dtype=np.float32) + slope[2]
  )[:, None]
  window = np.s_[y1:y2, x1:x2]
  nearer = cv2.compare(plane, np.ascontiguousarray(nearness[window]), cv2.CMP_GT)
  if not cv2.hasNonZero(nearer):
    return
  rows, columns = surface.texture.shape
  texels = rows * columns * _area(seen) / _area(corners) / max(_area(pixels), 1.0)
  texture = surface.texture.level(sun, max(0, round(0.5 * np.log2(max(texels, 1.0)) - 0.2)))
  rows, columns = texture.shape[:2]
  to_pixels = matrix @ np.stack([across / columns, down / rows, to_origin], axis=1)
  half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
  move = np.array([[1.0, 0.0, -x1], [0.0, 1.0, -y1], [0.0, 0.0, 1.0]])
  warped = cv2.warpPerspective(
    texture, move @ to_pixels @ half, (int(x2 - x1), int(y2 - y1)), flags=cv2.INTER_LINEAR
  )
  lit = cv2.convertScaleAbs(warped[:, :, :3], alpha=shade)
  where = (nearer > 0) & (warped[:, :, 3] > 127)
  np.copyto(color[window], lit, where=where[:, :, None])
  np.copyto(nearness[window], plane, where=where)
  np.copyto(owned[window], np.uint8(255 if surface.owned else 0), where=where)


def _clip(corners: np.ndarray) -> np.ndarray:
  """Cuts a polygon in camera coordinates at the near plane."""
  if corners[:, 2].min() >= _NEAR:
    return corners
  kept = []
  for start, stop in zip(corners, _shift(corners), strict=True):
    if start[2] >= _NEAR:
      kept.append(start)
    if (start[2] >= _NEAR) != (stop[2] >= _NEAR):
      kept.append(start + (stop - start) * (_NEAR - start[2]) / (stop[2] - start[2]))
  return np.array(kept).reshape(-1, 3)


def _shift(points: np.ndarray) -> np.ndarray:
  return np.concatenate([points[1:], points[:1]])


def _area(points: np.ndarray) -> float:
  """Returns the area of a flat polygon `[n, 2]` or `[n, 3]`."""
  x, y = points[:, :2].T, _shift(points)
  flat = float(x[0] @ y[:, 1] - x[1] @ y[:, 0]) / 2
  if points.shape[1] == 2:
    return abs(flat)
  z = points[:, 2]
  sides = float(x[1] @ y[:, 2] - z @ y[:, 1]) / 2, float(z @ y[:, 0] - x[0] @ y[:, 2]) / 2
  return float(np.hypot(np.hypot(*sides), flat))

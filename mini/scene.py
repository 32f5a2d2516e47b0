"""Scenes of the city, and the photographs taken of them."""

import dataclasses

import numpy as np

from mini import clutter
from mini.facades import borrow_parts, make_style
from mini.landmarks import make_landmark
from mini.photograph import take_photograph
from mini.plan import MiniConfig, ScenePlan
from mini.render import Camera, Rendering, Surface, look_at, render
from mini.textures import make_rng

_STREAM = 105
# Passers-by and obstacles keep this distance from the camera in metres.
_CLEARANCE = 3.0
# Renderings are reduced by this factor, against jagged edges.
_SUPERSAMPLING = 1.25


@dataclasses.dataclass(frozen=True)
class Scene:
  """The parts of a scene that stay from photograph to photograph.

  Attributes:
    surfaces: buildings, ground and trees.
    low: `[3]` metres, lower corner of the box around the building of the scene.
    high: `[3]` metres, the opposite corner.
  """

  surfaces: tuple[Surface, ...]
  low: np.ndarray
  high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Photograph:
  """A photograph and the view that it shows.

  Attributes:
    image: `[h, w, 3]` uint8, RGB.
    clarity: see `photograph.take_photograph`.
    quality: quality of the JPEG, up to 100.
    camera: the camera, whose frame has more pixels than the image.
    rendering: the view of the camera.
  """

  image: np.ndarray
  clarity: float
  quality: int
  camera: Camera
  rendering: Rendering

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of the image."""
    return self.image.shape[0], self.image.shape[1]


def build_scene(plan: ScenePlan, config: MiniConfig, *, seed: int) -> Scene:
  """Builds the scene of a plan."""
  rng = make_rng(_STREAM, seed, 0, plan.index)
  style = make_style(seed, plan.index)
  surfaces: list[Surface] = []
  low, high = np.array([-8.0, 0.0, -6.0]), np.array([8.0, 9.0, 6.0])
  if plan.kind == "borrowed":
    style = borrow_parts(style, make_style(seed, int(rng.integers(config.num_landmarks))), rng)
  if plan.kind != "street":
    surfaces = make_landmark(rng, style)
    corners = np.concatenate([[s.origin, s.origin + s.across, s.origin + s.down] for s in surfaces])
    low, high = corners.min(axis=0), corners.max(axis=0)
    reach = float(max(high[0], -low[0]))
  else:
    # Without a building, the row of houses closes.
    reach = 0.0
  surfaces += clutter.make_row(rng, seed, reach=reach, front=float(high[2]), back=float(low[2]))
  surfaces += clutter.make_ground(rng, seed)
  for _ in range(int(rng.integers(0, 4))):
    x, z = rng.uniform(1.5 * low[0], 1.5 * high[0]), high[2] + rng.uniform(4, 14)
    surfaces.append(clutter.make_sprite(rng, seed, "tree", float(x), float(z)))
  return Scene(tuple(surfaces), low, high)


def shoot(scene: Scene, plan: ScenePlan, config: MiniConfig, *, seed: int, view: int) -> Photograph:
  """Takes a photograph for the database.

  Args:
    scene: the scene.
    plan: its plan.
    config: size of the benchmark.
    seed: seed of the benchmark.
    view: number of the photograph.
  """
  rng = make_rng(_STREAM, seed, 1, plan.index, view)
  severity = float(
    rng.choice(
      [rng.uniform(0, 0.3), rng.uniform(0.3, 0.65), rng.uniform(0.65, 1)], p=[0.6, 0.3, 0.1]
    )
  )
  kind = rng.random()
  if kind < 0.12:
    framing = rng.uniform(0.32, 0.5)
  elif kind < 0.75:
    framing = rng.uniform(0.6, 1.25)
  else:
    framing = rng.uniform(1.2, 2.3)
  camera = _choose_camera(rng, scene, config, azimuth=_choose_azimuth(rng), framing=framing)
  occluders = int(rng.choice([0, 1, 2, 4], p=[0.5, 0.3, 0.14, 0.06]))
  return _take(rng, scene, camera, seed=seed, severity=severity, occluders=occluders)


def shoot_query(
  scene: Scene, plan: ScenePlan, config: MiniConfig, *, seed: int, view: int
) -> Photograph:
  """Takes a photograph for a query: most of the building, in fair light; see `shoot`."""
  rng = make_rng(_STREAM, seed, 2, plan.index, view)
  azimuth = float(np.clip(rng.normal(0, 20), -45, 45))
  camera = _choose_camera(rng, scene, config, azimuth=azimuth, framing=rng.uniform(0.6, 1.15))
  severity = rng.uniform(0, 0.4)
  occluders = int(rng.random() < 0.3)
  return _take(rng, scene, camera, seed=seed, severity=severity, occluders=occluders)


def _choose_azimuth(rng: np.random.Generator) -> float:
  """Draws degrees from the front: near the front or a corner, elsewhere, or at the back."""
  kind = rng.random()
  if kind < 0.45:
    return float(rng.normal(0, 18))
  if kind < 0.82:
    return float(rng.choice([-1, 1]) * rng.normal(36, 10))
  if kind < 0.95:
    return float(rng.uniform(-75, 75))
  return float(rng.uniform(110, 250))


def _choose_camera(
  rng: np.random.Generator, scene: Scene, config: MiniConfig, *, azimuth: float, framing: float
) -> Camera:
  """Draws a camera in whose frame the building fills about the share `framing`."""
  turn = np.radians(azimuth)
  extent = scene.high - scene.low
  center = (scene.high + scene.low) / 2
  radius = float(np.hypot(extent[0], extent[2])) / 2
  distance = radius + (rng.uniform(14, 34) if framing < 0.5 else rng.uniform(7, 22))
  away = np.array([np.sin(turn), 0.0, np.cos(turn)])
  right = np.array([away[2], 0.0, -away[0]])
  eye = rng.uniform(4, 11) if rng.random() < 0.18 else rng.uniform(1.5, 2.3)
  wide = extent[0] * abs(np.cos(turn)) + extent[2] * abs(np.sin(turn))
  spread = 0.32 if framing > 1.1 else rng.uniform(0.05, 0.22)
  offset = rng.uniform(-1, 1, 2) * spread * np.array([wide, extent[1]])
  position = np.array([center[0], eye, center[2]]) + distance * away
  # The camera looks at the nearest side, not at the middle of the building.
  target = center + offset[0] * right + np.array([0.0, offset[1], 0.0]) + 0.3 * radius * away
  ratio = float(rng.choice([4 / 3, 3 / 2, 3 / 4], p=[0.5, 0.2, 0.3]))
  long_side = config.height * 4 / 3 * _SUPERSAMPLING
  size = (
    (round(long_side / ratio), round(long_side))
    if ratio > 1
    else (round(long_side), round(long_side * ratio))
  )
  reach = float(np.linalg.norm(target - position))
  focal = framing * reach * min(size[1] / wide, size[0] / extent[1])
  focal = float(np.clip(focal, 0.55 * size[1], 4.0 * size[1]))
  return look_at(position, target, roll=float(np.radians(rng.normal(0, 2))), focal=focal, size=size)


def _take(
  rng: np.random.Generator,
  scene: Scene,
  camera: Camera,
  *,
  seed: int,
  severity: float,
  occluders: int,
) -> Photograph:
  surfaces = [*scene.surfaces, *_set_passers(rng, scene, camera, seed, occluders)]
  azimuth, elevation = np.radians(rng.uniform(-80, 80)), np.radians(rng.uniform(15, 65))
  light = np.array(
    [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
  )
  ambient = 0.9 if rng.random() < 0.3 else rng.uniform(0.4, 0.7)
  rendering = render(surfaces, camera, light=light, ambient=float(ambient))
  size = (round(camera.size[0] / _SUPERSAMPLING), round(camera.size[1] / _SUPERSAMPLING))
  sky = clutter.make_sky(rng, camera.size)
  image, clarity = take_photograph(rng, rendering, sky, severity=severity, size=size)
  quality = int(94 - rng.uniform(0, 15) - 40 * severity * rng.random())
  return Photograph(image, clarity, quality, camera, rendering)


def _set_passers(
  rng: np.random.Generator, scene: Scene, camera: Camera, seed: int, occluders: int
) -> list[Surface]:
  """Draws the surfaces of one photograph: passers-by, cars, lamps, and obstacles in the way."""
  surfaces = []
  center = (scene.low + scene.high) / 2
  away = camera.position - center
  for kind, most in (("person", 7), ("car", 2), ("lamp", 2)):
    for _ in range(int(rng.integers(0, most + 1))):
      near = rng.uniform(0.35, 0.85)
      x, _, z = center + near * away + rng.uniform(-12, 12) * np.array([1.0, 0.0, 0.0])
      surfaces.append(clutter.make_sprite(rng, seed, kind, float(x), float(z)))
  for _ in range(occluders):
    kind = str(rng.choice(["tree", "tree", "tree", "person", "person", "poster", "car"]))
    target = rng.uniform(scene.low, scene.high)
    if kind == "tree":
      near = rng.uniform(0.4, 0.75)
    else:
      near = 1 - rng.uniform(4.0, 9.0) / float(np.linalg.norm(away))
    x, _, z = target + near * (camera.position - target)
    surfaces.append(clutter.make_sprite(rng, seed, kind, float(x), float(z)))
  clear = [s.origin + s.across / 2 - camera.position for s in surfaces]
  return [s for s, d in zip(surfaces, clear, strict=True) if np.hypot(d[0], d[2]) > _CLEARANCE]

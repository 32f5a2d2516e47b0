"""Turns a rendering into a photograph with haze, light, cast shadows, blur and noise."""

import cv2
import numpy as np

from mini.render import Rendering
from mini.textures import make_noise


def take_photograph(
  rng: np.random.Generator,
  rendering: Rendering,
  sky: np.ndarray,
  *,
  severity: float,
  size: tuple[int, int],
) -> tuple[np.ndarray, float]:
  """Makes a photograph.

  Args:
    rng: draws the conditions.
    rendering: the view of the camera.
    sky: `[h, w, 3]` uint8, of the rendering's size.
    severity: severity of the conditions, from 0 for good light and a steady hand to 1.
    size: height and width of the photograph.

  Returns:
    The photograph `[height, width, 3]` uint8, and the clarity of the building in it, in [0, 1]: the
    share of its fine contrast that remains.
  """
  color = rendering.color.copy()
  np.copyto(color, sky, where=(rendering.nearness == 0)[:, :, None])
  clean = cv2.resize(color, size[::-1], interpolation=cv2.INTER_AREA)
  nearness = cv2.resize(rendering.nearness, size[::-1], interpolation=cv2.INTER_AREA)
  image = clean.astype(np.float32) * np.float32(1 / 255)
  image = _light(rng, image, nearness, severity)
  image = _blur(rng, image, severity)
  deviation = np.float32(rng.uniform(0.004, 0.012) + 0.04 * severity * rng.random() ** 2)
  image += deviation * rng.standard_normal(size, np.float32)[:, :, None]
  photograph = cv2.convertScaleAbs(np.clip(image, 0, 1), alpha=255)
  owned = cv2.resize(rendering.owned, size[::-1], interpolation=cv2.INTER_AREA) > 127
  return photograph, _measure_clarity(clean, photograph, owned)


def _light(
  rng: np.random.Generator, image: np.ndarray, nearness: np.ndarray, severity: float
) -> np.ndarray:
  height, width = image.shape[:2]
  haze = rng.uniform(0.0, 0.3) * severity
  if haze > 0.05:
    veil = 1 - np.exp(-haze * 0.1 / np.maximum(nearness, 0.01))
    image = image + (np.float32(0.8) - image) * veil[:, :, None]
  shadow = _shadow(rng, (height, width), severity)
  # No shadow falls on the sky.
  field = np.where(nearness > 0, shadow, np.float32(1.0))
  x, y = np.meshgrid(
    np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
  )
  slope = rng.uniform(-0.4, 0.4, 2) * severity
  field *= np.float32(1.0) + np.float32(slope[0]) * x + np.float32(slope[1]) * y
  field -= np.float32(rng.uniform(0, 0.25)) * (x * x + y * y) * np.float32(0.5)
  night = severity > 0.6 and rng.random() < 0.3
  gain = rng.uniform(1.0, 1.25) * 2.0 ** (rng.uniform(-0.9, 0.6) * severity)
  cast = 1.0 + (0.03 + 0.08 * severity) * rng.standard_normal(3)
  if night:
    glow = np.exp(-((x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.2, 0.7)) ** 2) / 0.5)
    field = np.float32(0.22) * field + np.float32(0.7) * glow
    cast = cast * np.array([1.15, 0.95, 0.66])
  image = image * field[:, :, None] * (gain * cast).astype(np.float32)
  if severity > 0.5 and rng.random() < 0.2:
    spot = (x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 0)) ** 2
    image += np.float32(0.55) * np.exp(-spot / rng.uniform(0.15, 0.6))[:, :, None]
  gamma = 2.0 ** (rng.uniform(-0.45, 0.45) * severity)
  return cv2.pow(np.clip(image, 0, 1), gamma)


def _shadow(rng: np.random.Generator, shape: tuple[int, int], severity: float) -> np.ndarray:
  """Returns a field of light, with or without the shadow of an object behind the camera."""
  field = np.ones(shape, np.float32)
  if rng.random() > 0.25 + 0.5 * severity:
    return field
  depth = np.float32(rng.uniform(0.25, 0.3 + 0.35 * severity))
  small = (shape[0] // 4, shape[1] // 4)
  if rng.random() < 0.4:
    leaves = make_noise(rng, small, coarsest=40, finest=6)
    mask = np.clip(leaves * 2 - rng.uniform(-0.5, 1.0), 0, 1).astype(np.float32)
  else:
    mask = np.zeros(small, np.float32)
    edge = rng.uniform(0.1, 0.9, 3) * small[1]
    level = rng.uniform(0.1, 0.7, 2) * small[0]
    outline = [(edge[0], 0), (edge[1], level[0]), (edge[2], level[1]), (edge[2], small[0])]
    corner = small[1] if rng.random() < 0.5 else 0
    outline += [(corner, small[0]), (corner, 0)]
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 2.5))
  return field - depth * cv2.resize(mask, (shape[1], shape[0]))


def _blur(rng: np.random.Generator, image: np.ndarray, severity: float) -> np.ndarray:
  sigma = rng.uniform(0.0, 0.5) + 1.5 * severity * rng.random() ** 2
  if sigma > 0.3:
    image = cv2.GaussianBlur(image, (0, 0), sigma)
  if rng.random() < 0.25 * severity:
    length = int(rng.integers(3, 4 + round(7 * severity)))
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    kernel = cv2.normalize(
      cv2.warpAffine(kernel, turn, (length, length)), kernel, norm_type=cv2.NORM_L1
    )
    image = cv2.filter2D(image, -1, kernel)
  return image


def _measure_clarity(clean: np.ndarray, photograph: np.ndarray, owned: np.ndarray) -> float:
  """Returns the correlation of fine contrast, times the square root of the share that remains."""
  if not owned.any():
    return 0.0

  def detail(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return (cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 4.0))[owned]

  before, after = detail(clean), detail(photograph)
  norms = float(np.linalg.norm(before)), float(np.linalg.norm(after))
  correlation = max(0.0, float(np.vdot(before, after))) / max(norms[0] * norms[1], 1e-6)
  return correlation * min(1.0, norms[1] / max(norms[0], 1e-6)) ** 0.5

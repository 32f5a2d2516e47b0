"""How one picture lies on another: a turn, a scale and a shift, and whether pixels agree there."""

import dataclasses

import cv2
import numpy as np

from l2g_jax.retriever.groups.look import Look

# Matches that lie farther from the first fit than so many medians are left out of the second.
_OUTLYING = 3.0
# A fit without free turns is preferred while its residual is not larger than the other's by this.
_PLAIN = 1.5
# Scales along the two axes of a picture that was squeezed differ by at most this factor.
_SQUEEZE = 1.5
# Pixels of the small pictures that must be shared for a correlation, and their least variance.
_LEAST_SHARED = 200
_LEAST_VARIANCE = 4.0
# Small pictures are laid over each other to within a pixel.
_BLUR = 1.0


@dataclasses.dataclass(frozen=True)
class Alignment:
  """A transform without perspective that explains matches.

  Attributes:
    transform: `[3, 3]` float64, of homogeneous x, y, 1.
    turn: by how many quarters the first is turned clockwise, 0 to 3; the nearest.
    residual: median distance of the matches, in pixels of the second.
  """

  transform: np.ndarray
  turn: int
  residual: float


def align(points: np.ndarray) -> Alignment | None:
  """Fits a turn by quarters with a scale for each axis, or a free turn with one scale.

  The first is taken where it explains the matches as well: it has less freedom to err beyond them.

  Args:
    points: `[n, 4]`, x and y in the first picture, x and y in the second, in pixels.

  Returns:
    The better fit; None where both degenerate.
  """
  points = points.astype(np.float64)
  free = _refit(_fit_free, points)
  if free is None:
    return None
  transform, residual = free
  angle = np.arctan2(transform[1, 0], transform[0, 0])
  turn = int(np.round(angle / (np.pi / 2.0))) % 4
  plain = _refit(lambda rows: _fit_plain(rows, turn), points)
  if plain is not None and plain[1] <= _PLAIN * residual + 0.1:
    transform, residual = plain
  return Alignment(transform, turn, residual)


def correlate(first: Look, second: Look, transform: np.ndarray) -> float:
  """Computes the correlation of the grey levels where two pictures lie on each other.

  The finer of the two is reduced to the other's pixels.

  Args:
    first: a picture.
    second: another.
    transform: `[3, 3]`, maps x, y, 1 in pixels of the first's file to the second's.

  Returns:
    The normalised correlation in [-1, 1]; 0 where too little is shared, or all of it is even.
  """
  source, target = first.grey, second.grey
  small = _reducing(second) @ transform @ np.linalg.inv(_reducing(first))
  scale = np.sqrt(np.abs(np.linalg.det(small[:2, :2])))
  if scale > 1.0:
    source, target, small, scale = target, source, np.linalg.inv(small), 1.0 / scale
  if scale < 1.0:
    height, width = source.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    source = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
    small = small @ _scaling((width / size[0], height / size[1]))
  shape = (target.shape[1], target.shape[0])
  warped = cv2.warpPerspective(source, small, shape, flags=cv2.INTER_LINEAR)
  covered = cv2.warpPerspective(np.full_like(source, 255), small, shape)
  mask = cv2.erode((covered == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
  if not np.any(mask):
    return 0.0
  blurred = [
    cv2.GaussianBlur(grey, (0, 0), _BLUR)[mask].astype(np.float32) for grey in (warped, target)
  ]
  return _correlation(*blurred)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
  if len(first) < _LEAST_SHARED:
    return 0.0
  first, second = first - np.mean(first), second - np.mean(second)
  variances = np.mean(first**2), np.mean(second**2)
  if min(variances) < _LEAST_VARIANCE:
    return 0.0
  return float(np.mean(first * second) / np.sqrt(variances[0] * variances[1]))


def _reducing(look: Look) -> np.ndarray:
  """Returns the map from pixels of a file to those of its small picture."""
  height, width = look.facts.size
  return _scaling((look.grey.shape[1] / width, look.grey.shape[0] / height))


def _scaling(scales: tuple[float, float]) -> np.ndarray:
  """Returns a scaling of pixels; whole coordinates are their centres."""
  x, y = scales
  return np.array([[x, 0.0, (x - 1.0) / 2.0], [0.0, y, (y - 1.0) / 2.0], [0.0, 0.0, 1.0]])


def _refit(fit, points: np.ndarray) -> tuple[np.ndarray, float] | None:
  """Fits twice, the second time to what the first explains."""
  transform = fit(points)
  if transform is None:
    return None
  distances = _distances(transform, points)
  near = points[distances <= _OUTLYING * np.median(distances) + 1e-6]
  transform = fit(near)
  return None if transform is None else (transform, float(np.median(_distances(transform, points))))


def _distances(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
  mapped = points[:, :2] @ transform[:2, :2].T + transform[:2, 2]
  return np.hypot(*(mapped - points[:, 2:]).T)


def _fit_free(points: np.ndarray) -> np.ndarray | None:
  """Fits a turn, one scale and a shift by least squares."""
  source, target = points[:, 0] + 1.0j * points[:, 1], points[:, 2] + 1.0j * points[:, 3]
  centres = np.mean(source), np.mean(target)
  source, target = source - centres[0], target - centres[1]
  spread = np.sum(np.abs(source) ** 2)
  if spread <= 0.0:
    return None
  factor = np.sum(target * np.conj(source)) / spread
  shift = centres[1] - factor * centres[0]
  if not np.abs(factor) > 0.0:
    return None
  a, b = factor.real, factor.imag
  return np.array([[a, -b, shift.real], [b, a, shift.imag], [0.0, 0.0, 1.0]])


def _fit_plain(points: np.ndarray, turn: int) -> np.ndarray | None:
  """Fits a scale and a shift for each axis, after clockwise quarter turns."""
  quarter = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turn)
  source = points[:, :2] @ quarter.T
  target = points[:, 2:]
  centres = np.mean(source, axis=0), np.mean(target, axis=0)
  spread = np.sum((source - centres[0]) ** 2, axis=0)
  if np.any(spread <= 0.0):
    return None
  scales = np.sum((source - centres[0]) * (target - centres[1]), axis=0) / spread
  if np.any(scales <= 0.0) or max(scales) > _SQUEEZE * min(scales):
    return None
  transform = np.eye(3)
  transform[:2, :2] = scales[:, None] * quarter
  transform[:2, 2] = centres[1] - scales * centres[0]
  return transform

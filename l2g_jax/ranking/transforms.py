"""Transforms of the plane between two pictures: robust estimates, and the matches they explain."""

from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError

Model = Literal["homography", "affinity"]

# Matches that fix a transform.
SAMPLE_SIZES = {"homography": 4, "affinity": 3}
# OpenCV's scores depend on the unit: of simulated matches it found the most at this threshold, and
# lost a part of them below 1 and above 8.
_THRESHOLD = 2.5


class Options(NamedTuple):
  """Checked settings of an estimate, see `spatial.verify`."""

  model: Model
  threshold: float
  confidence: float
  max_iterations: int
  max_scale: float
  seed: int


def check_options(
  model: Model,
  threshold: float,
  confidence: float,
  max_iterations: int,
  max_scale: float,
  seed: int,
) -> Options:
  """Checks settings; raises SettingError."""
  return Options(
    settings.choice("model", model, get_args(Model)),
    settings.real("threshold", threshold, above=0.0),
    settings.real("confidence", confidence, least=0.0, most=1.0),
    settings.integer("max_iterations", max_iterations, least=1),
    settings.real("max_scale", max_scale, least=1.0),
    settings.integer("seed", seed, least=0),
  )


def check_locations(name: str, locations: np.ndarray) -> np.ndarray:
  """Returns locations `[n, 2]` as float64."""
  locations = np.asarray(locations)
  if locations.ndim != 2 or locations.shape[1] != 2 or locations.dtype.kind not in "fiu":
    raise InputError(
      f"The locations of the {name} must be numbers [n, 2], not {locations.dtype} "
      f"{list(locations.shape)}."
    )
  locations = locations.astype(np.float64)
  if not np.all(np.isfinite(locations)):
    raise InputError(f"The locations of the {name} hold a value that is not finite.")
  return locations


def estimate(source: np.ndarray, target: np.ndarray, options: Options) -> np.ndarray | None:
  """Finds the transform that explains the most of some matches, by MAGSAC++ of OpenCV.

  Args:
    source: `[m, 2]` float64, x and y.
    target: `[m, 2]` float64, x and y.
    options: the settings.

  Returns:
    `[3, 3]` float64, maps homogeneous x, y, 1; None where there is none, as of too few matches.
    Equal matches in equal order give an equal transform.
  """
  if len(source) < SAMPLE_SIZES[options.model]:
    return None
  scale = _THRESHOLD / options.threshold
  source, target = scale * source, scale * target
  params = cv2.UsacParams()
  params.threshold = _THRESHOLD
  params.confidence = options.confidence
  params.maxIterations = options.max_iterations
  params.randomGeneratorState = options.seed
  # Threads of its own would draw the samples in another order each time.
  params.isParallel = False
  params.sampler = cv2.SAMPLING_UNIFORM
  params.score = cv2.SCORE_METHOD_MAGSAC
  params.loMethod = cv2.LOCAL_OPTIM_SIGMA
  params.final_polisher = cv2.MAGSAC
  if options.model == "homography":
    transform, _ = cv2.findHomography(source, target, params)
  else:
    transform, _ = cv2.estimateAffine2D(source, target, params)
    if transform is not None:
      transform = np.concatenate([transform, [[0.0, 0.0, 1.0]]])
  if transform is None:
    return None
  scales = np.array([scale, scale, 1.0])
  return transform * scales / scales[:, None]


def errors(
  transform: np.ndarray, source: np.ndarray, target: np.ndarray, max_scale: float
) -> np.ndarray:
  """Computes how far a transform maps points from their targets.

  Args:
    transform: `[3, 3]`.
    source: `[m, 2]`.
    target: `[m, 2]`.
    max_scale: at least 1.

  Returns:
    `[m]`, in pixels of the target; inf where the transform mirrors, or where it stretches or
    shrinks some small length by more than `max_scale`.
  """
  points = np.concatenate([source, np.ones((len(source), 1))], axis=1)
  with np.errstate(all="ignore"):
    x, y, depth = transform @ points.T
    mapped = np.stack([x, y], axis=1) / depth[:, None]
    slopes = transform[:2, :2] - mapped[:, :, None] * transform[2, :2]
    area = np.linalg.det(transform) / depth**3
    # Of the two singular values of the derivative, product and sum of squares are known.
    half = np.sum(slopes**2, axis=(1, 2)) / (2.0 * depth**2)
    largest = np.sqrt(half + np.sqrt(np.maximum(half**2 - area**2, 0.0)))
    # It is negative where the transform mirrors.
    smallest = area / largest
    is_sane = (largest <= max_scale) & (smallest >= 1.0 / max_scale)
    distances = np.hypot(*(mapped - target).T)
  return np.where(is_sane, distances, np.inf)


def distance_from_line(points: np.ndarray) -> float:
  """Returns the root mean square distance of points `[n, 2]` from their best line."""
  values = np.linalg.svd(points - np.mean(points, axis=0), compute_uv=False)
  return float(values[-1] / np.sqrt(len(points)))


def first_of_each(points: np.ndarray) -> np.ndarray:
  """Returns the rows of points `[n, 2]` that equal none before them, ascending."""
  return np.sort(np.unique(points @ np.array([1.0, 1.0j]), return_index=True)[1])

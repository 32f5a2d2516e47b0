"""What a pair of pictures shares, as it is measured and kept: no threshold has judged it yet."""

import dataclasses
from typing import Any

import numpy as np

from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.retriever.described import Described
from l2g_jax.retriever.groups import plain
from l2g_jax.retriever.groups.alignment import align, correlate
from l2g_jax.retriever.groups.look import Look
from l2g_jax.retriever.options import Local
from l2g_jax.retriever.similarities import locations_of, match_pair, verification_scale, verify_pair

# Kinds whose key points have sizes.
_SIZED = ("sift",)
_MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Overlay:
  """How a picture, or its mirror image, lies over another: by turns, scale and shift.

  Attributes:
    inliers: matches that it explains.
    transform: `[3, 3]` as nested lists, maps x, y, 1 in pixels of the first's file to the second's;
      its determinant is negative in the mirror.
    turn: clockwise quarters from the first, mirrored if it is, to the second.
    correlation: of the pixels, see `correlate`.
  """

  inliers: int
  transform: list[list[float]]
  turn: int
  correlation: float

  def to_json(self) -> list[Any]:
    """Returns a JSON value."""
    return list(vars(self).values())


@dataclasses.dataclass(frozen=True)
class Sight:
  """What two pictures have in common by a homography.

  Attributes:
    inliers: matches that it explains.
    boxes: x1, y1, x2, y2 around them in the first and in the second, in pixels of what was read.
  """

  inliers: int
  boxes: list[list[float]]

  def to_json(self) -> list[Any]:
    """Returns a JSON value."""
    return list(vars(self).values())


def explained_points(first: Described, second: Described, kinds: tuple[Local, ...]) -> np.ndarray:
  """Returns the matches of two pictures that turns by quarters, a scale and a shift explain.

  Args:
    first: features of a picture.
    second: of another.
    kinds: the kinds of features.

  Returns:
    `[i, 4]` float64, x and y in the first, x and y in the second; in pixels of what was described.
  """
  matches = match_pair(first, second)
  source, target = locations_of(first)[matches[:, 0]], locations_of(second)[matches[:, 1]]
  sizes = _sizes(first, kinds)[matches[:, 0]], _sizes(second, kinds)[matches[:, 1]]
  rows = plain.explain(source, target, sizes[1] / sizes[0], scale=verification_scale(second))
  return np.concatenate([source[rows], target[rows]], axis=1).astype(np.float64)


def overlay(points: np.ndarray, first: Look, second: Look, *, is_mirrored: bool) -> Overlay | None:
  """Lays a picture over another by their matches, and compares pixels.

  Args:
    points: `[i, 4]`, see `explained_points`; of a mirrored first x is negative.
    first: the picture.
    second: the other.
    is_mirrored: whether the first is seen in the mirror.

  Returns:
    None where the matches fix no such transform.
  """
  fitted = align(points)
  if fitted is None:
    return None
  transform = fitted.transform @ _MIRROR if is_mirrored else fitted.transform
  # Above 89 megapixels fewer pixels were described than the file has.
  grow, shrink = (
    np.diag([step, step, 1.0]) for step in (second.facts.reduction, 1.0 / first.facts.reduction)
  )
  transform = grow @ transform @ shrink
  return Overlay(
    inliers=len(points),
    transform=transform.tolist(),
    turn=fitted.turn,
    correlation=correlate(first, second, transform),
  )


def sight(first: Described, second: Described, *, min_inliers: int) -> Sight | None:
  """Verifies two pictures by a homography; None where it explains fewer matches."""
  found = verify_pair(first, second)
  if found.num_inliers < min_inliers:
    return None
  points = [
    locations_of(own)[found.inliers[:, column]] for column, own in enumerate((first, second))
  ]
  boxes = [[*own.min(axis=0).tolist(), *own.max(axis=0).tolist()] for own in points]
  return Sight(found.num_inliers, boxes)


def _sizes(described: Described, kinds: tuple[Local, ...]) -> np.ndarray:
  """Returns the sizes of key points of all kinds, NaN where they have none."""
  return np.concatenate(
    [
      own.scales.astype(np.float64)
      if isinstance(kind, LocalExtractor) and kind.name in _SIZED
      else np.full(len(own.scales), np.nan)
      for own, kind in zip(described, kinds, strict=True)
    ]
  )

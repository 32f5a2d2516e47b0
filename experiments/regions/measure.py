"""Boxes of matches, and how well they agree with true regions.

A box is x1, y1, x2, y2 in pixels of an image.
"""

from collections.abc import Sequence

import numpy as np

from l2g_jax.data.images import Box
from l2g_jax.retriever.matched import map_box


def overlap(first: Box | None, second: Box | None) -> float:
  """Returns the intersection over union of two boxes, in [0, 1]; 0 where one is missing."""
  if first is None or second is None:
    return 0.0
  width = min(first[2], second[2]) - max(first[0], second[0])
  height = min(first[3], second[3]) - max(first[1], second[1])
  shared = max(0.0, width) * max(0.0, height)
  union = _area(first) + _area(second) - shared
  return shared / union if union > 0 else 0.0


def mapped_box(transform: np.ndarray | None, size: Box, frame: tuple[int, int]) -> Box | None:
  """Returns the upright box around a box that a transform maps, within the frame.

  Args:
    transform: `[3, 3]`, of homogeneous x, y, 1; None = none was found.
    size: the box in the query, in the pixels that the transform maps.
    frame: height and width of the image.

  Returns:
    The box; None without a transform, where a corner is mapped to infinity or beyond, or where
    the box lies outside the frame.
  """
  if transform is None:
    return None
  points = map_box(transform, size)
  if points is None:
    return None
  low = np.maximum(points.min(axis=0), 0.0)
  high = np.minimum(points.max(axis=0), [frame[1], frame[0]])
  if np.any(low >= high):
    return None
  return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def box_around(points: np.ndarray) -> Box | None:
  """Returns the upright box around points `[n, 2]`; None without points."""
  if not len(points):
    return None
  low, high = points.min(axis=0), points.max(axis=0)
  return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def loc_score(overlaps: Sequence[float | None], num_positives: int) -> float:
  """Returns how early positives come and how well they are located, together.

  The mean over the positives of precision at their rank times their intersection over union: the
  idea of LocScore (Choi et al., arXiv 2512.12610), cut off at the depth of the list. We know it by
  its description alone, so figures of theirs are not comparable.

  Args:
    overlaps: of the first d results, best first and without junk: the intersection over union of a
      positive, None of a negative.
    num_positives: of the query, found or not; of more than d, d count. At least 1.

  Returns:
    A score in [0, 1]; 1 where the first results are positives with their true regions.
  """
  found, total = 0, 0.0
  for place, value in enumerate(overlaps):
    if value is not None:
      found += 1
      total += found / (place + 1) * value
  return total / min(num_positives, len(overlaps)) if overlaps else 0.0


def _area(box: Box) -> float:
  return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

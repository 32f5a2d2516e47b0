"""Matches that one scale and shift explain, after quarter turns: the edits that people make.

Two matches fix such a transform, so that all pairs of matches can be tried. A homography needs four
that are right: of a picture that is a sixth of a collage, one match in twenty is.
"""

import numpy as np

# In pixels of the target, where this is no larger than the extractor sees it.
THRESHOLD = 4.0
_MAX_SCALE = 6.0
# Matches two of which are tried together, and transforms that are: the first, and those of the
# farthest pairs.
_MOST_MATCHES = 400
_MOST_TRIED = 3000
# Matches nearer to each other do not fix a scale.
_LEAST_DISTANCE = 12.0
# Sizes of key points grow like the picture, to within this factor.
_RATIO = 1.5


def explain(
  source: np.ndarray, target: np.ndarray, ratios: np.ndarray, *, scale: float
) -> np.ndarray:
  """Finds the most matches that a scale, a shift and quarter turns explain.

  Args:
    source: `[m, 2]`, x and y of matches in one picture.
    target: `[m, 2]`, the same in the other.
    ratios: `[m]`, of the key points' sizes, target to source; NaN where they have none.
    scale: of the pixels of the target, 1 or more, with which tolerances grow.

  Returns:
    Their rows, ascending; empty where two matches agree by chance alone.
  """
  threshold = THRESHOLD * scale
  starts, ends = (points[:, 0] + 1.0j * points[:, 1] for points in (source, target))
  starts, ends = starts.astype(np.complex128), ends.astype(np.complex128)
  first, second = np.triu_indices(min(len(starts), _MOST_MATCHES), 1)
  before, after = starts[second] - starts[first], ends[second] - ends[first]
  lengths = np.abs(after)
  with np.errstate(divide="ignore", invalid="ignore"):
    factors = after / before
    scales = np.abs(factors)
    turns = np.round(np.angle(factors) / (np.pi / 2.0))
    plain = scales * 1.0j**turns
    is_plain = np.abs(plain * before - after) <= threshold
    for rows in (first, second):
      # Key points grow with the picture. Comparisons with NaN are False.
      ratio = ratios[rows] / scales
      is_plain &= ~((ratio > _RATIO) | (ratio < 1.0 / _RATIO))
  is_plain &= (lengths >= _LEAST_DISTANCE * scale) & (np.abs(before) >= _LEAST_DISTANCE)
  is_plain &= (scales <= _MAX_SCALE) & (scales >= 1.0 / _MAX_SCALE)
  tried = np.flatnonzero(is_plain)
  tried = tried[np.argsort(-lengths[tried], kind="stable")[:_MOST_TRIED]]
  if not len(tried):
    return np.zeros(0, np.int64)
  factor = plain[tried]
  middle = (starts[first[tried]] + starts[second[tried]]) / 2.0
  shift = (ends[first[tried]] + ends[second[tried]]) / 2.0 - factor * middle
  near = np.abs(factor[:, None] * starts + shift[:, None] - ends) <= threshold
  # A point that was described in several orientations counts once.
  near &= _are_first(source) & _are_first(target)
  growth = ratios / np.abs(factor)[:, None]
  near &= ~((growth > _RATIO) | (growth < 1.0 / _RATIO))
  best = int(np.argmax(np.sum(near, axis=1)))
  return np.flatnonzero(near[best])


def _are_first(points: np.ndarray) -> np.ndarray:
  """Tells of points `[n, 2]` whether they equal none before them, `[n]`."""
  firsts = np.zeros(len(points), bool)
  firsts[np.unique(points @ np.array([1.0, 1.0j]), return_index=True)[1]] = True
  return firsts

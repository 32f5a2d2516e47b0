"""The landmarks in space, and how any item is placed among them."""

import dataclasses

import numpy as np

from l2g_jax.embedding.mds import smacof
from l2g_jax.embedding.placement import place, triangulate
from l2g_jax.landmarks.config import Weighting
from l2g_jax.landmarks.scale import dissimilarities, weights_of

# Points placed at a time.
_ROWS = 1024
_UPDATES = 15
# Where all are as far from a landmark, it tells nothing.
_LEAST_DEVIATION = np.float32(1e-6)


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """Landmarks that were embedded.

  Attributes:
    anchors: `[L, m]` float32, their points.
    power: p of the dissimilarity 1 - u^p.
    weighting: of dissimilarities when an item is placed.
    mean: `[L]` float32, of the dissimilarities of items to each landmark.
    deviation: `[L]` float32, above 0, of the same.
    mixing: how much squared distances of raw profiles count beside those of points; 0 = nothing.
  """

  anchors: np.ndarray
  power: float
  weighting: Weighting
  mean: np.ndarray
  deviation: np.ndarray
  mixing: float = 0.0


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
  """Items in the space.

  Attributes:
    points: `[n, m]` float32.
    stress: `[n]` float32, stress-1 of each to its anchors.
  """

  points: np.ndarray
  stress: np.ndarray


def make_frame(
  shares: np.ndarray, *, power: float, num_dimensions: int, weighting: Weighting, seed: int
) -> Frame:
  """Embeds landmarks by SMACOF.

  Args:
    shares: `[L, L]` in [0, 1], how alike they are; both directions are averaged.
    power: p of the dissimilarity.
    num_dimensions: m, cut down to L - 1.
    weighting: of dissimilarities when an item is placed.
    seed: of the start.
  """
  delta = dissimilarities(0.5 * (shares + shares.T), power)
  np.fill_diagonal(delta, 0.0)
  size = max(1, min(num_dimensions, len(delta) - 1))
  anchors = np.asarray(smacof(delta, num_dimensions=size, seed=seed).embedding)
  away = ~np.eye(len(delta), dtype=bool)
  mean = np.mean(delta, axis=0, where=away)
  deviation = np.maximum(np.std(delta, axis=0, where=away), _LEAST_DEVIATION)
  return Frame(anchors, power, weighting, mean, deviation)


def profile_directions(frame: Frame, shares: np.ndarray) -> np.ndarray:
  """Returns dissimilarities to the landmarks, standardised, as directions `[n, L]` of length 1."""
  values = (dissimilarities(shares, frame.power) - frame.mean) / frame.deviation
  return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)


def vectors(frame: Frame, points: np.ndarray, shares: np.ndarray) -> np.ndarray:
  """Returns what nearest items are sought by: the points `[n, m]`, or these and the profiles.

  Args:
    frame: of the landmarks.
    points: `[n, m]`.
    shares: `[n, L]` in [0, 1], how alike the items are to the landmarks.
  """
  if not frame.mixing:
    return points
  weight = np.float32(frame.mixing**0.5)
  return np.concatenate([points, weight * profile_directions(frame, shares)], axis=1)


def place_among(frame: Frame, shares: np.ndarray) -> Placed:
  """Places items by how alike they are to the landmarks, `[n, L]` in [0, 1]."""
  points = np.empty((len(shares), frame.anchors.shape[1]), np.float32)
  stress = np.empty(len(shares), np.float32)
  for start in range(0, len(shares), _ROWS):
    rows = shares[start : start + _ROWS]
    # Filled up to a power of 2, so that few sizes are compiled.
    size = 1 << (len(rows) - 1).bit_length()
    delta = dissimilarities(np.resize(rows, (size, rows.shape[1])), frame.power)
    placed = place(
      frame.anchors,
      delta,
      weights=weights_of(delta, frame.weighting),
      # Without weights, one matrix triangulates all.
      init=triangulate(frame.anchors, delta),
      max_iterations=_UPDATES,
    )
    points[start : start + _ROWS] = placed.points[: len(rows)]
    stress[start : start + _ROWS] = placed.normalized_stress[: len(rows)]
  return Placed(points, stress)


def place_again(
  frame: Frame,
  points: np.ndarray,
  shares: np.ndarray,
  anchors: np.ndarray,
  anchor_shares: np.ndarray,
  known: np.ndarray,
) -> np.ndarray:
  """Places items by the landmarks and by further items whose points are known.

  Args:
    frame: of the landmarks.
    points: `[B, m]`, where the items are so far.
    shares: `[B, L]` in [0, 1], how alike they are to the landmarks.
    anchors: `[B, E, m]`, points of the further items.
    anchor_shares: `[B, E]`, how alike they are to these.
    known: `[B, E]` bool, False = padding.

  Returns:
    `[B, m]` float32.
  """
  delta = dissimilarities(np.concatenate([shares, anchor_shares], axis=1), frame.power)
  weights = weights_of(delta, frame.weighting)
  weights = np.ones_like(delta) if weights is None else weights
  weights[:, shares.shape[1] :] *= known
  landmarks = np.broadcast_to(frame.anchors, (len(points), *frame.anchors.shape))
  everything = np.concatenate([landmarks, anchors], axis=1)
  placed = place(everything, delta, weights=weights, init=points, max_iterations=_UPDATES)
  return np.asarray(placed.points)

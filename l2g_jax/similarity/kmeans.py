"""k-means by Lloyd's algorithm (1982) on the host, deterministic for a seed."""

from collections.abc import Callable

import numpy as np

# Points compared with all centroids at a time.
_BLOCK = 1 << 14


def kmeans(
  points: np.ndarray,
  num_clusters: int,
  *,
  num_iterations: int,
  seed: int,
  nearest: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
) -> np.ndarray:
  """Returns centroids that quantise points with a small squared error.

  Args:
    points: `[n, d]` float32.
    num_clusters: k.
    num_iterations: of Lloyd's algorithm.
    seed: of the random choice of points as first centroids.
    nearest: finds the nearest centroids, as `assign` does; None = `assign`.

  Returns:
    `[min(k, n), d]` float32. An empty cluster takes the point farthest from its centroid.
  """
  nearest = assign if nearest is None else nearest
  rng = np.random.default_rng(seed)
  points = np.ascontiguousarray(points, np.float32)
  num_clusters = min(num_clusters, len(points))
  centroids = points[np.sort(rng.permutation(len(points))[:num_clusters])].copy()
  for _ in range(num_iterations):
    labels, errors = nearest(points, centroids)
    counts = np.bincount(labels, minlength=num_clusters)
    order = np.argsort(labels, kind="stable")
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[filled]
    sums = np.add.reduceat(points[order], starts, axis=0, dtype=np.float64)
    centroids[filled] = sums / counts[filled, None]
    empty = np.flatnonzero(counts == 0)
    centroids[empty] = points[np.argsort(-errors, kind="stable")[: len(empty)]]
  return centroids


def assign(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the nearest centroids `[n]` int32, the first of equals, and squared distances `[n]`."""
  half_norms = 0.5 * np.sum(centroids**2, axis=1)
  labels = np.empty(len(points), np.int32)
  errors = np.empty(len(points), np.float32)
  for start in range(0, len(points), _BLOCK):
    block = points[start : start + _BLOCK]
    scores = block @ centroids.T - half_norms
    best = np.argmax(scores, axis=1)
    labels[start : start + _BLOCK] = best
    top = scores[np.arange(len(block)), best]
    errors[start : start + _BLOCK] = np.sum(block**2, axis=1) - 2.0 * top
  return labels, errors

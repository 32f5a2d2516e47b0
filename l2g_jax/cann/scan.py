"""Colored nearest neighbours of query descriptors in one segment.

`scan` reads only the cells nearest to each query descriptor: the descriptors that share a cell are
multiplied with its codes at once, and each product raises the maximum of its query descriptor and
image. `rescore` multiplies with all codes of a few images. Both see the same exact products, and a
maximum does not depend on the order: results are the same for any number of threads.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import threadpoolctl

from l2g_jax.cann.codec import Codes
from l2g_jax.cann.segment import Segment, image_codes

T = TypeVar("T")


def nearest_cells(
  query: np.ndarray, centroids: np.ndarray, num_probes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the cells nearest to unit descriptors.

  Args:
    query: `[q, d]` float32 of unit norm.
    centroids: `[cells, d]` float32.
    num_probes: how many, at most all.

  Returns:
    Cells `[q, num_probes]`, in no order, and `[q]` the inner product with the farthest of them.
  """
  products = query @ centroids.T
  # The nearest by Euclidean distance, as the assignment of the codes was.
  closeness = products - 0.5 * np.sum(centroids**2, axis=1)
  if num_probes >= len(centroids):
    cells = np.broadcast_to(np.arange(len(centroids)), closeness.shape)
  else:
    cells = np.argpartition(-closeness, num_probes - 1, axis=1)[:, :num_probes]
  return cells, np.take_along_axis(products, cells, axis=1).min(axis=1)


def scan(segment: Segment, query: Codes, cells: np.ndarray, floor: np.ndarray) -> np.ndarray:
  """Returns the best cosine of every query descriptor and image, as far as the cells show it.

  Args:
    segment: where to look.
    query: q codes.
    cells: `[q, probes]` to look at.
    floor: `[q]` float32, the least cosine that counts; -inf = any.

  Returns:
    `[q, n]` float32; the floor where an image is not met, -inf where it has no descriptors.
  """
  order = np.argsort(cells, axis=None, kind="stable")
  queries = (order // cells.shape[1]).astype(np.int32)
  visited, starts = np.unique(cells.ravel()[order], return_index=True)
  visits = list(zip(visited, np.split(queries, starts[1:]), strict=True))
  values = query.values.astype(np.float32)

  def scan_cells(share: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    best = np.empty((len(query), len(segment.names)), np.float32)
    best[:] = (floor / query.scales)[:, None]
    for cell, members in share:
      rows = slice(*segment.cell_offsets[cell : cell + 2])
      products = values[members] @ segment.codes.values[rows].astype(np.float32).T
      _raise_maxima(best, members, segment.images[rows], segment.codes.scales[rows], products)
    return best

  # Every thread has maxima of its own; neighbouring cells are about equally busy.
  workers = _num_threads()
  shares = [visits[worker::workers] for worker in range(min(workers, max(1, len(visits))))]
  best, *others = _in_threads(scan_cells, shares)
  for other in others:
    np.maximum(best, other, out=best)
  best *= query.scales[:, None]
  best[:, np.diff(segment.image_offsets) == 0] = -np.inf
  return best


def rescore(segment: Segment, query: Codes, images: np.ndarray) -> np.ndarray:
  """Returns the best cosines `[q, len(images)]` in some images, exactly; -inf in empty ones."""
  values = query.values.astype(np.float32)

  def best_cosines(image: int) -> np.ndarray:
    codes = image_codes(segment, image)
    if not len(codes):
      return np.full(len(query), -np.inf, np.float32)
    products = codes.values.astype(np.float32) @ values.T
    products *= codes.scales[:, None]
    return np.max(products, axis=0) * query.scales

  columns = _in_threads(best_cosines, images)
  return np.stack(columns, axis=1) if columns else np.zeros((len(query), 0), np.float32)


def _in_threads(function: Callable[[Any], T], items: Sequence[Any] | np.ndarray) -> list[T]:
  """Maps a function over items, one core an item: the products within must not spread as well."""
  workers = min(_num_threads(), len(items))
  if workers < 2:
    return [function(item) for item in items]
  with _controller().limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
    return list(pool.map(function, items))


def _num_threads() -> int:
  return len(os.sched_getaffinity(0))


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
  return threadpoolctl.ThreadpoolController()


@numba.njit(cache=True, nogil=True)
def _raise_maxima(best, queries, images, scales, products):
  """Raises best[query, image] to every scaled product of a cell."""
  for i in range(len(queries)):
    row = best[queries[i]]
    for j in range(len(images)):
      value = products[i, j] * scales[j]
      if value > row[images[j]]:
        row[images[j]] = value

"""The coarse quantiser: cells of unit descriptors, found by way of regions of cells.

Centroids are integers times one step, so that what is nearest is decided by exact products and does
not depend on the number of threads.
"""

import dataclasses
import functools

import numba
import numpy as np

from l2g_jax.cann import products
from l2g_jax.runtime.threads import in_threads, spread
from l2g_jax.similarity import kmeans
from l2g_jax.similarity.codec import Codes, decode

_SAMPLES_PER_CENTROID = 32
_ITERATIONS = 10
_BLOCK = 1 << 14
# A cell is looked for in the nearest regions: in as many as this, and in so many times more cells
# than are wanted.
_LEAST_REGIONS = 4
_CELLS_A_PROBE = 4


@dataclasses.dataclass(frozen=True)
class Centroids:
  """Centroids in blocks of sixteen, some places of which are empty.

  Attributes:
    values: `[16 blocks, words]` int8 with a multiple of four words; times the step, centroids.
    used: `[16 blocks]` bool, False where a place is empty.
    step: what the values count.
  """

  values: np.ndarray
  used: np.ndarray
  step: float


@dataclasses.dataclass(frozen=True)
class CoarseQuantizer:
  """Regions of cells. A cell is a place among the cells' centroids.

  Attributes:
    regions: their centroids.
    cells: centroids, region after region.
    firsts: `[16 region blocks + 1]` int64, the first block of each region's cells.
  """

  regions: Centroids
  cells: Centroids
  firsts: np.ndarray

  @property
  def num_cells(self) -> int:
    """Cells that have a centroid."""
    return int(self.cells.used.sum())


def sample_size(num_cells: int) -> int:
  """Returns how many descriptors `train` needs for so many cells."""
  return _SAMPLES_PER_CENTROID * num_cells


def train(sample: Codes, num_cells: int, *, seed: int) -> CoarseQuantizer:
  """Clusters a sample of descriptors into regions, and each region into cells.

  Args:
    sample: `n` codes; without any, one cell at the origin serves.
    num_cells: about how many cells.
    seed: of the first centroids.
  """
  if not len(sample):
    sample = Codes(np.zeros((1, sample.values.shape[1]), np.int8), np.ones(1, np.float32))
  rng = np.random.default_rng(seed)
  num_regions = max(1, round(num_cells**0.5))
  chosen = np.sort(rng.permutation(len(sample))[: sample_size(4 * num_regions)])
  fit = functools.partial(kmeans.kmeans, num_iterations=_ITERATIONS, seed=seed)
  centers = fit(decode(sample[chosen]), num_regions)
  blocks = [slice(start, start + _BLOCK) for start in range(0, len(sample), _BLOCK)]
  labels = np.concatenate(
    in_threads(lambda block: kmeans.assign(decode(sample[block]), centers)[0], blocks)
  )
  counts = np.bincount(labels, minlength=len(centers))
  members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])

  def cluster(region: int) -> np.ndarray:
    # A region has cells by its share of the sample, and one at least.
    share = max(1, round(counts[region] * num_cells / len(sample)))
    return fit(decode(sample[members[region]]), share) if counts[region] else centers[[region]]

  clusters = in_threads(cluster, range(len(centers)))
  padded = [_pad(cells) for cells in clusters]
  firsts = np.cumsum([0, *(len(cells) // products.LANES for cells, _ in padded)])
  region_centers, region_used = _pad(centers)
  empty = len(region_used) - len(centers)
  return CoarseQuantizer(
    regions=_centroids(region_centers, region_used),
    cells=_centroids(
      np.concatenate([cells for cells, _ in padded]), np.concatenate([used for _, used in padded])
    ),
    firsts=np.concatenate([firsts, np.repeat(firsts[-1:], empty)]).astype(np.int64),
  )


def centers(centroids: Centroids, dimension: int) -> np.ndarray:
  """Returns centroids `[16 blocks, dimension]` float32."""
  return centroids.values[:, :dimension].astype(np.float32) * np.float32(centroids.step)


class CellFinder:
  """Finds the cells nearest to descriptors."""

  def __init__(self, quantizer: CoarseQuantizer):
    self._num_cells = quantizer.num_cells
    self._step = np.float32(quantizer.regions.step), np.float32(quantizer.cells.step)
    self._firsts = np.ascontiguousarray(quantizer.firsts)
    self._regions = interleave(quantizer.regions.values), _half_norms(quantizer.regions)
    self._cells = interleave(quantizer.cells.values), _half_norms(quantizer.cells)

  def find(self, queries: Codes, num_probes: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest cells by Euclidean distance.

    Args:
      queries: q codes.
      num_probes: how many cells, at most all.

    Returns:
      Cells `[q, num_probes]` int32, the nearest first, the others in the order of the cells, and
      `[q, num_probes]` float32 inner products with their centroids.
    """
    num_probes = min(num_probes, self._num_cells)
    cells = np.empty((len(queries), num_probes), np.int32)
    inner = np.empty((len(queries), num_probes), np.float32)
    values = padded_values(queries.values)

    def find_share(share: slice) -> None:
      _find(
        values[share],
        queries.scales[share],
        *self._regions,
        *self._cells,
        self._firsts,
        *self._step,
        cells[share],
        inner[share],
      )

    in_threads(find_share, spread(len(queries)))
    return cells, inner


def padded_values(values: np.ndarray) -> np.ndarray:
  """Returns int8 rows with zeros up to a multiple of four."""
  missing = -values.shape[1] % 4
  return np.ascontiguousarray(np.pad(values, ((0, 0), (0, missing))) if missing else values)


def interleave(values: np.ndarray) -> np.ndarray:
  """Returns int8 rows `[16 blocks, words]` as blocks `[blocks, words / 4, 64]` of value + 128."""
  rows = (values.view(np.uint8) ^ 128).reshape(-1, products.LANES, values.shape[1] // 4, 4)
  blocks = np.ascontiguousarray(rows.transpose(0, 2, 1, 3))
  return blocks.reshape(*blocks.shape[:2], products.WORD_BYTES)


def _pad(centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Fills the last block up with empty places."""
  missing = -len(centers) % products.LANES
  used = np.arange(len(centers) + missing) < len(centers)
  return np.pad(centers, ((0, missing), (0, 0))), used


def _centroids(values: np.ndarray, used: np.ndarray) -> Centroids:
  """Rounds centroids to integers."""
  step = max(float(np.max(np.abs(values), initial=0.0)) / 127.0, float(np.finfo(np.float32).tiny))
  return Centroids(padded_values(np.rint(values / step).astype(np.int8)), used, step)


def _half_norms(centroids: Centroids) -> np.ndarray:
  """Returns half the squared norms `[16 blocks]` float32, infinite at empty places."""
  values = centroids.values.astype(np.float32)
  halves = 0.5 * np.einsum("ij,ij->i", values, values) * np.float32(centroids.step) ** 2
  return np.where(centroids.used, halves, np.inf).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _find(
  queries,
  scales,
  region_blocks,
  region_norms,
  cell_blocks,
  cell_norms,
  firsts,
  region_step,
  cell_step,
  cells,
  inner,
):
  """Fills `cells` and `inner`, `[q, num_probes]`, see `CellFinder.find`."""
  num_probes = cells.shape[1]
  of_regions = np.empty(len(region_norms), np.float32)
  # The cells of the regions that are looked into.
  seen = np.empty(len(cell_norms), np.int32)
  of_seen = np.empty(len(cell_norms), np.float32)
  closeness = np.empty(len(cell_norms), np.float32)
  for i in range(len(queries)):
    offset = np.int32(0)
    for value in queries[i]:
      offset += np.int32(128) * value
    _multiply(region_blocks, queries[i], offset, scales[i] * region_step, of_regions)
    distances = region_norms - of_regions
    count = 0
    found = 0
    for visits in range(len(distances)):
      region = np.argmin(distances)
      enough = visits >= _LEAST_REGIONS and found >= _CELLS_A_PROBE * num_probes
      if enough or distances[region] == np.inf:
        break
      distances[region] = np.inf
      first, last = firsts[region], firsts[region + 1]
      stop = count + products.LANES * (last - first)
      _multiply(
        cell_blocks[first:last], queries[i], offset, scales[i] * cell_step, of_seen[count:stop]
      )
      for lane in range(stop - count):
        cell = products.LANES * first + lane
        seen[count + lane] = cell
        closeness[count + lane] = of_seen[count + lane] - cell_norms[cell]
        found += cell_norms[cell] < np.inf
      count = stop
    _select(seen[:count], of_seen[:count], closeness[:count], cells[i], inner[i])


@numba.njit(cache=True, nogil=True)
def _multiply(blocks, query, offset, factor, out):
  """Fills `out`, `[16 blocks]` float32, with the inner products of centroids and a query."""
  sums = np.empty(products.LANES, np.int32)
  for block in range(len(blocks)):
    products.lane_products(
      blocks[block].ctypes.data, query.ctypes.data, len(query) // 4, 0, 0, sums.ctypes.data
    )
    for lane in range(products.LANES):
      out[block * products.LANES + lane] = np.float32(sums[lane] - offset) * factor


@numba.njit(cache=True, nogil=True)
def _select(seen, of_seen, closeness, cells, inner):
  """Keeps as many of the closest cells as `cells` has places, the closest first."""
  wanted = len(cells)
  if wanted == 1:
    best = np.argmax(closeness)
    cells[0] = seen[best]
    inner[0] = of_seen[best]
    return
  least = np.partition(closeness, len(closeness) - wanted)[len(closeness) - wanted]
  ties = wanted
  for value in closeness:
    ties -= value > least
  best = 0
  kept = 0
  for place in range(len(closeness)):
    if closeness[place] < least or (closeness[place] == least and ties == 0):
      continue
    ties -= closeness[place] == least
    cells[kept] = seen[place]
    inner[kept] = of_seen[place]
    if closeness[place] > closeness[best] or kept == 0:
      best = place
      first = kept
    kept += 1
  cells[0], cells[first] = cells[first], cells[0]
  inner[0], inner[first] = inner[first], inner[0]

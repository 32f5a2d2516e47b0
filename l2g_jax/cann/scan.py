"""Colored nearest neighbours of query descriptors in one segment.

`add_scores` reads the packed codes of some cells for each query descriptor: of every image the best
product counts. Descriptors that read the same cells follow each other, of whichever query, so that
the cells' codes are in the cache. `best_cosines` multiplies with all codes of a few images. All
sums are of integers, and a maximum does not depend on the order: results are the same for any
number of threads, and for any queries that are searched together.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numba
import numpy as np

from l2g_jax.cann import packing, products, stored
from l2g_jax.cann.coarse import interleave, padded_values
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.packing import Packing
from l2g_jax.cann.segment import Descriptors, Lists
from l2g_jax.runtime.threads import in_threads, spread
from l2g_jax.similarity import kernels
from l2g_jax.similarity.codec import Codes, decode

# What a kernel of one is as an integer: sums of so many parts are exact.
UNIT = 1 << 24
_TABLE_STEPS = 2048
# A match worth less than the first does not count; nor does one worth less than the second, where
# it is farther than the nearest cell.
_NEGLIGIBLE = (0.001, 0.02)
_UNSEEN = np.iinfo(np.int32).min
_TILE = products.LANES * products.TILE_BLOCKS


@dataclasses.dataclass(frozen=True)
class Probes:
  """What is read for the q descriptors of one query, or of several.

  Attributes:
    owners: `[q]` int64, the query of each descriptor.
    cells: `[q, p]` int32.
    products: `[q, p]` int32, the inner products with the cells' centroids, as multiples of `units`.
    weights: `[q, D]` int8, for products with packed residuals.
    units: `[q]` float32, what an integer product counts.
    least: `[q]` int32, the product above which a match counts.
    floor: `[q]` int64, what images without such a match are worth, as multiples of 1 / UNIT.
    counts: `[q]` int64, how much each descriptor counts, see `similarity.bursts`.
  """

  owners: np.ndarray
  cells: np.ndarray
  products: np.ndarray
  weights: np.ndarray
  units: np.ndarray
  least: np.ndarray
  floor: np.ndarray
  counts: np.ndarray

  def __getitem__(self, rows: slice | np.ndarray) -> "Probes":
    """Returns what is read for some of the descriptors."""
    fields = dataclasses.fields(self)
    return Probes(*(np.ascontiguousarray(getattr(self, field.name)[rows]) for field in fields))


def worth_table(kernel: kernels.Kernel) -> np.ndarray:
  """Returns a kernel of cosines from -1 to 1 in even steps, `[steps]` int64, times `UNIT`."""
  cosines = np.linspace(-1.0, 1.0, 2 * _TABLE_STEPS + 1)
  return np.rint(UNIT * kernel(cosines)).astype(np.int64)


def prepare(
  query: Codes,
  counts: np.ndarray,
  cells: np.ndarray,
  inner: np.ndarray,
  packed: Packing,
  table: np.ndarray,
  *,
  bound: bool,
) -> Probes:
  """Makes integers of what is multiplied with packed codes.

  Args:
    query: q codes.
    counts: `[q]` int64, how much each counts.
    cells: `[q, p]` to read.
    inner: `[q, p]` float32, the inner products with their centroids.
    packed: how residuals are.
    table: see `worth_table`.
    bound: whether an image that is not met counts as the farthest of the cells does; else nothing.
  """
  weights, units, offsets = packing.pack_queries(packed, decode(query))
  farthest = inner.min(axis=1)
  lowest, highest = np.searchsorted(table, UNIT * np.array(_NEGLIGIBLE)) / _TABLE_STEPS - 1.0
  least = np.clip(inner.max(axis=1), lowest, highest)
  floor = np.zeros(len(query), np.int64)
  if bound:
    least = np.maximum(least, farthest)
    floor = table[_table_places(farthest)]
  return Probes(
    owners=np.zeros(len(query), np.int64),
    cells=cells,
    products=np.rint((inner + offsets[:, None]) / units[:, None]).astype(np.int32),
    weights=weights,
    units=units,
    least=np.rint(least / units).astype(np.int32),
    floor=floor,
    counts=counts,
  )


def join(queries: Sequence[Probes]) -> Probes:
  """Joins what is read for several queries; descriptors that read the same cells are neighbours."""
  joined = Probes(
    *(
      np.concatenate([getattr(probes, field.name) for probes in queries])
      for field in dataclasses.fields(Probes)
    )
  )
  owners = np.repeat(np.arange(len(queries)), [len(probes.owners) for probes in queries])
  order = np.argsort(joined.cells[:, 0], kind="stable")
  return dataclasses.replace(joined, owners=owners)[order]


def add_scores(
  lists: Lists,
  num_queries: int,
  num_images: int,
  packed: Packing,
  probes: Probes,
  table: np.ndarray,
) -> np.ndarray:
  """Returns the sums over a query's descriptors of what they count times their best match's worth.

  Args:
    lists: of n images.
    num_queries: Q.
    num_images: n.
    packed: how residuals are.
    probes: what is read.
    table: see `worth_table`.

  Returns:
    `[Q, n]` int64, as multiples of 1 / UNIT.
  """

  def add_share(share: slice) -> np.ndarray:
    # One place more, for the empty places of blocks.
    totals = np.zeros((num_queries, num_images + 1), np.int64)
    mine = probes[share]
    _add_scores(
      lists.blocks,
      lists.images,
      lists.offsets,
      mine.owners,
      mine.cells,
      mine.products,
      mine.weights,
      mine.units,
      mine.least,
      mine.floor,
      mine.counts,
      packed.num_4,
      packed.num_2,
      table,
      totals,
    )
    return totals[:, :-1]

  totals = functools.reduce(np.add, in_threads(add_share, spread(len(probes.owners))))
  floors = np.zeros(num_queries, np.int64)
  np.add.at(floors, probes.owners, probes.counts * probes.floor)
  return totals + floors[:, None]


def best_cosines(
  descriptors: Descriptors | PackedDescriptors, query: Codes, images: np.ndarray
) -> np.ndarray:
  """Returns the exact best cosines `[images, q]` float32 in some images; -inf in empty ones."""
  if isinstance(descriptors, PackedDescriptors):
    query = stored.rotate(descriptors.grid, query)
  padding = (0, -len(query) % _TILE), (0, 0)
  blocks = interleave(np.pad(padded_values(query.values), padding))
  best = np.full((len(images), products.LANES * len(blocks)), -np.inf, np.float32)

  def raise_share(share: slice) -> None:
    if isinstance(descriptors, PackedDescriptors):
      _best_unpacked_products(
        blocks,
        descriptors.packed,
        descriptors.cells,
        descriptors.grid.centers,
        *descriptors.grid.tables,
        descriptors.offsets,
        images[share],
        best[share],
      )
      return
    _best_products(
      blocks,
      descriptors.values,
      descriptors.scales,
      descriptors.offsets,
      images[share],
      best[share],
    )

  in_threads(raise_share, spread(len(images)))
  return best[:, : len(query)] * query.scales


def _table_places(cosines: np.ndarray) -> np.ndarray:
  """Returns the places of cosines in a table."""
  return np.rint((np.clip(cosines, -1.0, 1.0) + 1.0) * _TABLE_STEPS).astype(np.int64)


@numba.njit(cache=True, nogil=True)
def _add_scores(
  blocks,
  images,
  offsets,
  owners,
  cells,
  inner,
  weights,
  units,
  least,
  floor,
  counts,
  num_4,
  num_2,
  table,
  totals,
):
  """Raises `totals`, `[Q, n + 1]` int64, by what each query descriptor finds."""
  best = np.full(totals.shape[1], _UNSEEN, np.int32)
  seen = np.empty(totals.shape[1] + 1, np.int32)
  sums = np.empty(products.LANES, np.int32)
  # Of a cell, the products that count, and their images.
  longest = np.max(offsets[1:] - offsets[:-1])
  values = np.empty(products.LANES * longest, np.int32)
  owned = np.empty(products.LANES * longest, np.int32)
  for i in range(len(cells)):
    count = 0
    query = weights[i].ctypes.data
    for place in range(cells.shape[1]):
      base = inner[i, place]
      threshold = np.int32(least[i] - base)
      cell = cells[i, place]
      kept = 0
      for block in range(offsets[cell], offsets[cell + 1]):
        products.lane_products(
          blocks.ctypes.data + block * blocks.strides[0],
          query,
          0,
          num_4,
          num_2,
          sums.ctypes.data,
        )
        kept += products.keep_above(
          sums.ctypes.data,
          images.ctypes.data + products.WORD_BYTES * block,
          threshold,
          values.ctypes.data + 4 * kept,
          owned.ctypes.data + 4 * kept,
        )
      for j in range(kept):
        image = owned[j]
        # Without branches, which would be mispredicted.
        before = best[image]
        seen[count] = image
        count += before == _UNSEEN
        best[image] = max(before, np.int32(values[j] + base))
    for place in range(count):
      image = seen[place]
      cosine = min(max(best[image] * units[i], -1.0), 1.0)
      worth = table[int((cosine + 1.0) * _TABLE_STEPS + 0.5)]
      totals[owners[i], image] += counts[i] * (worth - floor[i])
      best[image] = _UNSEEN


@numba.njit(cache=True, nogil=True)
def _best_products(blocks, values, scales, offsets, images, best):
  """Raises `best`, `[images, 16 blocks]` float32, to the products with all codes of the images."""
  for i in range(len(images)):
    start, stop = offsets[images[i]], offsets[images[i] + 1]
    _raise_best(blocks, values[start:stop], scales[start:stop], best[i])


@numba.njit(cache=True, nogil=True)
def _best_unpacked_products(blocks, packed, cells, centers, tables, firsts, offsets, images, best):
  """Raises `best` as `_best_products` does, from packed descriptors."""
  most = 0
  for image in images:
    most = max(most, offsets[image + 1] - offsets[image])
  values = np.empty((most, centers.shape[1]), np.int8)
  scales = np.empty(most, np.float32)
  for i in range(len(images)):
    start, stop = offsets[images[i]], offsets[images[i] + 1]
    rows = values[: stop - start]
    stored.unpack_rows(packed[start:stop], cells[start:stop], centers, tables, firsts, rows, scales)
    _raise_best(blocks, rows, scales, best[i])


@numba.njit(cache=True, nogil=True)
def _raise_best(blocks, values, scales, best):
  """Raises `best`, `[16 blocks]` float32, to the products with all rows of one image."""
  words = blocks.shape[1]
  stride = values.strides[0]
  rows = products.TILE_ROWS
  count = len(values)
  sums = np.empty(count, np.int32)
  for row in range(count):
    total = np.int32(0)
    for place in range(values.shape[1]):
      total += values[row, place]
    sums[row] = 128 * total
  # The last tile overlaps the one before; in fewer rows than a tile the same row counts again.
  step = 1 if count >= rows else 0
  for block in range(0, len(blocks), products.TILE_BLOCKS):
    for row in range(0, count, rows if step else 1):
      row = min(row, count - rows) if step else row
      products.raise_maxima(
        blocks[block].ctypes.data,
        words,
        values.ctypes.data + row * stride,
        step * stride,
        sums.ctypes.data + 4 * row,
        scales.ctypes.data + 4 * row,
        4 * step,
        best.ctypes.data + 4 * products.LANES * block,
      )

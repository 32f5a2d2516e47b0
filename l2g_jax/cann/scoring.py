"""A query against the segments of an index: a scan of all images, then the best ones exactly."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from l2g_jax.cann import scan, storage
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.packing import Packing
from l2g_jax.cann.scan import Probes
from l2g_jax.cann.segment import Descriptors, Lists, open_either, open_lists
from l2g_jax.cann.stored import Grid
from l2g_jax.runtime import files
from l2g_jax.similarity import kernels
from l2g_jax.similarity.codec import Codes, concatenate

# Best cosines that are in memory at a time.
BLOCK_COSINES = 1 << 21

# One of so many descriptors of a query is scanned, and screens images, where a search screens; but
# not fewer than so many.
_STEP = 4
_LEAST_DESCRIPTORS = 64

# Which images these are, in whatever index: runs of (checksum of the segment that they were added
# with, first row in it, count).
Origins = list[tuple[str, int, int]]


class Scanned(NamedTuple):
  """The best images of a scan.

  Attributes:
    ids: `[n]` int64, by descending value, ties by the smaller.
    values: `[n]` float64, their similarities by the scan.
  """

  ids: np.ndarray
  values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Segment:
  """A segment as it is searched: its files, and the images that were not removed.

  Attributes:
    descriptors: of its n images.
    lists: the same, packed by cell.
    names: of the n images.
    present: rows of the images that were not removed, ascending.
    origins: of the n images; a compacted segment remembers those of its images.
  """

  descriptors: Descriptors | PackedDescriptors
  lists: Lists
  names: list[str]
  present: np.ndarray
  origins: Origins

  def present_names(self) -> Iterable[str]:
    """Returns the names of the images that were not removed."""
    if len(self.present) == len(self.names):
      return self.names
    return map(self.names.__getitem__, self.present.tolist())

  def present_origins(self) -> Origins:
    """Returns the origins of the images that were not removed, in as few runs as there can be."""
    runs: Origins = []
    start = 0
    for checksum, first, count in self.origins:
      rows = self.present[np.searchsorted(self.present, start) :]
      rows = rows[: np.searchsorted(rows, start + count)] - start + first
      for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
          runs.append((checksum, int(run[0]), len(run)))
      start += count
    return runs


def open_segment(
  directory: pathlib.Path, entry: storage.Manifest, grid: Grid | None, *, verify: bool
) -> Segment:
  """Opens a segment that the manifest of an index names, whose quantiser may have a grid."""
  descriptors = open_either(directory / entry["descriptors"], grid, verify=verify)
  present = np.ones(len(descriptors), bool)
  present[entry["removed"]] = False
  if "origins" in entry:
    origins = [(checksum, first, count) for checksum, first, count in entry["origins"]]
  else:
    origins = [(_checksum(directory / entry["descriptors"]), 0, len(descriptors))]
  return Segment(
    descriptors=descriptors,
    lists=open_lists(directory / entry["lists"], verify=verify),
    names=descriptors.image_names(),
    present=np.flatnonzero(present),
    origins=origins,
  )


def scan_images(
  segments: Sequence[Segment],
  packed: Packing,
  queries: Sequence[Probes],
  table: np.ndarray,
) -> np.ndarray:
  """Returns the sums of Q queries' approximate worth `[Q, N]` int64, as multiples of 1 / UNIT."""
  probes = scan.join(queries)
  scores = []
  for segment in segments:
    num_images = len(segment.descriptors)
    sums = scan.add_scores(segment.lists, len(queries), num_images, packed, probes, table)
    sums[:, np.diff(segment.descriptors.offsets) == 0] = 0
    scores.append(sums if len(segment.present) == num_images else sums[:, segment.present])
  return scores[0] if len(scores) == 1 else np.concatenate(scores, axis=1)


def exact_similarities(
  segments: Sequence[Segment],
  kernel: kernels.Kernel,
  queries: Sequence[Codes],
  counts: Sequence[np.ndarray],
  ids: np.ndarray,
) -> np.ndarray:
  """Returns the exact similarities of queries to images, `[queries, ids]` float32.

  Args:
    segments: of the index.
    kernel: f.
    queries: their codes.
    counts: how much each code of each counts, `[q]`.
    ids: of the images.
  """
  scores = np.zeros((len(queries), len(ids)), np.float32)
  bounds = np.cumsum([0, *map(len, queries)]).tolist()
  if not bounds[-1]:
    return scores
  joined = concatenate(queries, dimension=queries[0].values.shape[1])
  start = 0
  for segment in segments:
    here = np.flatnonzero((ids >= start) & (ids < start + len(segment.present)))
    images = segment.present[ids[here] - start]
    step = max(1, BLOCK_COSINES // len(joined))
    for i in range(0, len(here), step):
      rows = slice(i, i + step)
      cosines = scan.best_cosines(segment.descriptors, joined, images[rows])
      worth = kernel(cosines)
      worth[np.isneginf(cosines)] = 0.0
      for query, (first, last) in enumerate(itertools.pairwise(bounds)):
        if first < last:
          sums = np.sum(worth[:, first:last] * counts[query], axis=1, dtype=np.float64)
          scores[query, here[rows]] = sums / np.sum(counts[query])
    start += len(segment.present)
  return scores


def screen(best: Scanned, screened: int, rescore: Callable[[np.ndarray], np.ndarray]) -> Scanned:
  """Orders the first images of a scan by a share of the query's descriptors, and by the scan.

  Args:
    best: of the scan.
    screened: how many of them.
    rescore: returns the similarities of some ids to some descriptors of the query, see
      `screening_rows`.

  Returns:
    The images, with the similarities that `rescore` returned in place of the scan's.
  """
  ids, values = best.ids.copy(), best.values.copy()
  partial = rescore(ids[:screened])
  order = np.argsort(-(partial + values[:screened]), kind="stable")
  ids[:screened], values[:screened] = ids[:screened][order], partial[order]
  return Scanned(ids, values)


def scanning_rows(num_descriptors: int) -> slice:
  """Returns which descriptors of a query are scanned where its images are screened afterwards."""
  step = _step(num_descriptors)
  return slice(step // 2, None, step)


def screening_rows(num_descriptors: int) -> slice:
  """Returns which descriptors of a query screen images: others than are scanned, if it has many."""
  return slice(0, None, _step(num_descriptors))


def _step(num_descriptors: int) -> int:
  return max(1, min(_STEP, num_descriptors // _LEAST_DESCRIPTORS))


def best_images(
  best: Scanned, k: int, *, depth: int, rescore: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Orders images by the best that is known of each: its exact similarity, or else an estimate.

  Args:
    best: of the scan, `depth + k` at least: so k are left even if all exact similarities are 0.
    k: images wanted.
    depth: best images whose exact similarities are computed.
    rescore: returns the exact similarities of some ids.

  Returns:
    At most k ids, and their similarities, float32 above 0, descending; ties by the smaller id.
  """
  ids, values = best.ids, best.values.astype(np.float32)
  values[:depth] = rescore(ids[:depth])
  ids, values = ids[values > 0.0], values[values > 0.0]
  order = np.lexsort((ids, -values))[:k]
  return ids[order], values[order]


def best_scanned(values: np.ndarray, count: int) -> Scanned:
  """Returns the images with the largest of the values `[N]` that a scan gave."""
  chosen = np.arange(len(values))
  if count < len(values):
    least = np.partition(values, len(values) - count)[len(values) - count]
    chosen = np.flatnonzero(values >= least)
  ids = chosen[np.argsort(-values[chosen], kind="stable")][:count]
  return Scanned(ids, values[ids])


def _checksum(bundle: pathlib.Path) -> str:
  return files.checksum_json(files.read_manifest(bundle / "manifest.json"))

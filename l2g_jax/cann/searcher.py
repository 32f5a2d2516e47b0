"""What an index holds, opened for search: its segments, its quantiser and the cells of queries."""

import copy
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from l2g_jax.cann import scan, scoring, shares, storage
from l2g_jax.cann.coarse import CellFinder
from l2g_jax.cann.config import CannConfig, Reach, whole_number
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.quantizer import load_quantizer
from l2g_jax.cann.scoring import Origins, Scanned
from l2g_jax.cann.segment import check_fit
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.runtime.workers import available_cores
from l2g_jax.similarity import bursts
from l2g_jax.similarity.codec import Codes

# Sums that the scan of several queries together holds, over all threads.
_SUMS = 1 << 24
# Ids are int32: no more images can be asked for.
MOST_IMAGES = 2**31 - 1


def check_search(k: int, reach: Reach) -> tuple[int, Reach]:
  """Returns what a search is asked for as whole numbers; InputError where it is out of range."""
  return whole_number("A search needs k", k, least=1, most=MOST_IMAGES), reach._replace(
    num_probes=whole_number("A search needs num_probes", reach.num_probes, least=1),
    depth=whole_number("A search needs rescoring_depth", reach.depth, least=0),
  )


class Searcher:
  """The images of one state of an index, by id.

  Attributes:
    names: of the N images.
    origins: which images these are, whatever their ids.
  """

  def __init__(
    self, directory: pathlib.Path, manifest: storage.Manifest, config: CannConfig, *, verify: bool
  ):
    self._config = config
    self._table = scan.worth_table(config.kernel)
    if manifest["quantizer"] is not None:
      self._quantizer = load_quantizer(directory / manifest["quantizer"], verify=verify)
      self._cells = CellFinder(self._quantizer.coarse)
    self._segments = [
      scoring.open_segment(directory, entry, self._quantizer.grid, verify=verify)
      for entry in manifest["segments"]
    ]
    for segment in self._segments:
      check_fit(
        directory,
        segment.descriptors,
        segment.lists,
        self._quantizer,
        dimension=manifest["dimension"],
        verify=verify,
      )
    self.names = tuple(
      itertools.chain.from_iterable(segment.present_names() for segment in self._segments)
    )
    self.origins: Origins = [run for segment in self._segments for run in segment.present_origins()]

  def rows_of(self, names: set[str]) -> list[list[int]]:
    """Returns, for every segment, the rows of the images that have these names."""
    return [
      [row for row in segment.present.tolist() if segment.names[row] in names]
      for segment in self._segments
    ]

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of one image."""
    row = whole_number("An image needs an id", image, least=0, most=len(self.names) - 1)
    for segment in self._segments:
      if row < len(segment.present):
        return segment.descriptors[int(segment.present[row])]
      row -= len(segment.present)
    raise AssertionError(image)

  def packed_images(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields the name, packed descriptors and cells of each image, where they are packed."""
    for segment in self._segments:
      stored = segment.descriptors
      assert isinstance(stored, PackedDescriptors)
      for row in segment.present.tolist():
        rows = slice(*stored.offsets[row : row + 2])
        yield segment.names[row], stored.packed[rows], stored.cells[rows]

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    return np.concatenate(
      [np.diff(segment.descriptors.offsets)[segment.present] for segment in self._segments]
    )

  def search(self, queries: Sequence[Codes], k: int, reach: Reach) -> Ranked:
    """Finds the images most similar to each of Q queries, see `CannIndex.search`: `[Q, k]`.

    Args:
      queries: their codes.
      k: see `CannIndex.search`.
      reach: how far to look.
    """
    k, reach = check_search(k, reach)
    found = Ranked(
      np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32)
    )
    if not self.names:
      return found
    used = {row: codes[: self._config.max_query_descriptors] for row, codes in enumerate(queries)}
    rows = [row for row, query in used.items() if len(query)]
    step = max(1, _SUMS // (len(self.names) * available_cores()))
    for start in range(0, len(rows), step):
      some = rows[start : start + step]
      queries = [used[row] for row in some]
      counts = [self._counts(query) for query in queries]
      scanned = self._scan(queries, counts, reach)
      for row, query, weights, values in zip(some, queries, counts, scanned, strict=True):
        ids, values = self._best(query, weights, values, k, reach)
        found.ids[row, : len(ids)], found.similarities[row, : len(ids)] = ids, values
    return found

  def cut(self, start: int, stop: int) -> "Searcher":
    """Returns a searcher of the images from `start` to before `stop`, whose ids begin at 0.

    It holds their packed codes in memory, and finds of each image what this one finds.
    """
    part = copy.copy(self)
    part._segments = shares.cut_segments(self._segments, start, stop)
    part.names = self.names[start:stop]
    part.origins = [run for segment in part._segments for run in segment.present_origins()]
    return part

  def scan(self, query: Codes, count: int, reach: Reach) -> Scanned:
    """Finds the `count` best images of a query by the scan; none where the query is empty."""
    query = query[: self._config.max_query_descriptors]
    if not len(query) or not self.names:
      return Scanned(np.zeros(0, np.int64), np.zeros(0))
    return scoring.best_scanned(self._scan([query], [self._counts(query)], reach)[0], count)

  def similarities(
    self,
    queries: Sequence[Codes],
    ids: Sequence[int] | np.ndarray,
    *,
    screening: bool = False,
  ) -> np.ndarray:
    """Computes the exact similarities `[queries, ids]` float32.

    Args:
      queries: their codes.
      ids: of images.
      screening: whether to take only so many descriptors of a query as screen images.

    Raises:
      InputError: the ids are not a row of whole numbers from 0 to N - 1.
    """
    values = np.asarray(ids)
    if not values.size:
      values = values.astype(np.int64)
    fits = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    if not fits or np.any((values < 0) | (values >= len(self.names))):
      raise InputError(f"Ids must be from 0 to {len(self.names) - 1}, whole numbers in one row.")
    used = [query[: self._config.max_query_descriptors] for query in queries]
    return self._similarities(used, [*map(self._counts, used)], values, screening=screening)

  def _similarities(
    self,
    queries: Sequence[Codes],
    counts: Sequence[np.ndarray],
    ids: np.ndarray,
    *,
    screening: bool = False,
  ) -> np.ndarray:
    """Computes what `similarities` does, of descriptors that are weighed already."""
    rows = [scoring.screening_rows(len(query)) if screening else slice(None) for query in queries]
    return scoring.exact_similarities(
      self._segments,
      self._config.kernel,
      [query[some] for query, some in zip(queries, rows, strict=True)],
      [weights[some] for weights, some in zip(counts, rows, strict=True)],
      ids,
    )

  def _best(
    self, query: Codes, counts: np.ndarray, scanned: np.ndarray, k: int, reach: Reach
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most k ids and similarities of a query, of what the scan gave, `[N]`."""
    best = scoring.best_scanned(scanned, max(reach.depth, reach.screened) + k)
    if reach.screened:
      best = scoring.screen(
        best,
        reach.screened,
        lambda ids: self._similarities([query], [counts], ids, screening=True)[0],
      )
    return scoring.best_images(
      best, k, depth=reach.depth, rescore=lambda ids: self._similarities([query], [counts], ids)[0]
    )

  def _counts(self, query: Codes) -> np.ndarray:
    return bursts.weights(query, self._config.burst_power)

  def _scan(
    self, queries: Sequence[Codes], counts: Sequence[np.ndarray], reach: Reach
  ) -> np.ndarray:
    """Returns the similarities of queries that are not empty, by the scan, `[Q, N]` float64."""
    rows = [slice(None) if reach.whole else scoring.scanning_rows(len(query)) for query in queries]
    packed = self._quantizer.packing
    bound = self._config.unreached == "bound"
    counts = [weights[some] for weights, some in zip(counts, rows, strict=True)]
    queries = [query[some] for query, some in zip(queries, rows, strict=True)]
    probes = [
      scan.prepare(
        query, weights, *self._cells.find(query, reach.num_probes), packed, self._table, bound=bound
      )
      for query, weights in zip(queries, counts, strict=True)
    ]
    sums = scoring.scan_images(self._segments, packed, probes, self._table)
    totals = np.array([np.sum(weights) for weights in counts])
    return sums / (totals[:, None] * scan.UNIT)

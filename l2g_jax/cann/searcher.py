"""What an index holds, opened for search: its segments, its quantiser and the cells of queries."""

import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from l2g_jax.cann import scan, scoring, storage
from l2g_jax.cann.coarse import CellFinder
from l2g_jax.cann.config import CannConfig, whole_number
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.quantizer import load_quantizer
from l2g_jax.cann.scoring import Origins
from l2g_jax.cann.segment import check_fit
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.similarity import bursts
from l2g_jax.similarity.codec import Codes

# Ids are int32: no more images can be asked for.
MOST_IMAGES = 2**31 - 1


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

  def search(self, queries: Sequence[Codes], k: int, *, num_probes: int, depth: int) -> Ranked:
    """Finds the images most similar to each of Q queries, see `CannIndex.search`: `[Q, k]`."""
    k = whole_number("A search needs k", k, least=1, most=MOST_IMAGES)
    num_probes = whole_number("A search needs num_probes", num_probes, least=1)
    depth = whole_number("A search needs rescoring_depth", depth, least=0)
    found = Ranked(
      np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32)
    )
    for row, codes in enumerate(queries):
      query = codes[: self._config.max_query_descriptors]
      if not len(query) or not self.names:
        continue
      counts = self._counts(query)
      ids, similarities = scoring.best_images(
        self._scan(query, counts, num_probes),
        k,
        depth=depth,
        rescore=lambda ids, query=query, counts=counts: self._score([query], [counts], ids)[0],
      )
      found.ids[row, : len(ids)], found.similarities[row, : len(ids)] = ids, similarities
    return found

  def similarities(self, queries: Sequence[Codes], ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Computes the exact similarities `[queries, ids]` float32.

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
    return self._score(used, [self._counts(query) for query in used], values)

  def _counts(self, query: Codes) -> np.ndarray:
    return bursts.weights(query, self._config.burst_power)

  def _scan(self, query: Codes, counts: np.ndarray, num_probes: int) -> np.ndarray:
    """Returns the similarities of a query that is not empty, by the scan, `[N]` float64."""
    cells, inner = self._cells.find(query, num_probes)
    packed = self._quantizer.packing
    bound = self._config.unreached == "bound"
    probes = scan.prepare(query, counts, cells, inner, packed, self._table, bound=bound)
    sums = scoring.scan_images(self._segments, packed, probes, self._table)
    return sums / (np.sum(counts) * scan.UNIT)

  def _score(
    self, queries: Sequence[Codes], counts: Sequence[np.ndarray], ids: np.ndarray
  ) -> np.ndarray:
    kernel = self._config.kernel
    return scoring.exact_similarities(self._segments, kernel, queries, counts, ids)

"""The index as it is used: opened, changed and searched."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from l2g_jax import files
from l2g_jax.cann import builder, lists, scan, storage
from l2g_jax.cann.builder import ShardReport
from l2g_jax.cann.coarse import CellFinder
from l2g_jax.cann.codec import Codes
from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.lists import NeighborLists
from l2g_jax.cann.quantizer import load_quantizer
from l2g_jax.cann.segment import Descriptors, Lists, open_descriptors, open_lists
from l2g_jax.errors import InputError
from l2g_jax.features.whitening import Whitening

# Images whose exact similarities are computed at a time.
_IMAGES_PER_RESCORING = 2048


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """The best images of one query `[k]`, or of several `[Q, k]`.

  Attributes:
    ids: int32, positions in `CannIndex.names`, best first, ties by the smaller; -1 pads.
    similarities: float32 in [0, 1], descending; 0 pads. Images of similarity 0 are left out.
  """

  ids: np.ndarray
  similarities: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Segment:
  """A segment as it is searched: its files, and the images that were not removed."""

  descriptors: Descriptors
  lists: Lists
  names: list[str]
  present: np.ndarray

  def present_names(self) -> Iterable[str]:
    """Returns the names of the images that were not removed."""
    if len(self.present) == len(self.names):
      return self.names
    return map(self.names.__getitem__, self.present.tolist())


class CannIndex:
  """Colored nearest-neighbour index of local descriptors, opened for search.

  s(Q -> image) is the mean over the query's descriptors of f(the best cosine among the image's).
  Descriptors are whitened, if the index has a whitening, normalised and quantised here; those of
  norm zero are left out, of images as of queries. Source: arXiv 2306.09012, by an inverted file
  instead of random grids.

  Attributes:
    directory: where it lies.
    dimension: d, of its descriptors.
    names: the N image names; ids are positions in it.
    config: the settings it was built with.
    whitening: what is done to descriptors that are added or searched; None = nothing.
    state: identifies what the index holds, for caches of what was made from it.
  """

  def __init__(self, directory: pathlib.Path, manifest: storage.Manifest, *, verify: bool):
    self.directory = directory
    self.dimension: int = manifest["dimension"]
    self.config = CannConfig.from_json(manifest["config"])
    self.state = files.checksum_json(manifest)
    self.whitening = storage.read_whitening(directory, manifest)
    self._table = scan.worth_table(self.config.kernel)
    if manifest["quantizer"] is not None:
      self._quantizer = load_quantizer(directory / manifest["quantizer"], verify=verify)
      self._cells = CellFinder(self._quantizer.coarse)
    self._segments = [
      _open_segment(directory, entry, verify=verify) for entry in manifest["segments"]
    ]
    self.names = tuple(
      itertools.chain.from_iterable(segment.present_names() for segment in self._segments)
    )

  @classmethod
  def build(
    cls,
    directory: os.PathLike | str,
    descriptors: Iterable[tuple[str, np.ndarray]],
    config: CannConfig = CannConfig(),
    *,
    whitening: Whitening | None = None,
  ) -> "CannIndex":
    """Builds an index from a stream of images.

    Args:
      directory: where the index will be; none may be there.
      descriptors: (image name, `[count, d]`), any norm; read once, never held as a whole.
      config: the settings.
      whitening: what is done to descriptors first, kept with the index; None = nothing.

    Raises:
      InputError: an index is there; the stream is empty; descriptors have the wrong shape or are
        not finite; a name comes twice. No index is left then.
    """
    root = pathlib.Path(directory)
    with storage.locked(root):
      storage.refuse_existing(root)
      images = storage.encoded(descriptors, whitening, dimension=None, names=())
      first = next(images, None)
      if first is None:
        raise InputError("No images were given to index.")
      manifest = storage.new_manifest(config, first[1].values.shape[1])
      storage.write_whitening(root, manifest, whitening)
      builder.write_segment(root, manifest, itertools.chain([first], images))
      storage.commit(root, manifest)
    return cls.open(root)

  @classmethod
  def build_shard(
    cls,
    directory: os.PathLike | str,
    descriptors: Sequence[tuple[str, np.ndarray]],
    config: CannConfig = CannConfig(),
    *,
    whitening: Whitening | None = None,
    shard_index: int,
    num_shards: int,
  ) -> ShardReport:
    """Does one of several shares of what `build` does, at any time and on any machine.

    A share that was interrupted goes on where it stood. When all are done `merge_shards` makes the
    index, with the same bytes as `build` does.

    Args:
      directory: a folder that all shards share.
      descriptors: of all images, `(name, [count, d])` by number; only the shard's are read, and a
        sample of the others.
      config: the settings, the same in every shard.
      whitening: see `build`.
      shard_index: which share, from 0.
      num_shards: of how many.

    Raises:
      InputError: see `build`; or the folder has shards of another collection or other settings.
    """
    return builder.build_shard(
      pathlib.Path(directory),
      descriptors,
      config,
      whitening,
      shard_index=shard_index,
      num_shards=num_shards,
    )

  @classmethod
  def merge_shards(cls, directory: os.PathLike | str) -> "CannIndex":
    """Makes the index of what all shards built.

    Raises:
      InputError: an index is there, a shard is not done, or a name comes twice.
    """
    root = pathlib.Path(directory)
    with storage.locked(root):
      storage.commit(root, builder.merge_shards(root))
    return cls.open(root)

  @classmethod
  def open(cls, directory: os.PathLike | str, *, verify: bool = False) -> "CannIndex":
    """Opens an index by memory map.

    Args:
      directory: where it is.
      verify: whether to compare every file's checksum, not only its size.

    Raises:
      InputError: there is no index, it is of another version, or a file of it is damaged; the
        message names the file.
    """
    root = pathlib.Path(directory)
    while True:
      manifest = storage.read_manifest(root)
      try:
        return cls(root, manifest, verify=verify)
      except InputError:
        # A writer may have replaced what the manifest named since it was read.
        if storage.read_manifest(root) == manifest:
          raise

  def add(self, descriptors: Iterable[tuple[str, np.ndarray]]) -> "CannIndex":
    """Adds images as a further segment and returns the index as it is then.

    This one stays as it is. Cells stay as they were learned; where most images were added since,
    `compact` learns them anew.

    Raises:
      InputError: as for `build`, or a name is in the index already; nothing is added then.
    """
    with self._change() as manifest:
      images = storage.encoded(
        descriptors, self.whitening, dimension=self.dimension, names=self.names
      )
      builder.write_segment(self.directory, manifest, images)
    return CannIndex.open(self.directory)

  def remove(self, names: Sequence[str]) -> "CannIndex":
    """Removes images by name and returns the index as it is then; this one stays as it is.

    Raises:
      InputError: a name is not in the index; nothing is removed then.
    """
    unknown = sorted(set(names) - set(self.names))
    if unknown:
      raise InputError(f"The index holds no image {unknown[0]!r} to remove.")
    wanted = set(names)
    with self._change() as manifest:
      for entry, segment in zip(manifest["segments"], self._segments, strict=True):
        entry["removed"] += [i for i in segment.present.tolist() if segment.names[i] in wanted]
    return CannIndex.open(self.directory)

  def compact(self) -> "CannIndex":
    """Builds the index anew of what was not removed, and returns it as it is then."""
    images = ((name, self.codes(image)) for image, name in enumerate(self.names))
    with self._change() as manifest:
      manifest |= {"quantizer": None, "segments": []}
      builder.write_segment(self.directory, manifest, images)
    return CannIndex.open(self.directory)

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of one image by its id."""
    for segment in self._segments:
      if image < len(segment.present):
        return segment.descriptors[int(segment.present[image])]
      image -= len(segment.present)
    raise IndexError(image)

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    return np.concatenate(
      [np.diff(segment.descriptors.offsets)[segment.present] for segment in self._segments]
    )

  @property
  def default_probes(self) -> int:
    """Cells that a search scans for each query descriptor, unless it says otherwise."""
    return self.config.probes(len(self.names))

  @property
  def default_depth(self) -> int:
    """Images that a search scores exactly, unless it says otherwise."""
    return self.config.depth(len(self.names))

  def search(
    self,
    query_descriptors: np.ndarray,
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> SearchResult:
    """Finds the images most similar to one query.

    Args:
      query_descriptors: `[q, d]`, any norm; none gives an empty result.
      k: images wanted; more than there are pads.
      num_probes: instead of the setting; as many as there are cells reads them all.
      rescoring_depth: instead of the setting. Images of that depth come first, by exact similarity;
        the others follow by that of the scan.

    Returns:
      A `SearchResult` `[k]`.

    Raises:
      InputError: the shape does not fit, a value is not finite, or k is below 1.
    """
    result = self.search_many(
      [query_descriptors], k, num_probes=num_probes, rescoring_depth=rescoring_depth
    )
    return SearchResult(result.ids[0], result.similarities[0])

  def search_many(
    self,
    queries: Sequence[np.ndarray],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> SearchResult:
    """Searches several queries, see `search`: a `SearchResult` `[Q, k]`."""
    codes = [
      self._describe(descriptors, f"query {number}") for number, descriptors in enumerate(queries)
    ]
    return self.search_codes(codes, k, num_probes=num_probes, rescoring_depth=rescoring_depth)

  def similarities(self, query_descriptors: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Computes exact similarities.

    Args:
      query_descriptors: `[q, d]`, any norm.
      ids: `[n]` of images.

    Returns:
      `[n]` float32; all 0 where the query has no descriptors.

    Raises:
      InputError: the shape does not fit, a value is not finite, or an id is not one of the index.
    """
    if len(ids) and not 0 <= np.min(ids) <= np.max(ids) < len(self.names):
      raise InputError(f"Ids must be from 0 to {len(self.names) - 1}.")
    query = self._describe(query_descriptors, "the query")
    return self._rescore(query[: self.config.max_query_descriptors], np.asarray(ids))

  def search_codes(
    self,
    queries: Sequence[Codes],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> SearchResult:
    """Searches several queries that are quantised already, see `search_many`."""
    if k < 1:
      raise InputError(f"A search needs k of at least 1, not {k}.")
    probes = num_probes or self.default_probes
    depth = self.default_depth if rescoring_depth is None else rescoring_depth
    ids = np.full((len(queries), k), -1, np.int32)
    similarities = np.zeros((len(queries), k), np.float32)
    for row, codes in enumerate(queries):
      query = codes[: self.config.max_query_descriptors]
      if not len(query) or not self.names:
        continue
      scores = self._scan(query, probes)
      best = _largest(scores, max(k, depth))
      exact = self._rescore(query, best[:depth])
      order = np.lexsort((best[:depth], -exact))
      best[:depth] = best[:depth][order]
      values = (scores[best] / (len(query) * scan.UNIT)).astype(np.float32)
      values[:depth] = exact[order]
      values = np.minimum.accumulate(values)[:k]
      found = int(np.sum(values > 0.0))
      ids[row, :found] = best[:found]
      similarities[row, :found] = values[:found]
    return SearchResult(ids, similarities)

  def neighbor_lists(
    self, k: int, *, rescoring_depth: int = lists.DEPTH, show_progress: bool = True
  ) -> NeighborLists:
    """Finds the k nearest other images of every image, see `lists.make_lists`."""
    return lists.make_lists(self, k, rescoring_depth=rescoring_depth, show_progress=show_progress)

  def _describe(self, descriptors: np.ndarray, where: str) -> Codes:
    return storage.describe(descriptors, self.whitening, dimension=self.dimension, where=where)

  def _scan(self, query: Codes, num_probes: int) -> np.ndarray:
    """Returns the sums of a query's approximate worth `[N]` int64, as multiples of 1 / UNIT."""
    cells, inner = self._cells.find(query, num_probes)
    packed = self._quantizer.packing
    bound = self.config.unreached == "bound"
    probes = scan.prepare(query, cells, inner, packed, self._table, bound=bound)
    scores = []
    for segment in self._segments:
      sums = scan.add_scores(segment.lists, len(segment.descriptors), packed, probes, self._table)
      sums[np.diff(segment.descriptors.offsets) == 0] = 0
      scores.append(sums[segment.present])
    return np.concatenate(scores)

  def _rescore(self, query: Codes, ids: np.ndarray) -> np.ndarray:
    """Returns exact similarities `[len(ids)]` float32."""
    scores = np.zeros(len(ids), np.float32)
    if not len(query):
      return scores
    start = 0
    for segment in self._segments:
      here = np.flatnonzero((ids >= start) & (ids < start + len(segment.present)))
      images = segment.present[ids[here] - start]
      for i in range(0, len(here), _IMAGES_PER_RESCORING):
        rows = slice(i, i + _IMAGES_PER_RESCORING)
        cosines = scan.best_cosines(segment.descriptors, query, images[rows])
        worth = self.config.kernel(cosines)
        worth[np.isneginf(cosines)] = 0.0
        scores[here[rows]] = worth.mean(axis=1, dtype=np.float64)
      start += len(segment.present)
    return scores

  @contextlib.contextmanager
  def _change(self) -> Iterator[storage.Manifest]:
    """Yields a copy of the manifest to alter, and commits it."""
    with storage.locked(self.directory):
      manifest = storage.read_manifest(self.directory)
      if files.checksum_json(manifest) != self.state:
        raise InputError(f"The index in {self.directory} has changed; open it again.")
      yield manifest
      storage.commit(self.directory, manifest)


def _open_segment(directory: pathlib.Path, entry: storage.Manifest, *, verify: bool) -> _Segment:
  descriptors = open_descriptors(directory / entry["descriptors"], verify=verify)
  present = np.ones(len(descriptors), bool)
  present[entry["removed"]] = False
  return _Segment(
    descriptors=descriptors,
    lists=open_lists(directory / entry["lists"], verify=verify),
    names=descriptors.image_names(),
    present=np.flatnonzero(present),
  )


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
  """Returns the places of the largest values, in descending order, ties by the smaller."""
  chosen = np.arange(len(scores))
  if count < len(scores):
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    chosen = np.flatnonzero(scores >= least)
  return chosen[np.argsort(-scores[chosen], kind="stable")][:count]

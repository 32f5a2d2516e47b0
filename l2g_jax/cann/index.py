"""The index as it is used: opened, changed and searched."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from l2g_jax.cann import builder, generations, lists, scan, scoring, storage
from l2g_jax.cann.builder import ShardReport
from l2g_jax.cann.coarse import CellFinder
from l2g_jax.cann.config import CannConfig, whole_number
from l2g_jax.cann.lists import NeighborLists
from l2g_jax.cann.quantizer import load_quantizer
from l2g_jax.cann.scoring import Origins
from l2g_jax.cann.segment import check_fit
from l2g_jax.errors import InputError, damage_refused
from l2g_jax.features.whitening import Whitening
from l2g_jax.runtime import files
from l2g_jax.similarity.codec import Codes

# Ids are int32: no more images can be asked for.
_MOST_IMAGES = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """The best images of one query `[k]`, or of several `[Q, k]`.

  Attributes:
    ids: int32, positions in `CannIndex.names`, best first, ties by the smaller; -1 pads.
    similarities: float32 in [0, 1], descending; 0 pads. Images of similarity 0 are left out.
      Exact, or by the scan alone: see `CannIndex.search`.
  """

  ids: np.ndarray
  similarities: np.ndarray


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
    origins: which images these are, whatever their ids; for what is kept when the index changes.
    state: identifies what the index holds, by content, for caches of what was made from it.
    manifest_checksum: identifies its files by name alone; lists of version 1 are found by it.
  """

  def __init__(self, directory: pathlib.Path, manifest: storage.Manifest, *, verify: bool):
    self.directory = directory
    self.dimension: int = manifest["dimension"]
    self.config = CannConfig.from_json(manifest["config"])
    self._manifest = manifest
    self.whitening = storage.read_whitening(directory, manifest, verify=verify)
    self._table = scan.worth_table(self.config.kernel)
    if manifest["quantizer"] is not None:
      self._quantizer = load_quantizer(directory / manifest["quantizer"], verify=verify)
      self._cells = CellFinder(self._quantizer.coarse)
    self._segments = [
      scoring.open_segment(directory, entry, verify=verify) for entry in manifest["segments"]
    ]
    for segment in self._segments:
      check_fit(
        directory,
        segment.descriptors,
        segment.lists,
        self._quantizer,
        dimension=self.dimension,
        verify=verify,
      )
    if verify:
      storage.verify_neighbors(directory)
    self.names = tuple(
      itertools.chain.from_iterable(segment.present_names() for segment in self._segments)
    )
    self.origins: Origins = [run for segment in self._segments for run in segment.present_origins()]
    self.manifest_checksum = files.checksum_json(manifest)
    self.state = files.checksum_json([manifest, self.origins])

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
      directory: where the index will be: a folder that is new, empty, or has what an interrupted
        build left.
      descriptors: (image name, `[count, d]`), any norm; read once, never held as a whole.
      config: the settings.
      whitening: what is done to descriptors first, kept with the index; None = nothing.

    Raises:
      InputError: an index or anything else is there; the stream is empty; descriptors have the
        wrong shape or are not finite; a name comes twice. No index is left then.
    """
    root = pathlib.Path(directory)
    storage.refuse_foreign(root)
    with storage.locked(root):
      storage.refuse_existing(root)
      images = storage.encoded(descriptors, whitening, dimension=None, names=())
      first = next(images, None)
      if first is None:
        raise InputError("No images were given to index.")
      manifest = storage.new_manifest(config, first[1].values.shape[1])
      storage.write_whitening(root, manifest, whitening)
      builder.write_segment(root, manifest, itertools.chain([first], images))
      generations.remove_all(root)
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
      manifest = builder.merge_shards(root)
      generations.remove_all(root)
      storage.commit(root, manifest)
    return cls.open(root)

  @classmethod
  def open(cls, directory: os.PathLike | str, *, verify: bool = False) -> "CannIndex":
    """Opens an index by memory map.

    Args:
      directory: where it is.
      verify: whether to compare every file's checksum, not only its size, also those of neighbour
        lists.

    Raises:
      InputError: there is no index, it is of another version, or a file of it is damaged; the
        message names the file.
    """
    root = pathlib.Path(directory)
    while True:
      manifest = storage.read_manifest(root)
      try:
        with damage_refused(f"The index in {root} is damaged; build it again."):
          return cls(root, manifest, verify=verify)
      except InputError:
        # A writer may have replaced what the manifest named since it was read, at any point.
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

  def remove(self, names: Iterable[str]) -> "CannIndex":
    """Removes images by name and returns the index as it is then; this one stays as it is.

    Raises:
      InputError: a name is not in the index, or names are one text; nothing is removed then.
    """
    if isinstance(names, str):
      raise InputError(f"Images are removed by a list of names, as in remove([{names!r}]).")
    wanted = set(names)
    unknown = wanted - set(self.names)
    if unknown:
      raise InputError(f"The index holds no image {min(unknown, key=str)!r} to remove.")
    with self._change() as manifest:
      for entry, segment in zip(manifest["segments"], self._segments, strict=True):
        entry["removed"] += [i for i in segment.present.tolist() if segment.names[i] in wanted]
    return CannIndex.open(self.directory)

  def compact(self) -> "CannIndex":
    """Builds the index anew of what was not removed, and returns it as it is then.

    Ids stay as they are, and the images know that they are the same: their neighbour lists stay.
    """
    images = ((name, self.codes(image)) for image, name in enumerate(self.names))
    with self._change() as manifest:
      manifest |= {"quantizer": None, "segments": []}
      builder.write_segment(self.directory, manifest, images)
      for entry in manifest["segments"]:
        entry["origins"] = self.origins
    return CannIndex.open(self.directory)

  def is_current(self) -> bool:
    """Whether no other process has changed or removed the index since it was opened."""
    root = self.directory
    return storage.exists(root) and storage.read_manifest(root) == self._manifest

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of one image by its id."""
    place = whole_number("An image needs an id", image, least=0, most=len(self.names) - 1)
    for segment in self._segments:
      if place < len(segment.present):
        return segment.descriptors[int(segment.present[place])]
      place -= len(segment.present)
    raise AssertionError(image)

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

    A scan estimates the similarities of the images that it reaches; the best of them, as many as
    the rescoring depth, are computed exactly. The result is in the order of the best that is known
    of each image: its exact similarity, or else, beyond that depth, the scan's, which is mostly a
    little lower. So an estimate may stand among the last of the exact ones, never above the best;
    an image whose exact similarity is 0 is left out, and takes no place.

    Args:
      query_descriptors: `[q, d]`, any norm; none gives an empty result.
      k: images wanted; more than there are pads.
      num_probes: instead of the setting; as many as there are cells reads them all.
      rescoring_depth: instead of the setting; as many as there are images, with all cells read,
        makes the result that of brute force.

    Returns:
      A `SearchResult` `[k]`: every image that was reached and has a similarity above 0, up to k.

    Raises:
      InputError: the shape does not fit, a value is not finite, k or num_probes is no whole number
        of at least 1, or rescoring_depth none of at least 0.
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

  def similarities(
    self, query_descriptors: np.ndarray, ids: Sequence[int] | np.ndarray
  ) -> np.ndarray:
    """Computes exact similarities.

    Args:
      query_descriptors: `[q, d]`, any norm.
      ids: `[n]` of images.

    Returns:
      `[n]` float32; all 0 where the query has no descriptors.

    Raises:
      InputError: the shape does not fit, a value is not finite, or ids are not a row of whole
        numbers from 0 to N - 1.
    """
    query = self._describe(query_descriptors, "the query")
    return self._rescore(query[: self.config.max_query_descriptors], self._checked_ids(ids))

  def similarities_from(
    self, images: Sequence[int] | np.ndarray, ids: Sequence[int] | np.ndarray
  ) -> np.ndarray:
    """Computes the exact similarities `[images, ids]` float32 of images of the index as queries."""
    queries = [self.codes(image)[: self.config.max_query_descriptors] for image in images]
    return scoring.exact_similarities(
      self._segments, self.config.kernel, queries, self._checked_ids(ids)
    )

  def search_codes(
    self,
    queries: Sequence[Codes],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> SearchResult:
    """Searches several queries that are quantised already, see `search_many`."""
    k = whole_number("A search needs k", k, least=1, most=_MOST_IMAGES)
    probes = self.default_probes if num_probes is None else num_probes
    probes = whole_number("A search needs num_probes", probes, least=1)
    depth = self.default_depth if rescoring_depth is None else rescoring_depth
    depth = whole_number("A search needs rescoring_depth", depth, least=0)
    ids = np.full((len(queries), k), -1, np.int32)
    similarities = np.zeros((len(queries), k), np.float32)
    for row, codes in enumerate(queries):
      query = codes[: self.config.max_query_descriptors]
      if not len(query) or not self.names:
        continue
      best, values = scoring.best_images(
        self._scan(query, probes),
        k,
        depth=depth,
        rescore=functools.partial(self._rescore, query),
      )
      ids[row, : len(best)], similarities[row, : len(best)] = best, values
    return SearchResult(ids, similarities)

  def neighbor_lists(
    self,
    k: int,
    *,
    rescoring_depth: int = lists.DEPTH,
    show_progress: bool = True,
    verify: bool = False,
  ) -> NeighborLists:
    """Finds the k nearest other images of every image, see `lists.make_lists`."""
    return lists.make_lists(
      self, k, rescoring_depth=rescoring_depth, show_progress=show_progress, verify=verify
    )

  def _describe(self, descriptors: np.ndarray, where: str) -> Codes:
    return storage.describe(descriptors, self.whitening, dimension=self.dimension, where=where)

  def _checked_ids(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
    values = np.asarray(ids)
    if not values.size:
      values = values.astype(np.int64)
    fits = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    if not fits or np.any((values < 0) | (values >= len(self.names))):
      raise InputError(f"Ids must be from 0 to {len(self.names) - 1}, whole numbers in one row.")
    return values

  def _scan(self, query: Codes, num_probes: int) -> np.ndarray:
    """Returns the similarities of a query that is not empty, by the scan, `[N]` float64."""
    cells, inner = self._cells.find(query, num_probes)
    packed = self._quantizer.packing
    bound = self.config.unreached == "bound"
    probes = scan.prepare(query, cells, inner, packed, self._table, bound=bound)
    sums = scoring.scan_images(self._segments, packed, probes, self._table)
    return sums / (len(query) * scan.UNIT)

  def _rescore(self, query: Codes, ids: np.ndarray) -> np.ndarray:
    return scoring.exact_similarities(self._segments, self.config.kernel, [query], ids)[0]

  @contextlib.contextmanager
  def _change(self) -> Iterator[storage.Manifest]:
    """Yields a copy of the manifest to alter, and commits it."""
    with storage.locked(self.directory):
      manifest = storage.read_manifest(self.directory)
      if manifest != self._manifest:
        raise InputError(f"The index in {self.directory} has changed; open it again.")
      yield manifest
      storage.commit(self.directory, manifest)

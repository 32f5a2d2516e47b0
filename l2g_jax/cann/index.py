"""The index as it is used: opened, changed and searched."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from l2g_jax import files
from l2g_jax.cann import scan, storage
from l2g_jax.cann.codec import Codes, decode, encode
from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.lists import NeighborLists, make_lists
from l2g_jax.cann.segment import image_codes, open_segment
from l2g_jax.errors import InputError

# Cosines of a chunk of query descriptors with every image that are in memory at a time.
_CHUNK_COSINES = 1 << 23


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """The best images of one query `[k]`, or of several `[Q, k]`.

  Attributes:
    ids: int32, positions in `CannIndex.names`, best first, ties by the smaller; -1 pads.
    similarities: float32 in [0, 1], descending; 0 pads. Images of similarity 0 are left out.
  """

  ids: np.ndarray
  similarities: np.ndarray


class CannIndex:
  """Colored nearest-neighbour index of local descriptors, opened for search.

  s(Q -> image) is the mean over the query's descriptors of f(the best cosine among the image's).
  Descriptors are normalised and quantised here; those of norm zero are left out, of images as of
  queries. Source: arXiv 2306.09012, by an inverted file instead of random grids.

  Attributes:
    directory: where it lies.
    dimension: d, of its descriptors.
    names: the N image names; ids are positions in it.
    config: the settings it was built with.
    state: identifies what the index holds, for caches of what was made from it.
  """

  def __init__(self, directory: pathlib.Path, manifest: storage.Manifest, *, verify: bool):
    self.directory = directory
    self.dimension: int = manifest["dimension"]
    self.config = CannConfig.from_json(manifest["config"])
    self.state = files.checksum_json(manifest)
    self._centroids = storage.load_centroids(directory, manifest, verify=verify)
    self._segments = []
    self._present = []  # the images of each segment that were not removed
    for entry in manifest["segments"]:
      segment = open_segment(directory / entry["name"], verify=verify)
      self._segments.append(segment)
      self._present.append(np.setdiff1d(np.arange(len(segment.names)), entry["removed"]))
    self.names = tuple(
      segment.names[image]
      for segment, present in zip(self._segments, self._present, strict=True)
      for image in present
    )

  @classmethod
  def build(
    cls,
    directory: os.PathLike | str,
    descriptors: Iterable[tuple[str, np.ndarray]],
    config: CannConfig = CannConfig(),
  ) -> "CannIndex":
    """Builds an index from a stream of images.

    Args:
      directory: where the index will be; none may be there.
      descriptors: (image name, `[count, d]`), any norm; read once, never held as a whole.
      config: the settings.

    Raises:
      InputError: an index is there; the stream is empty; descriptors have the wrong shape or are
        not finite; a name comes twice. No index is left then.
    """
    root = pathlib.Path(directory)
    with storage.locked(root):
      if storage.exists(root):
        raise InputError(f"There is an index in {root} already; remove it or add to it.")
      images = storage.encoded(descriptors, dimension=None, names=())
      storage.commit(root, storage.write_anew(root, images, config, serial=0))
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
    return cls(root, storage.read_manifest(root), verify=verify)

  def add(self, descriptors: Iterable[tuple[str, np.ndarray]]) -> "CannIndex":
    """Adds images and returns the index as it is then; this one stays as it is.

    Raises:
      InputError: as for `build`, or a name is in the index already; nothing is added then.
    """
    with self._change() as manifest:
      images = storage.encoded(descriptors, dimension=self.dimension, names=self.names)
      storage.append(self.directory, manifest, images, self._centroids)
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
      for entry, segment, present in zip(
        manifest["segments"], self._segments, self._present, strict=True
      ):
        entry["removed"] += [i for i in present.tolist() if segment.names[i] in wanted]
    return CannIndex.open(self.directory)

  def compact(self) -> "CannIndex":
    """Rewrites the index without what was removed, and returns it as it is then."""
    images = ((name, self.codes(image)) for image, name in enumerate(self.names))
    with self._change() as manifest:
      manifest |= storage.write_anew(self.directory, images, self.config, serial=manifest["serial"])
    return CannIndex.open(self.directory)

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of one image by its id."""
    for segment, present in zip(self._segments, self._present, strict=True):
      if image < len(present):
        return image_codes(segment, int(present[image]))
      image -= len(present)
    raise IndexError(image)

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
      encode(descriptors, dimension=self.dimension, where=f"query {number}")
      for number, descriptors in enumerate(queries)
    ]
    return self.search_codes(codes, k, num_probes=num_probes, rescoring_depth=rescoring_depth)

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
    most = self.config.max_query_descriptors
    queries = [Codes(codes.values[:most], codes.scales[:most]) for codes in queries]
    scores = self._scan(queries, num_probes or self.config.num_probes)
    depth = self.config.rescoring_depth if rescoring_depth is None else rescoring_depth
    ids = np.full((len(queries), k), -1, np.int32)
    similarities = np.zeros((len(queries), k), np.float32)
    for row, (query, approximate) in enumerate(zip(queries, scores, strict=True)):
      best = np.argsort(-approximate, kind="stable")
      exact = self._rescore(query, best[:depth])
      order = np.lexsort((best[:depth], -exact))
      best[:depth] = best[:depth][order]
      values = approximate[best].astype(np.float32)
      values[:depth] = exact[order]
      values = np.minimum.accumulate(values)[:k]
      found = int(np.sum(values > 0.0))
      ids[row, :found] = best[:found]
      similarities[row, :found] = values[:found]
    return SearchResult(ids, similarities)

  def neighbor_lists(
    self, k: int, *, rescoring_depth: int = 32, show_progress: bool = True
  ) -> NeighborLists:
    """Finds the k nearest other images of every image, see `lists.make_lists`."""
    return make_lists(self, k, rescoring_depth=rescoring_depth, show_progress=show_progress)

  def _scan(self, queries: Sequence[Codes], num_probes: int) -> np.ndarray:
    """Returns approximate similarities `[Q, N]` float64."""
    scores = np.zeros((len(queries), len(self.names)))
    if not self.names:
      return scores
    owners = np.repeat(np.arange(len(queries)), [len(codes) for codes in queries])
    values = np.concatenate([codes.values for codes in queries])
    scales = np.concatenate([codes.scales for codes in queries])
    chunk = max(1, _CHUNK_COSINES // max(len(segment.names) for segment in self._segments))
    for start in range(0, len(values), chunk):
      query = Codes(values[start : start + chunk], scales[start : start + chunk])
      cells, last = scan.nearest_cells(decode(query), self._centroids, num_probes)
      floor = last if self.config.unreached == "bound" else np.full_like(last, -np.inf)
      column = 0
      for segment, present in zip(self._segments, self._present, strict=True):
        worth = self._worth(scan.scan(segment, query, cells, floor))
        present_owners, firsts = np.unique(owners[start : start + chunk], return_index=True)
        sums = np.add.reduceat(worth, firsts, axis=0, dtype=np.float64)[:, present]
        scores[present_owners, column : column + sums.shape[1]] += sums
        column += sums.shape[1]
    counts = np.array([len(codes) for codes in queries])
    return scores / np.maximum(counts, 1)[:, None]

  def _rescore(self, query: Codes, ids: np.ndarray) -> np.ndarray:
    """Returns exact similarities `[len(ids)]` float32."""
    scores = np.zeros(len(ids), np.float32)
    if not len(query):
      return scores
    start = 0
    for segment, present in zip(self._segments, self._present, strict=True):
      here = np.flatnonzero((ids >= start) & (ids < start + len(present)))
      worth = self._worth(scan.rescore(segment, query, present[ids[here] - start]))
      scores[here] = worth.mean(axis=0, dtype=np.float64)
      start += len(present)
    return scores

  def _worth(self, cosines: np.ndarray) -> np.ndarray:
    """Applies the kernel; what is not met is worth nothing, by any kernel."""
    worth = self.config.kernel(cosines)
    worth[np.isneginf(cosines)] = 0.0
    return worth

  @contextlib.contextmanager
  def _change(self) -> Iterator[storage.Manifest]:
    """Yields a copy of the manifest to alter, and commits it."""
    with storage.locked(self.directory):
      manifest = storage.read_manifest(self.directory)
      if files.checksum_json(manifest) != self.state:
        raise InputError(f"The index in {self.directory} has changed; open it again.")
      yield manifest
      storage.commit(self.directory, manifest)

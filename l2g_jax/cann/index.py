"""The index as it is used: opened, changed and searched."""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from l2g_jax.cann import builder, lists, storage
from l2g_jax.cann.builder import ShardReport
from l2g_jax.cann.config import CannConfig, whole_number
from l2g_jax.cann.generations import Job
from l2g_jax.cann.lists import Searches
from l2g_jax.cann.scoring import Origins
from l2g_jax.cann.searcher import MOST_IMAGES, Searcher
from l2g_jax.errors import InputError, damage_refused
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import files
from l2g_jax.similarity.codec import Codes, encode


class CannIndex:
  """Colored nearest-neighbour index of local descriptors, opened for search.

  s(Q -> image) is the mean over the query's descriptors of f(the best cosine among the image's).
  The index takes descriptors as they are: it normalises and quantises them, and leaves out those of
  norm zero, of images as of queries. It never whitens: whoever describes images whitens those that
  are added and those that are searched alike, and the index keeps the whitening as a note for them.
  Source: arXiv 2306.09012, by an inverted file instead of random grids.

  Attributes:
    directory: where it lies.
    dimension: d, of its descriptors.
    config: the settings it was built with.
    whitening: a note for whoever describes images, never applied here: `mean` `[raw]` and
      `projection` `[raw, d]` of the whitening that its descriptors went through; None = no note.
    state: identifies what the index holds, by content, for caches of what was made from it.
    manifest_checksum: identifies its files by name alone; lists of version 1 are found by it.
  """

  def __init__(self, directory: pathlib.Path, manifest: storage.Manifest, *, verify: bool):
    self.directory = directory
    self.dimension: int = manifest["dimension"]
    self.config = CannConfig.from_json(manifest["config"])
    self.whitening: Mapping[str, np.ndarray] | None = storage.read_whitening(
      directory, manifest, verify=verify
    )
    self._manifest = manifest
    self._searcher = Searcher(directory, manifest, self.config, verify=verify)
    if verify:
      storage.verify_neighbors(directory)
    self.manifest_checksum = files.checksum_json(manifest)
    self.state = files.checksum_json([manifest, self.origins])

  @classmethod
  def build(
    cls,
    directory: os.PathLike | str,
    descriptors: Iterable[tuple[str, np.ndarray]],
    config: CannConfig = CannConfig(),
    *,
    whitening: Mapping[str, np.ndarray] | None = None,
  ) -> "CannIndex":
    """Builds an index from a stream of images.

    Args:
      directory: where the index will be: a folder that is new, empty, or has what an interrupted
        build left.
      descriptors: (image name, `[count, d]`), any norm, whitened already if they are to be; read
        once, never held as a whole.
      config: the settings.
      whitening: a note on the whitening that the descriptors went through, see `whitening` of the
        class; kept with the index and never applied. None = no note.

    Raises:
      InputError: an index or anything else is there; the stream is empty; descriptors have the
        wrong shape or are not finite; a name comes twice; the note is no whitening that makes
        descriptors of d dimensions. No index is left then.
    """
    root = pathlib.Path(directory)
    builder.build(root, descriptors, config, whitening)
    return cls.open(root)

  @classmethod
  def build_shard(
    cls,
    directory: os.PathLike | str,
    descriptors: Sequence[tuple[str, np.ndarray]],
    config: CannConfig = CannConfig(),
    *,
    whitening: Mapping[str, np.ndarray] | None = None,
    shard_index: int,
    num_shards: int,
  ) -> ShardReport:
    """Does one of several shares of what `build` does, at any time and on any machine.

    A share that was interrupted goes on where it stood. When all are done `merge_shards` makes the
    index, with the same bytes as `build` does.

    Args:
      directory: a folder that all shards share.
      descriptors: of all images, `(name, [count, d])` by number, whitened already if they are to
        be; only the shard's are read, and a sample of the others.
      config: the settings, the same in every shard.
      whitening: a note, see `build`. Shards agree on it up to what machines make of one sample; the
        index gets that of the first, which `shard_whitening` tells to the others.
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

  @staticmethod
  def shard_whitening(directory: os.PathLike | str) -> Mapping[str, np.ndarray] | None:
    """Returns the note of the first of the shards in a folder; None = no shards, or no note.

    Images of a further shard are whitened by it, so that all shards have the same descriptors to
    the last bit, even if another machine would learn a slightly different whitening.
    """
    return builder.read_shard_whitening(pathlib.Path(directory))

  @classmethod
  def merge_shards(cls, directory: os.PathLike | str) -> "CannIndex":
    """Makes the index of the shards, all of which must be done.

    Raises:
      InputError: an index is there, a shard is not done, or a name comes twice.
    """
    root = pathlib.Path(directory)
    builder.merge_shards(root)
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

    This object stays as it is. Cells stay as they were learned; once most images were added later,
    `compact` learns the cells anew.

    Args:
      descriptors: (image name, `[count, d]`), any norm, of the kind that `build` was given: if
        those were whitened, whitened by the same whitening, of which `whitening` is the note.

    Raises:
      InputError: as for `build`, or a name is in the index already; nothing is added then.
    """
    with self._change() as manifest:
      images = storage.encoded(descriptors, dimension=self.dimension, names=self.names)
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
      rows = self._searcher.rows_of(wanted)
      for entry, removed in zip(manifest["segments"], rows, strict=True):
        entry["removed"] += removed
    return CannIndex.open(self.directory)

  def compact(self) -> "CannIndex":
    """Builds the index anew of the images that were not removed, and returns it as it is then.

    Ids stay as they are. Images keep their origins, and with them their neighbour lists.
    Descriptors of `descriptor_bytes` are copied as they are, with the cells, unless the images are
    more than twice as many as the cells were learned from. Then both are learned anew, and what is
    decoded is rounded once more.
    """
    with self._change() as manifest:
      copied = len(self.names) <= 2 * manifest.get("learned_from", -1)
      manifest |= {"segments": []} if copied else {"segments": [], "quantizer": None}
      if copied:
        builder.copy_segment(self.directory, manifest, self._searcher.packed_images())
      else:
        images = ((name, self.codes(image)) for image, name in enumerate(self.names))
        builder.write_segment(self.directory, manifest, images)
      for entry in manifest["segments"]:
        entry["origins"] = self.origins
    return CannIndex.open(self.directory)

  def is_current(self) -> bool:
    """Whether no other process has changed or removed the index since it was opened."""
    root = self.directory
    return storage.exists(root) and storage.read_manifest(root) == self._manifest

  @property
  def names(self) -> tuple[str, ...]:
    """Returns the N image names; ids are positions in it."""
    return self._searcher.names

  @property
  def origins(self) -> Origins:
    """Tells which images these are, whatever their ids; for what is kept when the index changes."""
    return self._searcher.origins

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of one image by its id."""
    return self._searcher.codes(image)

  def counts(self) -> np.ndarray:
    """Returns the number of descriptors of every image, `[N]` int64."""
    return self._searcher.counts()

  @property
  def default_probes(self) -> int:
    """Cells that a search scans for each query descriptor, unless it says otherwise."""
    return self.config.reach(len(self.names)).num_probes

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
  ) -> Ranked:
    """Finds the images most similar to one query.

    A scan estimates the similarities of the images that it reaches; for the best of them, as many
    as the rescoring depth, they are computed exactly. Images are ordered by the exact similarity,
    or, beyond that depth, by the estimate; so an estimate may stand among the exact ones. An image
    whose exact similarity is 0 is left out.

    Args:
      query_descriptors: `[q, d]`, any norm, of the kind that the index was given: if those of its
        images were whitened, whitened by the same whitening. With q = 0 the result is empty.
      k: images wanted; more than there are pads.
      num_probes: instead of the setting; as many as there are cells reads them all.
      rescoring_depth: instead of the setting; as many as there are images, with all cells read,
        makes the result that of brute force.

    Returns:
      Every image that was reached and has a similarity above 0, up to k: ids `[k]` int32, ties by
      the smaller, and similarities `[k]` float32 in [0, 1], descending.

    Raises:
      InputError: the shape does not fit, a value is not finite, k or num_probes is no whole number
        of at least 1, or rescoring_depth none of at least 0.
    """
    ids, similarities = self.search_many(
      [query_descriptors], k, num_probes=num_probes, rescoring_depth=rescoring_depth
    )
    return Ranked(ids[0], similarities[0])

  def search_many(
    self,
    queries: Sequence[np.ndarray],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> Ranked:
    """Finds the images `[Q, k]` most similar to each of Q queries, see `search`."""
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
  ) -> Ranked:
    """Searches several queries that are quantised already, see `search_many`."""
    reach = self.config.reach(len(self.names), num_probes, rescoring_depth)
    return self._searcher.search(queries, k, reach)

  def search_images(
    self, images: Sequence[int] | np.ndarray, k: int, rescoring_depth: int = lists.DEPTH
  ) -> Ranked:
    """Finds the images `[n, k]` most similar to images of the index, themselves among them.

    This is how neighbour lists are made: of fewer cells than a search reads, since near images
    matter, and with the settings' `num_probes` where it is set.

    Args:
      images: `[n]` ids.
      k: images wanted, see `search`.
      rescoring_depth: so many of the first are sure to have exact similarities.

    Raises:
      InputError: an id is not one of 0 to N - 1, or a number does not fit, see `search`.
    """
    reach = self.config.list_reach(len(self.names), rescoring_depth)
    return self._searcher.search([self.codes(image) for image in images], k, reach)

  def share(self, start: int, stop: int) -> Searcher:
    """Returns what searches the images from `start` to before `stop`, see `shares`.

    Raises:
      InputError: there are no such images.
    """
    num_images = len(self.names)
    if not 0 <= start < stop <= num_images:
      raise InputError(f"Images {start} to {stop} are no share of the {num_images} of the index.")
    return self._searcher.cut(start, stop)

  def similarities(
    self, query_descriptors: np.ndarray, ids: Sequence[int] | np.ndarray
  ) -> np.ndarray:
    """Computes exact similarities.

    Args:
      query_descriptors: `[q, d]`, see `search`.
      ids: `[n]` of images.

    Returns:
      `[n]` float32; all 0 where the query has no descriptors.

    Raises:
      InputError: the shape does not fit, a value is not finite, or ids are not a row of whole
        numbers from 0 to N - 1.
    """
    query = encode(query_descriptors, dimension=self.dimension, where="the query")
    return self._searcher.similarities([query], ids)[0]

  def similarities_from(
    self, images: Sequence[int] | np.ndarray, ids: Sequence[int] | np.ndarray
  ) -> np.ndarray:
    """Computes the exact similarities `[images, ids]` float32 of images of the index as queries."""
    return self._searcher.similarities([self.codes(image) for image in images], ids)

  def neighbor_lists(
    self,
    k: int,
    *,
    rescoring_depth: int = lists.DEPTH,
    show_progress: bool = True,
    verify: bool = False,
  ) -> Ranked:
    """Opens the k nearest other images of every image, or finds them, see `lists.make_lists`.

    Args:
      k: neighbours of an image; the image itself is left out.
      rescoring_depth: neighbours whose similarity is exact, see `search`; a re-ranking needs as
        many as it takes for known, and more take longer.
      show_progress: whether to show a bar.
      verify: whether to compare the checksums of lists that are there, not only their sizes.

    Returns:
      The neighbours `[N, k]`, ids int32 and similarities float32 as in `search`; memory-mapped.

    Raises:
      InputError: k is no whole number of at least 1, or rescoring_depth none of at least 0.
    """
    job = self._list_job(k, rescoring_depth)
    return lists.make_lists(job, self._searches(), show_progress=show_progress, verify=verify)

  def list_shard(
    self,
    k: int,
    *,
    rescoring_depth: int = lists.DEPTH,
    shard_index: int,
    num_shards: int,
    show_progress: bool = True,
  ) -> int:
    """Does one of several shares of what `neighbor_lists` does, see `lists.make_shard`.

    Args:
      k: see `neighbor_lists`.
      rescoring_depth: see `neighbor_lists`.
      shard_index: which share, from 0.
      num_shards: of how many.
      show_progress: whether to show a bar.

    Returns:
      How many parts of other shards are not there yet.

    Raises:
      InputError: see `neighbor_lists`; or there is no such shard.
    """
    return lists.make_shard(
      self._list_job(k, rescoring_depth),
      self._searches(),
      shard_index=shard_index,
      num_shards=num_shards,
      show_progress=show_progress,
    )

  def _list_job(self, k: int, rescoring_depth: int) -> Job:
    return Job(
      directory=self.directory,
      state=self.state,
      manifest_checksum=self.manifest_checksum,
      config=self.config.to_json(),
      origins=self.origins,
      # An image is searched for one more, itself.
      k=whole_number("Neighbour lists need k", k, least=1, most=MOST_IMAGES - 1),
      depth=whole_number("Neighbour lists need rescoring_depth", rescoring_depth, least=0),
    )

  def _searches(self) -> Searches:
    return Searches(
      search=self.search_images, compare=self.similarities_from, is_current=self.is_current
    )

  @contextlib.contextmanager
  def _change(self) -> Iterator[storage.Manifest]:
    """Yields a copy of the manifest to alter, and commits it."""
    with storage.locked(self.directory):
      manifest = storage.read_manifest(self.directory)
      if manifest != self._manifest:
        raise InputError(f"The index in {self.directory} has changed; open it again.")
      yield manifest
      storage.commit(self.directory, manifest)

"""The stages of one kind of local features before any query: features, index, VLAD, lists.

Each stage lies in the work directory under a name that encodes its settings, and is made only if it
is missing. One process at a time changes a collection. Others use the collection as it was, or wait
if they need the new one.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.features.aggregate import Vlad
from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import background_ids
from l2g_jax.retriever import following, sources, vocabulary
from l2g_jax.retriever.members import (
  read_members,
  remove_earlier,
  remove_earlier_features,
  write_members,
)
from l2g_jax.retriever.options import KindOptions
from l2g_jax.retriever.sources import short_key
from l2g_jax.runtime import files
from l2g_jax.runtime.stopwatch import Stopwatch
from l2g_jax.similarity.codec import Codes


@dataclasses.dataclass(frozen=True)
class Kind:
  """A collection of N images as one kind of local features sees it.

  Attributes:
    options: the settings it was made with.
    index: the local descriptors.
    lists: `[N, L]`, the neighbours of every image.
    vlad: the aggregation of these features, and with it the images' global features `[N, D]`
      float32; None where the settings have others.
    failures: the images that could not be used, each with the reason.
    keys: of the images in the index, by name: they change where an image does.
    names: of the images; ids here are positions in it. They may have come to the index in another
      order.
  """

  options: KindOptions
  index: CannIndex
  lists: Ranked
  vlad: tuple[Vlad, np.ndarray] | None
  failures: Mapping[str, str]
  keys: Mapping[str, str]
  names: tuple[str, ...]

  @functools.cached_property
  def _ids(self) -> np.ndarray:
    """The ids `[N + 1]` of the images in the order of the index; padding, -1, stays -1."""
    ids = {name: number for number, name in enumerate(self.names)}
    return np.array([*(ids[name] for name in self.index.names), -1], np.int32)

  @functools.cached_property
  def _rows(self) -> np.ndarray:
    """The rows `[N]` of the images in the index."""
    return np.argsort(self._ids[:-1])

  def counts(self) -> np.ndarray:
    """Returns how many local descriptors each image has, `[N]`."""
    return self.index.counts()[self._rows]

  def codes(self, image: int) -> Codes:
    """Returns the stored descriptors of an image."""
    return self.index.codes(int(self._rows[image]))

  def search(self, queries: Sequence[np.ndarray], k: int) -> Ranked:
    """Searches with the settings of the options; returns the best images `[Q, k]`."""
    settings = self.options.index
    found = self.index.search_many(
      queries, k, num_probes=settings.num_probes, rescoring_depth=settings.rescoring_depth
    )
    return Ranked(self._ids[found.ids], found.similarities)

  def similarities(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Computes the exact similarities of a query's descriptors to images, `[len(ids)]`."""
    return self.index.similarities(query, self._rows[ids])

  def background(self, query: np.ndarray, found: Ranked) -> float:
    """Returns the mean similarity of unrelated images to a query that found `[k]` images."""
    ids = background_ids(found.ids)
    return float(np.mean(self.similarities(query, ids))) if len(ids) else 0.0

  def list_backgrounds(self, images: Sequence[int]) -> np.ndarray:
    """Returns the mean similarities of unrelated images to some images, by their lists.

    What a list says of its worse half is not exact.
    """
    values = np.zeros(len(images))
    for number, image in enumerate(images):
      ids = self._rows[background_ids(np.asarray(self.lists.ids[image]))]
      if len(ids):
        values[number] = np.mean(self.index.similarities_from([int(self._rows[image])], ids))
    return values

  def renamed(self, names: tuple[str, ...]) -> "Kind":
    """Returns the same with the images in another order."""
    if names == self.names:
      return self
    numbers = {name: number for number, name in enumerate(self.names)}
    rows = np.array([numbers[name] for name in names])
    ids = np.append(np.argsort(rows), -1).astype(np.int32)
    lists = Ranked(ids[self.lists.ids[rows]], self.lists.similarities[rows])
    vlad = None if self.vlad is None else (self.vlad[0], self.vlad[1][rows])
    return dataclasses.replace(self, names=names, lists=lists, vlad=vlad)


def prepare_kind(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: KindOptions,
  watch: Stopwatch,
  *,
  on_error: OnError,
  in_order: bool,
  verify: bool,
  more_follow: bool,
) -> Kind:
  """Makes the stages of one kind of features, or opens them if they are there.

  Args:
    jobs: the images.
    directory: the folder for everything that is made of the collection.
    options: the settings.
    watch: takes the seconds of the stages.
    on_error: see `extract_local`.
    in_order: whether ids are in the order of the images, and the result is as if it was just built.
    verify: whether the checksums of existing files are compared, not only their sizes.
    more_follow: see `sources.local_features`.

  Raises:
    InputError: an image or a file can't be used, or none of the images has local features.
  """
  root = _root(directory, options)
  length = min(options.num_candidates, max(1, len(jobs) - 1))
  with watch.measure("local features"):
    keys = sources.local_keys(jobs, directory, options.local)
  wanted = {job.name: key for job, key in zip(jobs, keys, strict=True)}
  kind = None
  # Only under the lock can damage be told from a change that another process makes.
  if not verify:
    with watch.measure("index"):
      kind = _open(root, wanted, length, options, in_order=in_order)
  kept = True
  if kind is None:
    notice = f"Another process is making {root}; waiting until it is done."
    with files.locked(root, refusal=None, notice=notice):
      if not verify:
        kind = _open(root, wanted, length, options, in_order=in_order)
      kept = kind is not None
      if kind is None:
        kind = _make(
          jobs,
          directory,
          root,
          length,
          options,
          watch,
          on_error=on_error,
          in_order=in_order,
          verify=verify,
          more_follow=more_follow,
        )
  stages = ["local features", "index", "neighbour lists"]
  for stage in [*stages, "whitening and global features"] if options.has_vlad else stages:
    watch.tell_kept(stage, kept=kept)
  return kind


def known_names(directory: pathlib.Path, options: KindOptions) -> frozenset[str]:
  """Returns the images that the index of a kind of features holds for certain."""
  return frozenset(read_members(_root(directory, options)).keys)


def _root(directory: pathlib.Path, options: KindOptions) -> pathlib.Path:
  return directory / f"collection-{_settings_key(options)}"


def _settings_key(options: KindOptions) -> str:
  """Returns a name for everything that is made with these settings, from any images."""
  return short_key(
    sources.local_settings(options.local),
    options.whiten,
    options.seed,
    _index_config(options).to_json(),
  )


def _index_config(options: KindOptions) -> CannConfig:
  """Returns the settings that an index is built with, without those of its searches."""
  return dataclasses.replace(options.index, num_probes=None, rescoring_depth=None)


def _open(
  root: pathlib.Path,
  wanted: Mapping[str, str],
  length: int,
  options: KindOptions,
  *,
  in_order: bool,
) -> Kind | None:
  """Opens the stages of exactly these images; None if they are missing or being changed."""
  members = read_members(root)
  if members.keys != wanted or members.state is None or length not in members.list_lengths:
    return None
  try:
    index = following.open_index(root, members)
    if index is None or index.state != members.state:
      return None
    if in_order and index.names != tuple(wanted):
      return None
    vlad = None
    if options.has_vlad:
      vlad = vocabulary.open_vlad(root, members, index.names)
      if vlad is None:
        return None
    lists = index.neighbor_lists(length, show_progress=False)
  except (InputError, OSError):
    # Another process is replacing it, or it is damaged, which shows under the lock.
    return None
  for name, reason in members.failures.items():
    print(f"Left without features. {printable(name)}: {printable(reason)}")
  return Kind(options, index, lists, vlad, members.failures, members.keys, index.names)


def _make(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  root: pathlib.Path,
  length: int,
  options: KindOptions,
  watch: Stopwatch,
  *,
  on_error: OnError,
  in_order: bool,
  verify: bool,
  more_follow: bool,
) -> Kind:
  """Makes the missing stages; the caller holds the lock."""
  with watch.measure("local features"):
    store = sources.local_features(
      jobs,
      directory,
      "database",
      options.local,
      crop_policy=options.crop_policy,
      on_error=on_error,
      verify=verify,
      more_follow=more_follow,
    )
  if not store.counts().any():
    raise InputError("None of the images has local features, so there is no index to search.")
  with watch.measure("index"):
    index, members = following.update_index(
      root,
      read_members(root),
      store,
      _index_config(options),
      whiten=options.whiten,
      seed=options.seed,
      in_order=in_order,
      verify=verify,
    )
  vlad = None
  if options.has_vlad:
    with watch.measure("whitening and global features"):
      vlad = vocabulary.update_vlad(root, members, index, store, seed=options.seed, verify=verify)
  with watch.measure("neighbour lists"):
    lists = index.neighbor_lists(length, verify=verify)
  lengths = tuple(sorted({*members.list_lengths, length}))
  if lengths != members.list_lengths:
    write_members(root, dataclasses.replace(members, list_lengths=lengths))
    remove_earlier(directory, _index_config(options), whiten=options.whiten)
    if options.is_extracted:
      remove_earlier_features(directory)
  return Kind(options, index, lists, vlad, store.failures, members.keys, index.names)

"""The stages before any query: features, whitening, global vectors, index, neighbour lists.

Each stage lies in the work directory under a name that encodes its settings, and is made only if it
is missing. One process at a time changes a collection. Others use the collection as it was, or wait
if they need the new one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.features.aggregate import Vlad, apply_vlad
from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.features.whitening import Whitening, normalize_rows
from l2g_jax.ranked import Ranked
from l2g_jax.retriever import following, sources, vocabulary
from l2g_jax.retriever.members import (
  read_members,
  remove_earlier,
  remove_earlier_features,
  write_members,
)
from l2g_jax.retriever.options import StageOptions
from l2g_jax.retriever.sources import short_key
from l2g_jax.runtime import files
from l2g_jax.runtime.stopwatch import Stopwatch


@dataclasses.dataclass(frozen=True)
class Collection:
  """A collection that is ready for queries.

  Attributes:
    index: the local descriptors of its N images; everything here is in the order of `index.names`.
    lists: `[N, L]`, the neighbours of every image.
    global_features: `[N, D]` float32.
    failures: the images that could not be used, each with the reason.
    options: the settings it was made with.
    directory: the folder of everything that was made of it.
    vlad: the aggregation behind `global_features`; None if these came from elsewhere.
  """

  index: CannIndex
  lists: Ranked
  global_features: np.ndarray
  failures: Mapping[str, str]
  options: StageOptions
  directory: pathlib.Path
  vlad: Vlad | None

  def search(self, queries: Sequence[np.ndarray], k: int) -> Ranked:
    """Searches the index with the settings of the options; returns the best images `[Q, k]`."""
    return self.index.search_many(
      queries,
      k,
      num_probes=self.options.index.num_probes,
      rescoring_depth=self.options.index.rescoring_depth,
    )


@dataclasses.dataclass(frozen=True)
class Queries:
  """Described queries.

  Attributes:
    descriptors: of Q queries, each `[count, d]` float32, as the index takes them: whitened where
      its images are.
    global_features: `[Q, D]` float32.
  """

  descriptors: Sequence[np.ndarray]
  global_features: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Stages:
  """The stages that depend on the settings of the index."""

  index: CannIndex
  lists: Ranked
  vlad: tuple[Vlad, np.ndarray] | None
  failures: Mapping[str, str]


def prepare(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError = "raise",
  verify: bool = False,
) -> Collection:
  """Makes a collection ready for queries, or opens it if it is ready.

  Ids are in the order of the images. The result does not depend on earlier states of the
  collection: if an image changed, all stages are made anew and then replace the old ones.

  Args:
    jobs: its images.
    directory: the folder for everything that is made of it.
    options: the settings.
    watch: takes the seconds of the stages.
    on_error: see `extract_local`.
    verify: whether the checksums of existing files are compared, not only their sizes.

  Raises:
    InputError: an image or a file can't be used, or none of the images has local features.
  """
  return _prepare(jobs, directory, options, watch, on_error=on_error, in_order=True, verify=verify)


def follow(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError = "empty",
  verify: bool = False,
) -> Collection:
  """Makes a collection ready for queries that changes now and then; see `prepare`.

  New images are added to the index, and images that are gone are removed from it. Ids are in the
  order of `index.names`, not of the images. After changes to more than a quarter of the images the
  index is compacted; after changes to more than half, everything is learned anew.
  """
  return _prepare(jobs, directory, options, watch, on_error=on_error, in_order=False, verify=verify)


def _prepare(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError,
  in_order: bool,
  verify: bool,
) -> Collection:
  root = directory / f"collection-{_settings_key(options)}"
  length = min(options.num_candidates, max(1, len(jobs) - 1))
  with watch.measure("local features"):
    keys = sources.local_keys(jobs, directory, options.features.local)
  wanted = {job.name: key for job, key in zip(jobs, keys, strict=True)}
  stages = None
  # Only under the lock can damage be told from a change that another process makes.
  if not verify:
    with watch.measure("index"):
      stages = _open_stages(root, wanted, length, options, in_order=in_order)
  if stages is None:
    notice = f"Another process is making {root}; waiting until it is done."
    with files.locked(root, refusal=None, notice=notice):
      if not verify:
        stages = _open_stages(root, wanted, length, options, in_order=in_order)
      if stages is None:
        stages = _make_stages(
          jobs,
          directory,
          root,
          length,
          options,
          watch,
          on_error=on_error,
          in_order=in_order,
          verify=verify,
        )
  vlad, global_features = None, None
  if stages.vlad is not None:
    vlad, global_features = stages.vlad
  else:
    assert options.features.global_features is not None
    with watch.measure("whitening and global features"):
      given = sources.global_features(
        jobs,
        directory,
        "database",
        options.features.global_features,
        crop_policy=options.features.crop_policy,
        on_error=on_error,
        verify=verify,
      )
      global_features = _in_order(given, [job.name for job in jobs], stages.index.names)
  return Collection(
    index=stages.index,
    lists=stages.lists,
    global_features=global_features,
    failures=stages.failures,
    options=options,
    directory=directory,
    vlad=vlad,
  )


def describe_queries(collection: Collection, jobs: Sequence[ImageJob], watch: Stopwatch) -> Queries:
  """Describes the queries of a data set like its collection, and keeps their features.

  Raises:
    InputError: an image can't be used, or given features do not fit.
  """
  options = collection.options
  with watch.measure("local features"):
    store = sources.local_features(
      jobs,
      collection.directory,
      "queries",
      options.features.local,
      crop_policy=options.features.crop_policy,
    )
  learned = Whitening.from_note(collection.index.whitening)
  with watch.measure("whitening and global features"):
    descriptors = [vocabulary.described(learned, values) for _, values in store]
    if collection.vlad is not None:
      return Queries(descriptors, _aggregate(collection, descriptors))
    assert options.features.global_features is not None
    global_features = sources.global_features(
      jobs,
      collection.directory,
      "queries",
      options.features.global_features,
      crop_policy=options.features.crop_policy,
    )
  return Queries(descriptors, global_features)


def describe_query(collection: Collection, job: ImageJob, watch: Stopwatch) -> Queries:
  """Describes one photograph like a collection, and keeps none of its features.

  Raises:
    InputError: the image can't be used, or given features do not fit.
  """
  options = collection.options
  with watch.measure("local features"):
    descriptors = sources.describe_local(
      job, collection.directory, options.features.local, crop_policy=options.features.crop_policy
    )
  learned = Whitening.from_note(collection.index.whitening)
  with watch.measure("whitening and global features"):
    descriptors = vocabulary.described(learned, descriptors)
    if collection.vlad is not None:
      return Queries([descriptors], _aggregate(collection, [descriptors]))
    assert options.features.global_features is not None
    global_features = sources.describe_global(
      job,
      collection.directory,
      options.features.global_features,
      crop_policy=options.features.crop_policy,
    )
  return Queries([descriptors], global_features)


def _settings_key(options: StageOptions) -> str:
  """Returns a name for everything that is made with these settings, from any images."""
  return short_key(
    sources.local_settings(options.features.local),
    options.features.whitens,
    options.seed,
    _index_config(options).to_json(),
  )


def _index_config(options: StageOptions) -> CannConfig:
  """Returns the settings that an index is built with, without those of its searches."""
  return dataclasses.replace(options.index, num_probes=None, rescoring_depth=None)


def _open_stages(
  root: pathlib.Path,
  wanted: Mapping[str, str],
  length: int,
  options: StageOptions,
  *,
  in_order: bool,
) -> _Stages | None:
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
    if options.features.global_features is None:
      vlad = vocabulary.open_vlad(root, members, index.names)
      if vlad is None:
        return None
    lists = index.neighbor_lists(length, show_progress=False)
  except (InputError, OSError):
    # Another process is replacing it, or it is damaged, which shows under the lock.
    return None
  for name, reason in members.failures.items():
    print(f"Left without features. {printable(name)}: {printable(reason)}")
  return _Stages(index, lists, vlad, members.failures)


def _make_stages(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  root: pathlib.Path,
  length: int,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError,
  in_order: bool,
  verify: bool,
) -> _Stages:
  """Makes the missing stages; the caller holds the lock."""
  with watch.measure("local features"):
    store = sources.local_features(
      jobs,
      directory,
      "database",
      options.features.local,
      crop_policy=options.features.crop_policy,
      on_error=on_error,
      verify=verify,
    )
  if not store.counts().any():
    raise InputError("None of the images has local features, so there is no index to search.")
  with watch.measure("index"):
    index, members = following.update_index(
      root,
      read_members(root),
      store,
      _index_config(options),
      whiten=options.features.whitens,
      seed=options.seed,
      in_order=in_order,
      verify=verify,
    )
  vlad = None
  if options.features.global_features is None:
    with watch.measure("whitening and global features"):
      vlad = vocabulary.update_vlad(root, members, index, store, seed=options.seed, verify=verify)
  with watch.measure("neighbour lists"):
    lists = index.neighbor_lists(length, verify=verify)
  lengths = tuple(sorted({*members.list_lengths, length}))
  if lengths != members.list_lengths:
    write_members(root, dataclasses.replace(members, list_lengths=lengths))
    remove_earlier(directory, _index_config(options), whiten=options.features.whitens)
    if isinstance(options.features.local, LocalExtractor) and not isinstance(
      options.features.global_features, pathlib.Path
    ):
      remove_earlier_features(directory)
  return _Stages(index, lists, vlad, store.failures)


def _in_order(features: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
  """Returns rows `[N, D]` in the order of other names."""
  if list(names) == list(wanted):
    return features
  rows = {name: row for row, name in enumerate(names)}
  return features[[rows[name] for name in wanted]]


def _aggregate(collection: Collection, descriptors: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the queries' VLAD, `[Q, D]`, of descriptors as the index takes them."""
  assert collection.vlad is not None
  if collection.index.whitening is None:
    descriptors = [normalize_rows(values) for values in descriptors]
  return apply_vlad(collection.vlad, descriptors)

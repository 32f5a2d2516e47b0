"""What is made of a collection before any query: features, whitening, global vectors, index, lists.

Every stage lies in the work directory under a name that says what made it, and is made only where
it is not there.
"""

import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.stopwatch import Stopwatch
from l2g_jax import cann, files
from l2g_jax.cann import CannConfig, CannIndex, NeighborLists
from l2g_jax.data.images import CropPolicy
from l2g_jax.data.store import FeatureStore, open_store
from l2g_jax.errors import InputError
from l2g_jax.features import aggregate, whitening
from l2g_jax.features.extraction import ImageJob, OnError, extract_local
from l2g_jax.features.protocol import LocalExtractor

_WHITENING_SAMPLE = 200_000
_VOCABULARY_SAMPLE = 100_000
_FEATURES_KIND = "l2g_jax.experiments.global_features"


@dataclasses.dataclass(frozen=True)
class StageOptions:
  """How the stages are made.

  Attributes:
    local: what extracts local features; or a folder with feature stores `database` and `queries`.
    global_features: `vlad`, or a .npz file with `queries` `[Q, D]` and `database` `[N, D]`.
    whiten: whether local descriptors are whitened, by a whitening learned from the collection.
    crop_policy: how a query's box becomes a crop.
    index: settings of the index.
    list_length: L, neighbours that are stored of every image, if there are as many.
    seed: of every sample and start.
  """

  local: LocalExtractor | pathlib.Path
  global_features: str
  whiten: bool
  crop_policy: CropPolicy
  index: CannConfig
  list_length: int
  seed: int


@dataclasses.dataclass(frozen=True)
class Collection:
  """A collection that is ready for queries.

  Attributes:
    index: its N images' local descriptors.
    lists: their neighbours.
    global_features: `[N, D]` float32.
    options: how it was made.
    directory: where it lies.
    local_whitening: of local descriptors; None = they are used as they are.
    vlad: the aggregation behind `global_features`; None where those were given.
  """

  index: CannIndex
  lists: NeighborLists
  global_features: np.ndarray
  options: StageOptions
  directory: pathlib.Path
  local_whitening: whitening.Whitening | None
  vlad: aggregate.Vlad | None


@dataclasses.dataclass(frozen=True)
class Queries:
  """Described queries.

  Attributes:
    descriptors: of Q queries, each `[count, d]` float32.
    global_features: `[Q, D]` float32.
  """

  descriptors: Sequence[np.ndarray]
  global_features: np.ndarray


def prepare(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError = "raise",
) -> Collection:
  """Makes a collection ready for queries, or opens what was made before.

  Args:
    jobs: its images.
    directory: where everything made of it lies.
    options: how to make it.
    watch: takes the seconds of the stages.
    on_error: see `extract_local`.

  Raises:
    InputError: an image or a file can't be used, or none of the images has local features.
  """
  with watch.measure("local features"):
    store = _local_features(jobs, directory, "database", options, on_error=on_error)
  if not store.counts().any():
    raise InputError("None of the images has local features: nothing can be searched.")
  with watch.measure("whitening and global features"):
    local_whitening = _local_whitening(store, directory, options) if options.whiten else None
    if options.global_features == "vlad":
      vlad, global_features = _vlad(store, local_whitening, directory, options)
    else:
      vlad = None
      global_features = _given_features(options.global_features, "database", len(jobs))
  with watch.measure("index"):
    key = _key(store.key, options.whiten, options.seed, options.index.to_json())
    path = directory / f"index-{key}"
    if cann.exists(path):
      index = CannIndex.open(path)
    else:
      images = ((name, _whitened(local_whitening, values)) for name, values in store)
      index = CannIndex.build(path, images, options.index)
  with watch.measure("neighbour lists"):
    lists = index.neighbor_lists(min(options.list_length, max(1, len(jobs) - 1)))
  return Collection(
    index=index,
    lists=lists,
    global_features=global_features,
    options=options,
    directory=directory,
    local_whitening=local_whitening,
    vlad=vlad,
  )


def describe_queries(collection: Collection, jobs: Sequence[ImageJob], watch: Stopwatch) -> Queries:
  """Describes queries as the collection was described.

  Raises:
    InputError: an image can't be used, or given features do not fit.
  """
  options = collection.options
  with watch.measure("local features"):
    store = _local_features(jobs, collection.directory, "queries", options)
  descriptors = [_whitened(collection.local_whitening, values) for _, values in store]
  if collection.vlad is not None:
    with watch.measure("whitening and global features"):
      global_features = aggregate.apply_vlad(collection.vlad, descriptors)
  else:
    global_features = _given_features(options.global_features, "queries", len(jobs))
  return Queries(descriptors, global_features)


def _local_features(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  part: str,
  options: StageOptions,
  on_error: OnError = "raise",
) -> FeatureStore:
  if isinstance(options.local, pathlib.Path):
    store = open_store(options.local / part)
    wanted = tuple(job.name for job in jobs)
    if store.names != wanted:
      missing = next((name for name in wanted if name not in set(store.names)), None)
      what = "has not the same order" if missing is None else f"lacks {missing!r}"
      raise InputError(f"The feature store {options.local / part} does not fit: it {what}.")
    for name, values in store:
      if not np.all(np.isfinite(values)):
        raise InputError(f"The descriptors of {name!r} in {options.local / part} are not finite.")
    return store
  key = _key(dict(options.local.settings))
  return extract_local(
    jobs,
    options.local,
    directory / f"{options.local.name}-{key}" / part,
    crop_policy=options.crop_policy,
    on_error=on_error,
  )


def _local_whitening(
  store: FeatureStore, directory: pathlib.Path, options: StageOptions
) -> whitening.Whitening:
  path = directory / f"whitening-{_key(store.key, options.seed)}"
  if not path.is_dir():
    sample = store.sample_descriptors(_WHITENING_SAMPLE, seed=options.seed)
    whitening.save_whitening(path, whitening.fit_whitening(sample))
  return whitening.load_whitening(path)


def _whitened(local_whitening: whitening.Whitening | None, values: np.ndarray) -> np.ndarray:
  if local_whitening is None:
    return whitening.normalize_rows(values)
  return whitening.apply_whitening(local_whitening, values)


def _vlad(
  store: FeatureStore,
  local_whitening: whitening.Whitening | None,
  directory: pathlib.Path,
  options: StageOptions,
) -> tuple[aggregate.Vlad, np.ndarray]:
  """Returns the aggregation and the database's global features."""
  key = _key(store.key, options.whiten, options.seed)
  vlad_path, features_path = directory / f"vlad-{key}", directory / f"global-{key}"
  if not (vlad_path.is_dir() and features_path.is_dir()):
    sample = store.sample_descriptors(_VOCABULARY_SAMPLE, seed=options.seed)
    vlad, features = aggregate.fit_vlad(
      _whitened(local_whitening, sample),
      (_whitened(local_whitening, values) for _, values in store),
      seed=options.seed,
    )
    aggregate.save_vlad(vlad_path, vlad)
    files.save_bundle(
      features_path, kind=_FEATURES_KIND, version=1, arrays={"database": features}, metadata={}
    )
  features = files.load_bundle(features_path, kind=_FEATURES_KIND, version=1).arrays["database"]
  return aggregate.load_vlad(vlad_path), features


def _given_features(path: str, part: str, count: int) -> np.ndarray:
  """Reads global features from a .npz file."""
  if not pathlib.Path(path).is_file():
    raise InputError(f"There is no file {path} with global features.")
  try:
    with np.load(path, allow_pickle=False) as arrays:
      features = np.asarray(arrays[part], np.float32)
  except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} is not a .npz file with an array {part!r}: {error}.") from error
  if features.ndim != 2 or len(features) != count:
    raise InputError(f"{part} in {path} must be [{count}, D], not {features.shape}.")
  return features


def _key(*values: Any) -> str:
  """Returns a short name for what was made from these JSON values."""
  return files.checksum_json(list(values))[:16]

"""What is made of a collection before any query: features, whitening, global vectors, index, lists.

Every stage lies in the work directory under a name that says what made it, and is made only where
it is not there.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments import sources
from experiments.sources import LocalFiles, short_key
from experiments.stopwatch import Stopwatch
from l2g_jax import cann, files, settings
from l2g_jax.cann import CannConfig, CannIndex, NeighborLists
from l2g_jax.data.images import CropPolicy
from l2g_jax.data.store import FeatureStore
from l2g_jax.errors import InputError
from l2g_jax.features import aggregate, whitening
from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor

WHITENING_SAMPLE = 200_000
_VOCABULARY_SAMPLE = 100_000
_FEATURES_KIND = "l2g_jax.experiments.global_features"


@dataclasses.dataclass(frozen=True)
class StageOptions:
  """How the stages are made.

  Attributes:
    local: what extracts local features, or the files that have them.
    global_features: what extracts them; a file or folder, see `read_global`; None = VLAD of the
      local ones.
    whiten: whether local descriptors are whitened, by a whitening learned from the collection.
    crop_policy: how a query's box becomes a crop; None = as each extractor's.
    index: settings of the index.
    list_length: L, neighbours that are stored of every image, if there are as many.
    seed: of every sample and start.
  """

  local: LocalExtractor | LocalFiles
  global_features: GlobalExtractor | pathlib.Path | None
  whiten: bool
  crop_policy: CropPolicy | None
  index: CannConfig
  list_length: int
  seed: int

  def __post_init__(self):
    settings.integer("list_length", self.list_length, least=1)
    settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class Collection:
  """A collection that is ready for queries.

  Attributes:
    index: its N images' local descriptors.
    lists: their neighbours.
    global_features: `[N, D]` float32.
    options: how it was made.
    directory: where it lies.
    vlad: the aggregation behind `global_features`; None where those were given.
  """

  index: CannIndex
  lists: NeighborLists
  global_features: np.ndarray
  options: StageOptions
  directory: pathlib.Path
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
    store = sources.local_features(
      jobs,
      directory,
      "database",
      options.local,
      crop_policy=options.crop_policy,
      on_error=on_error,
    )
  if not store.counts().any():
    raise InputError("None of the images has local features: nothing can be searched.")
  with watch.measure("whitening and global features"):
    local_whitening = _local_whitening(store, directory, options) if options.whiten else None
    vlad = None
    if options.global_features is None:
      vlad, global_features = _vlad(store, local_whitening, directory, options)
    else:
      global_features = sources.global_features(
        jobs,
        directory,
        "database",
        options.global_features,
        crop_policy=options.crop_policy,
        on_error=on_error,
      )
  with watch.measure("index"):
    key = short_key(store.key, options.whiten, options.seed, options.index.to_json())
    path = directory / f"index-{key}"
    if cann.exists(path):
      index = CannIndex.open(path)
    else:
      index = CannIndex.build(path, store, options.index, whitening=local_whitening)
  with watch.measure("neighbour lists"):
    lists = index.neighbor_lists(min(options.list_length, max(1, len(jobs) - 1)))
  return Collection(
    index=index,
    lists=lists,
    global_features=global_features,
    options=options,
    directory=directory,
    vlad=vlad,
  )


def describe_queries(collection: Collection, jobs: Sequence[ImageJob], watch: Stopwatch) -> Queries:
  """Describes queries as the collection was described.

  Raises:
    InputError: an image can't be used, or given features do not fit.
  """
  options = collection.options
  with watch.measure("local features"):
    store = sources.local_features(
      jobs, collection.directory, "queries", options.local, crop_policy=options.crop_policy
    )
  descriptors = [values for _, values in store]
  with watch.measure("whitening and global features"):
    if collection.vlad is not None:
      whitened = [_whitened(collection.index.whitening, values) for values in descriptors]
      global_features = aggregate.apply_vlad(collection.vlad, whitened)
    else:
      assert options.global_features is not None
      global_features = sources.global_features(
        jobs,
        collection.directory,
        "queries",
        options.global_features,
        crop_policy=options.crop_policy,
      )
  return Queries(descriptors, global_features)


def _local_whitening(
  store: FeatureStore, directory: pathlib.Path, options: StageOptions
) -> whitening.Whitening:
  path = directory / f"whitening-{short_key(store.key, options.seed)}"
  if not path.is_dir():
    sample = store.sample_descriptors(WHITENING_SAMPLE, seed=options.seed)
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
  key = short_key(store.key, options.whiten, options.seed)
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

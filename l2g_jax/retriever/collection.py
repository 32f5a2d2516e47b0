"""A collection ready for queries, by one kind of local features or by several together."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from l2g_jax.data.images import Photograph
from l2g_jax.features.aggregate import apply_vlad
from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.whitening import Whitening, normalize_rows
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import unite
from l2g_jax.retriever import sources, stages, united_lists, vocabulary
from l2g_jax.retriever.options import GlobalSource, KindOptions, StageOptions
from l2g_jax.retriever.stages import Kind, prepare_kind
from l2g_jax.runtime.progress import track
from l2g_jax.runtime.stopwatch import Stopwatch

# The local descriptors of an image or query, of each kind `[count, d]` float32, as the indexes take
# them: whitened where the kind's images are.
Descriptors = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Collection:
  """A collection that is ready for queries.

  Attributes:
    kinds: what each kind of local features knows of its N images; all in the order of `names`.
    lists: `[N, L]`, the neighbours of every image; of several kinds as `unite` makes them.
    global_features: `[N, D]` float32.
    options: the settings it was made with.
    directory: the folder of everything that was made of it.
  """

  kinds: tuple[Kind, ...]
  lists: Ranked
  global_features: np.ndarray
  options: StageOptions
  directory: pathlib.Path

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the images; ids are positions in it."""
    return self.kinds[0].names

  @functools.cached_property
  def failures(self) -> Mapping[str, str]:
    """The images that could not be used, each with the reason."""
    return {name: reason for kind in self.kinds for name, reason in kind.failures.items()}

  @functools.cached_property
  def readable(self) -> np.ndarray:
    """The ids of the images that could be read, in the order of their names."""
    kept = (image for image, name in enumerate(self.names) if name not in self.failures)
    return np.array(sorted(kept, key=self.names.__getitem__), np.int64)

  def counts(self) -> np.ndarray:
    """Returns how many local descriptors each image has, `[N]`."""
    return np.sum([kind.counts() for kind in self.kinds], axis=0)

  def search(self, queries: Sequence[Descriptors], k: int) -> Ranked:
    """Searches with the settings of the options; returns the best images `[Q, k]`."""
    return self._unite(queries, [kind.search(part, k) for kind, part in self._parts(queries)], k)

  def compare(self, queries: Sequence[Descriptors], ids: np.ndarray) -> Ranked:
    """Gives images of every query their similarities, and orders them by these.

    Args:
      queries: Q of them.
      ids: `[Q, k]`, -1 pads at the end.
    """
    found = [_compare(kind, part, ids) for kind, part in self._parts(queries)]
    return self._unite(queries, found, ids.shape[1])

  def _unite(self, queries: Sequence[Descriptors], found: Sequence[Ranked], k: int) -> Ranked:
    """Unites what each kind found of every query `[Q, k]`."""
    if len(found) == 1:
      return found[0]
    backgrounds = [
      np.array(
        [
          kind.background(query, Ranked(*row))
          for query, *row in zip(part, ranked.ids, ranked.similarities, strict=True)
        ]
      )
      for (kind, part), ranked in zip(self._parts(queries), found, strict=True)
    ]
    return unite(found, backgrounds, k)

  def _parts(self, queries: Sequence[Descriptors]) -> list[tuple[Kind, list[np.ndarray]]]:
    """Returns the kinds, each with the queries' descriptors of it."""
    parts = zip(*queries, strict=True) if queries else [()] * len(self.kinds)
    return [(kind, list(part)) for kind, part in zip(self.kinds, parts, strict=True)]


@dataclasses.dataclass(frozen=True)
class Queries:
  """Described queries.

  Attributes:
    descriptors: of Q queries.
    global_features: `[Q, D]` float32.
    features: the local features as they were extracted, of each kind; of none but a single query.
  """

  descriptors: Sequence[Descriptors]
  global_features: np.ndarray
  features: Sequence[tuple[LocalFeatures, ...]] = ()


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
  more_follow: bool = False,
) -> Collection:
  """Makes a collection ready for queries that changes now and then; see `prepare`.

  New images are added to the indexes, and images that are gone are removed from them. Ids are in
  the order of `names`, not of the images. After changes to more than a quarter of the images an
  index is compacted; after changes to more than half, everything is learned anew.

  Args:
    jobs: its images, as they are now.
    directory: see `prepare`, as the next four.
    options: the settings.
    watch: takes the seconds of the stages.
    on_error: see `extract_local`.
    verify: whether checksums are compared.
    more_follow: whether images that are left out now come later: their features are kept.
  """
  return _prepare(
    jobs,
    directory,
    options,
    watch,
    on_error=on_error,
    in_order=False,
    verify=verify,
    more_follow=more_follow,
  )


def describe_queries(collection: Collection, jobs: Sequence[ImageJob], watch: Stopwatch) -> Queries:
  """Describes the queries of a data set like its collection, and keeps their features.

  Raises:
    InputError: an image can't be used, or given features do not fit.
  """

  def describe_local(kind: KindOptions) -> list[np.ndarray]:
    store = sources.local_features(
      jobs, collection.directory, "queries", kind.local, crop_policy=kind.crop_policy
    )
    return [values for _, values in store]

  def describe_global(source: GlobalSource) -> np.ndarray:
    crop_policy = collection.options.features.crop_policy
    return sources.global_features(
      jobs, collection.directory, "queries", source, crop_policy=crop_policy
    )

  return _describe(collection, describe_local, describe_global, watch)


def describe_query(
  collection: Collection, job: ImageJob, watch: Stopwatch, photograph: Photograph | None = None
) -> Queries:
  """Describes one photograph like a collection, and keeps none of its features in files.

  Args:
    collection: like which it is described.
    job: the photograph.
    watch: takes the seconds of the stages.
    photograph: see `jobs.read`.

  Raises:
    InputError: the image can't be used, or given features do not fit.
  """
  features: list[LocalFeatures] = []

  def describe_local(kind: KindOptions) -> list[np.ndarray]:
    made = sources.describe_local(
      job,
      collection.directory,
      kind.local,
      crop_policy=kind.crop_policy,
      photograph=photograph,
    )
    features.append(made)
    return [made.descriptors]

  def describe_global(source: GlobalSource) -> np.ndarray:
    crop_policy = collection.options.features.crop_policy
    return sources.describe_global(
      job, collection.directory, source, crop_policy=crop_policy, photograph=photograph
    )

  described = _describe(collection, describe_local, describe_global, watch)
  return dataclasses.replace(described, features=(tuple(features),))


def known_names(directory: pathlib.Path, options: StageOptions) -> frozenset[str]:
  """Returns the images that a collection holds already, by any kind of its features.

  Args:
    directory: the folder of everything that was made of it.
    options: the settings.
  """
  return frozenset().union(*(stages.known_names(directory, kind) for kind in options.kinds()))


def _describe(
  collection: Collection,
  describe_local: Callable[[KindOptions], list[np.ndarray]],
  describe_global: Callable[[GlobalSource], np.ndarray],
  watch: Stopwatch,
) -> Queries:
  """Describes queries by every kind of local features, and by global ones."""
  parts = []
  for kind in collection.kinds:
    with watch.measure("local features"):
      described = describe_local(kind.options)
    with watch.measure("whitening and global features"):
      learned = Whitening.from_note(kind.index.whitening)
      parts.append([vocabulary.described(learned, values) for values in described])
  descriptors = list(zip(*parts, strict=True))
  with watch.measure("whitening and global features"):
    given = collection.options.features.global_features
    if given is not None:
      return Queries(descriptors, describe_global(given))
    return Queries(descriptors, _aggregate(collection, descriptors))


def _prepare(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  options: StageOptions,
  watch: Stopwatch,
  *,
  on_error: OnError,
  in_order: bool,
  verify: bool,
  more_follow: bool = False,
) -> Collection:
  kinds = []
  for kind_options in options.kinds():
    kind = prepare_kind(
      jobs,
      directory,
      kind_options,
      watch,
      on_error=on_error,
      in_order=in_order,
      verify=verify,
      more_follow=more_follow,
    )
    kinds.append(kind.renamed(kinds[0].names) if kinds else kind)
  with watch.measure("neighbour lists"):
    lists = kinds[0].lists
    if len(kinds) > 1:
      # Whether these were there is not known.
      watch.tell_kept("neighbour lists", kept=False)
      lists = united_lists.open_or_make(
        directory, kinds, keeps_backgrounds=not in_order, verify=verify
      )
  with watch.measure("whitening and global features"):
    if options.features.global_features is None:
      global_features = _join([kind.vlad[1] for kind in kinds if kind.vlad is not None])
    else:
      given = sources.global_features(
        jobs,
        directory,
        "database",
        options.features.global_features,
        crop_policy=options.features.crop_policy,
        on_error=on_error,
        verify=verify,
        more_follow=more_follow,
      )
      global_features = _in_order(given, [job.name for job in jobs], kinds[0].names)
  return Collection(tuple(kinds), lists, global_features, options, directory)


def _compare(kind: Kind, queries: Sequence[np.ndarray], ids: np.ndarray) -> Ranked:
  """Orders images `[Q, k]` by the exact similarities of one kind."""
  similarities = np.zeros(ids.shape, np.float32)
  for row, values in enumerate(track(queries, "similarities of candidates", unit="queries")):
    present = ids[row] >= 0
    similarities[row, present] = kind.similarities(values, ids[row, present])
  order = np.argsort(-similarities, axis=1, kind="stable")
  return Ranked(
    np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
  )


def _aggregate(collection: Collection, descriptors: Sequence[Descriptors]) -> np.ndarray:
  """Returns the queries' VLAD, `[Q, D]`, of descriptors as the indexes take them."""
  parts = []
  for number, kind in enumerate(collection.kinds):
    assert kind.vlad is not None
    values = [query[number] for query in descriptors]
    if kind.index.whitening is None:
      values = [normalize_rows(rows) for rows in values]
    parts.append(apply_vlad(kind.vlad[0], values))
  return _join(parts)


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Joins global features `[N, D]` of unit norm, one of each kind; all weigh the same."""
  return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) / np.sqrt(len(parts))


def _in_order(features: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
  """Returns rows `[N, D]` in the order of other names."""
  if list(names) == list(wanted):
    return features
  rows = {name: row for row, name in enumerate(names)}
  return features[[rows[name] for name in wanted]]

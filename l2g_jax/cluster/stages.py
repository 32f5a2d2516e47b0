"""Extraction, index and neighbour lists over the nodes of a cluster.

Every stage leaves the bytes that one process leaves. All nodes see the same files by the same
paths. What a node has finished stays, so an interrupted stage goes on where it stood.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence

from l2g_jax.cann import CannConfig, CannIndex, builder, exists, lists
from l2g_jax.cluster.nodes import Needs
from l2g_jax.cluster.tasks import run
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features import tasks as extraction_tasks
from l2g_jax.features.extraction import ImageJob, OnError, extract_local
from l2g_jax.features.jobs import Image
from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.features.tasks import Progress, Task
from l2g_jax.features.whitened import WhitenedImages
from l2g_jax.features.whitening import Whitening, fit_whitening
from l2g_jax.ranked import Ranked
from l2g_jax.retriever.following import WHITENING_SAMPLE
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import available_cores

# Each looks at the end which parts are missing, so more would look in vain.
_MOST_LIST_TASKS = 1024


@dataclasses.dataclass(frozen=True)
class _Build:
  """What the pieces of an index are made of."""

  features: pathlib.Path
  root: pathlib.Path
  config: CannConfig
  whitening: Whitening | None
  num_pieces: int


@dataclasses.dataclass(frozen=True)
class _Listing:
  """What neighbour lists are made of."""

  root: pathlib.Path
  state: str
  k: int
  rescoring_depth: int
  num_tasks: int


def extract(
  jobs: Sequence[ImageJob],
  extractor: LocalExtractor,
  directory: os.PathLike | str,
  *,
  crop_policy: CropPolicy | None = None,
  precision: store.Precision = "float16",
  on_error: OnError = "empty",
  needs: Needs = Needs(),
) -> store.FeatureStore:
  """Extracts local features into a store, a part a task, as `extraction.extract_local` does.

  Args:
    jobs: see `extract_local`, as the next five.
    extractor: the extractor, which can be pickled.
    directory: the store's folder.
    crop_policy: how boxes become crops.
    precision: type in which descriptors are kept.
    on_error: treatment of images that can't be read.
    needs: of a task.

  Raises:
    InputError: see `extract_local` and `tasks.run`.
  """
  return extract_local(
    [dataclasses.replace(job, path=pathlib.Path(job.path).absolute()) for job in jobs],
    extractor,
    pathlib.Path(directory).absolute(),
    crop_policy=crop_policy,
    precision=precision,
    on_error=on_error,
    run_tasks=functools.partial(_make_parts, needs),
  )


def build_index(
  features: os.PathLike | str,
  directory: os.PathLike | str,
  config: CannConfig = CannConfig(),
  *,
  whiten: bool = False,
  seed: int = 0,
  needs: Needs = Needs(),
) -> CannIndex:
  """Builds the index of a feature store, a piece a task; opens an index that is there.

  The driver learns the whitening and the cells, and merges the pieces.

  Args:
    features: folder of the store.
    directory: of the index.
    config: its settings.
    whiten: whether descriptors are whitened, by a sample of them.
    seed: of the sample.
    needs: of a task.

  Raises:
    InputError: see `CannIndex.build_shard`, `CannIndex.merge_shards` and `tasks.run`.
  """
  root = pathlib.Path(directory).absolute()
  if exists(root):
    return CannIndex.open(root)
  described = store.open_store(features)
  whitening = None
  if whiten:
    whitening = Whitening.from_note(CannIndex.shard_whitening(root)) or fit_whitening(
      described.sample_descriptors(WHITENING_SAMPLE, seed=seed)
    )
  num_pieces = -(-len(described) // builder.IMAGES_PER_PIECE)
  build = _Build(pathlib.Path(features).absolute(), root, config, whitening, num_pieces)
  # A shard behind the last piece has none to make: it learns the cells alone.
  _build_shard(build, num_pieces, num_pieces + 1)
  with Meter("index", total=num_pieces, unit="pieces") as meter:
    for _ in run(_build_piece, range(num_pieces), build, needs):
      meter.advance()
  return CannIndex.merge_shards(root)


def make_lists(
  directory: os.PathLike | str,
  k: int,
  *,
  rescoring_depth: int = lists.DEPTH,
  needs: Needs = Needs(),
) -> Ranked:
  """Makes the neighbour lists of an index over the nodes, see `CannIndex.neighbor_lists`.

  They are made anew; only one process repairs those of an earlier state.

  Args:
    directory: of the index.
    k: neighbours of an image; the image itself is left out.
    rescoring_depth: neighbours whose similarity is exact.
    needs: of a task.

  Raises:
    InputError: see `CannIndex.neighbor_lists` and `tasks.run`.
  """
  root = pathlib.Path(directory).absolute()
  index = CannIndex.open(root)
  num_tasks = min(_MOST_LIST_TASKS, -(-len(index.names) // lists.IMAGES_PER_PART))
  listing = _Listing(root, index.state, k, rescoring_depth, num_tasks)
  with Meter("neighbour lists", total=num_tasks, unit="tasks") as meter:
    for _ in run(_list_shard, range(num_tasks), listing, needs):
      meter.advance()
  return index.neighbor_lists(k, rescoring_depth=rescoring_depth, show_progress=False)


def _make_parts(needs: Needs, tasks: Sequence[Task], num_workers: int) -> Iterator[Progress]:
  """Makes parts of a store over the nodes, in place of so many workers here."""
  del num_workers
  if tasks:
    shared = dataclasses.replace(tasks[0], images=())
    for made in run(_make_part, [task.images for task in tasks], shared, needs):
      yield from made


def _make_part(images: Sequence[Image], task: Task) -> list[Progress]:
  return [*extraction_tasks.run([dataclasses.replace(task, images=images)], available_cores())]


def _build_piece(piece: int, build: _Build) -> None:
  _build_shard(build, piece, build.num_pieces)


def _build_shard(build: _Build, shard_index: int, num_shards: int) -> None:
  CannIndex.build_shard(
    build.root,
    WhitenedImages(store.open_store(build.features), build.whitening),
    build.config,
    whitening=None if build.whitening is None else build.whitening.to_note(),
    shard_index=shard_index,
    num_shards=num_shards,
  )


def _list_shard(task: int, listing: _Listing) -> None:
  open_index(listing.root, listing.state).list_shard(
    listing.k,
    rescoring_depth=listing.rescoring_depth,
    shard_index=task,
    num_shards=listing.num_tasks,
    show_progress=False,
  )


@functools.lru_cache(maxsize=1)
def open_index(root: pathlib.Path, state: str) -> CannIndex:
  """Opens the index that the driver sees, once a process."""
  index = CannIndex.open(root)
  if index.state != state:
    raise InputError(f"The index in {root} has changed; begin anew.")
  return index

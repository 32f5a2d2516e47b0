"""Extraction of local features from many images: parallel, and resumable by parts of a store."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import tqdm

from l2g_jax import files
from l2g_jax.data import store
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box, CropPolicy, count_notes, crop_photograph, read_photograph
from l2g_jax.errors import InputError
from l2g_jax.features import batches
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, LocalFeatures
from l2g_jax.workers import available_cores, run_tasks

OnError = Literal["raise", "empty"]

_IMAGES_PER_PART = 64
_DEFAULT_READING = Reading("truncate", apply_exif=True)


@dataclasses.dataclass(frozen=True)
class ImageJob:
  """One image to extract features from.

  Attributes:
    name: its name in the store.
    path: its file.
    box: the part to use, x1, y1, x2, y2; None = all of it.
  """

  name: str
  path: pathlib.Path
  box: Box | None = None


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """What `extract_shard` returns.

  Attributes:
    num_images: of the shard.
    failures: why an image of the shard has no features, by name.
    notes: what was done to read an image that was read now, see `Photograph.notes`, by name.
    missing_parts: how many parts of the store are still to be made, by this shard or by others.
  """

  num_images: int
  failures: Mapping[str, str]
  notes: Mapping[str, Sequence[str]]
  missing_parts: int


@dataclasses.dataclass(frozen=True)
class _Recipe:
  """How images become features; with the images' own state it identifies a part."""

  extractor: LocalExtractor
  reading: Reading
  precision: store.Precision
  on_error: OnError


@dataclasses.dataclass(frozen=True)
class _Task:
  """A part of a store that is to be made."""

  recipe: _Recipe
  jobs: Sequence[ImageJob]
  root: pathlib.Path
  part: int
  key: str


@dataclasses.dataclass(frozen=True)
class _Progress:
  """Images that are done with, why some have no features, and what was done to read others."""

  num_images: int
  failures: Mapping[str, str]
  notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def extract_local(
  jobs: Sequence[ImageJob],
  extractor: LocalExtractor,
  directory: os.PathLike | str,
  *,
  crop_policy: CropPolicy | None = None,
  apply_exif: bool | None = None,
  precision: store.Precision = "float16",
  on_error: OnError = "raise",
  num_workers: int | None = None,
  show_progress: bool = True,
) -> store.FeatureStore:
  """Extracts local features into a store, or opens the store where that was done before.

  Work that was interrupted goes on where it stood: a part is trusted if it is intact and was made
  from the same images in the same way, by their names, sizes and times of change.

  Args:
    jobs: the images, in the order of the store.
    extractor: what to extract; a global one as `protocol.as_local` gives it.
    directory: the store's folder.
    crop_policy: how boxes become crops, see `images.crop_to_box`; None = the extractor's own.
    apply_exif: see `images.read_image`; None = the extractor's own.
    precision: in which descriptors are kept.
    on_error: what an image that can't be read does: `raise` ends with an error that names every
      such image once all others are done; `empty` leaves it without descriptors, and warns.
    num_workers: processes, or threads that read ahead for a network; None = one a core.
    show_progress: whether to show a bar.

  Returns:
    The store.

  Raises:
    InputError: images can't be read.
  """
  result = extract_shard(
    jobs,
    extractor,
    directory,
    crop_policy=crop_policy,
    apply_exif=apply_exif,
    precision=precision,
    on_error=on_error,
    num_workers=num_workers,
    show_progress=show_progress,
  )
  failures = [f"{name}: {reason}" for name, reason in result.failures.items()]
  if failures and on_error == "raise":
    raise InputError(
      f"{len(failures)} of {len(jobs)} images can't be used: {' '.join(failures[:5])}"
    )
  for failure in failures:
    tqdm.tqdm.write(f"Left without features. {printable(failure)}")
  for remark in count_notes(result.notes):
    tqdm.tqdm.write(remark)
  return store.open_store(directory)


def extract_shard(
  jobs: Sequence[ImageJob],
  extractor: LocalExtractor,
  directory: os.PathLike | str,
  *,
  shard_index: int = 0,
  num_shards: int = 1,
  crop_policy: CropPolicy | None = None,
  apply_exif: bool | None = None,
  precision: store.Precision = "float16",
  on_error: OnError = "empty",
  num_workers: int | None = None,
  show_progress: bool = True,
) -> ShardResult:
  """Makes every `num_shards`-th part of a store; who finds that all are there completes it.

  Args:
    jobs: the images of the whole store, in its order.
    extractor: see `extract_local`.
    directory: the store's folder, the same for all shards.
    shard_index: which parts, 0 .. num_shards - 1.
    num_shards: how many share the work.
    crop_policy: see `extract_local`.
    apply_exif: see `extract_local`.
    precision: see `extract_local`.
    on_error: `raise` leaves out a part with an image that can't be read, `empty` only the image.
    num_workers: see `extract_local`.
    show_progress: see `extract_local`.

  Returns:
    What was done; the store is complete if no part is missing.

  Raises:
    InputError: there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} of {num_shards} does not exist; they count from 0.")
  root = pathlib.Path(directory)
  reading = extractor.reading or _DEFAULT_READING
  if crop_policy is not None:
    reading = dataclasses.replace(reading, crop_policy=crop_policy)
  if apply_exif is not None:
    reading = dataclasses.replace(reading, apply_exif=apply_exif)
  recipe = _Recipe(extractor, reading, precision, on_error)
  chunks = [tuple(jobs[i : i + _IMAGES_PER_PART]) for i in range(0, len(jobs), _IMAGES_PER_PART)]
  keys = [_key(recipe, chunk) for chunk in chunks]
  failures: dict[str, str] = {}
  notes: dict[str, Sequence[str]] = {}
  tasks: list[_Task] = []
  num_images = 0
  for part in range(shard_index, len(chunks), num_shards):
    num_images += len(chunks[part])
    found = store.part_failures(root, part, key=keys[part])
    if found is None:
      tasks.append(_Task(recipe, chunks[part], root, part, keys[part]))
    else:
      failures |= found
  if tasks:
    done = num_images - sum(len(task.jobs) for task in tasks)
    with tqdm.tqdm(
      total=num_images,
      initial=done,
      desc=f"{extractor.name} features",
      unit="image",
      disable=not show_progress,
    ) as bar:
      for progress in _run(tasks, num_workers or available_cores()):
        failures |= progress.failures
        notes |= progress.notes
        bar.update(progress.num_images)
        if failures:
          bar.set_postfix(failed=len(failures))
  missing = sum(not store.has_part(root, part, key=key) for part, key in enumerate(keys))
  if not missing:
    store.finish(root, keys=keys)
  return ShardResult(num_images, failures, notes, missing)


def default_crop_policy(extractor: LocalExtractor | GlobalExtractor) -> CropPolicy:
  """Returns how boxes become crops for an extractor where nothing else is asked for."""
  return (extractor.reading or _DEFAULT_READING).crop_policy


def _key(recipe: _Recipe, jobs: Sequence[ImageJob]) -> str:
  """Returns a checksum of all that a part depends on; an image that changed changes it."""

  def state(path: pathlib.Path) -> list[int]:
    if not path.is_file():
      return []
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]

  reading = [*dataclasses.astuple(recipe.reading), recipe.precision, recipe.on_error]
  return files.checksum_json(
    {
      "extractor": [recipe.extractor.name, dict(recipe.extractor.settings)],
      "reading": reading,
      "images": [[job.name, job.box, state(job.path)] for job in jobs],
    }
  )


def _run(tasks: Sequence[_Task], num_workers: int) -> Iterator[_Progress]:
  """Makes parts, and tells of each part or, where a network describes them, of a few images."""
  if tasks[0].recipe.extractor.network is not None:
    yield from _run_network(tasks, num_workers)
    return
  yield from run_tasks(_make_part, tasks, num_workers)


def _make_part(task: _Task) -> _Progress:
  """Extracts one part and saves it."""
  # Processes share the cores, where threads would only contend; one alone is the caller's own.
  num_threads = cv2.getNumThreads()
  cv2.setNumThreads(1)
  results: list[LocalFeatures | InputError] = []
  notes: dict[str, Sequence[str]] = {}
  try:
    for job in task.jobs:
      try:
        image, _ = _read(job, task.recipe.reading, notes)
        results.append(task.recipe.extractor.extract(image))
      except InputError as error:
        results.append(error)
  finally:
    cv2.setNumThreads(num_threads)
  return _Progress(len(task.jobs), _save(task, results), notes)


def _run_network(tasks: Sequence[_Task], num_threads: int) -> Iterator[_Progress]:
  """Makes parts in this process, by a network; images are read ahead across parts."""
  recipe = tasks[0].recipe
  network = recipe.extractor.network
  assert network is not None
  notes: dict[str, Sequence[str]] = {}

  def prepare(job: ImageJob) -> np.ndarray:
    return network.prepare(*_read(job, recipe.reading, notes))

  jobs = [job for task in tasks for job in task.jobs]
  inputs = batches.read_ahead(jobs, prepare, num_threads=num_threads)
  try:
    for task in tasks:
      results: dict[int, LocalFeatures | InputError] = {}
      part = (next(inputs) for _ in task.jobs)
      for described in batches.describe_part(network, part):
        results.update(described)
        yield _Progress(len(described), {})
      ordered = [results[number] for number in range(len(task.jobs))]
      told = {job.name: notes.pop(job.name) for job in task.jobs if job.name in notes}
      yield _Progress(0, _save(task, ordered), told)
  finally:
    inputs.close()


def _read(
  job: ImageJob, reading: Reading, notes: dict[str, Sequence[str]]
) -> tuple[np.ndarray, tuple[int, int]]:
  """Returns an image, cropped, and the height and width of its whole photograph as it was read.

  What was done to read it goes to `notes`.
  """
  photograph = read_photograph(job.path, apply_exif=reading.apply_exif)
  image = photograph.pixels
  whole = (image.shape[0], image.shape[1])
  if photograph.notes:
    notes[job.name] = photograph.notes
  if job.box is not None:
    image = crop_photograph(photograph, job.box, policy=reading.crop_policy)
  return image, whole


def _save(task: _Task, results: Sequence[LocalFeatures | InputError]) -> Mapping[str, str]:
  """Saves a part, unless an image failed and that is to raise; returns why images failed."""
  recipe = task.recipe
  dimension = recipe.extractor.dimension
  failures, features = {}, []
  for job, result in zip(task.jobs, results, strict=True):
    if isinstance(result, InputError):
      failures[job.name] = str(result)
      result = _no_features(dimension)
    features.append(result)
  if not failures or recipe.on_error == "empty":
    store.save_part(
      task.root,
      task.part,
      key=task.key,
      names=[job.name for job in task.jobs],
      features=features,
      dimension=dimension,
      precision=recipe.precision,
      failures=failures,
    )
  return failures


def _no_features(dimension: int) -> LocalFeatures:
  return LocalFeatures(
    descriptors=np.zeros((0, dimension), np.float32),
    locations=np.zeros((0, 2), np.float32),
    scales=np.zeros(0, np.float32),
    strengths=np.zeros(0, np.float32),
  )

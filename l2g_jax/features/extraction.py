"""Extraction of local features from many images: parallel, and resumable by images of a store."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import tqdm

from l2g_jax import files
from l2g_jax.data import checksums, parts, store
from l2g_jax.data.images import Box, CropPolicy, crop_to_box, read_image
from l2g_jax.data.parts import Place
from l2g_jax.errors import InputError
from l2g_jax.features import batches
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, LocalFeatures
from l2g_jax.workers import available_cores, run_tasks

OnError = Literal["raise", "empty"]

# Counted up with whatever changes the pixels or the features that images give.
_VERSION = 3
_IMAGES_PER_PART = 64
_DEFAULT_READING = Reading("truncate", apply_exif=True)
# How often images are read that change meanwhile.
_ATTEMPTS = 3
_NOTICE = "Another process extracts features to {}; waiting until it is done."
# Stands for an image's path in what is kept about it: the image may be moved.
_PATH = "{path}"
_CHANGES = f"{_PATH} changes while it is read; run again when it is complete."


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
    missing_parts: how many parts of the store are still to be made, by this shard or by others.
  """

  num_images: int
  failures: Mapping[str, str]
  missing_parts: int


@dataclasses.dataclass(frozen=True)
class _Recipe:
  """How images become features; with an image's content and box it identifies its features."""

  extractor: LocalExtractor
  reading: Reading
  precision: store.Precision


@dataclasses.dataclass(frozen=True)
class _Image:
  """An image whose content is known.

  Attributes:
    job: the image.
    content: the checksum of its file; None where that can't be read.
    key: what identifies its features.
  """

  job: ImageJob
  content: str | None
  key: str


@dataclasses.dataclass(frozen=True)
class _Task:
  """A part of a store that is to be made."""

  recipe: _Recipe
  images: Sequence[_Image]
  root: pathlib.Path
  on_error: OnError


@dataclasses.dataclass(frozen=True)
class _Progress:
  """Images that are done with; why some have no features, and which changed, by key."""

  num_images: int
  failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
  changed: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Made:
  """Images that were made, or were there, and why some have no features, by name."""

  images: Sequence[_Image]
  failures: Mapping[str, str]


class _ChangedError(InputError):
  """An image is not what it was when its content was looked at."""


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
  checksum_memory: os.PathLike | str | None = None,
  verify: bool = False,
) -> store.FeatureStore:
  """Extracts local features into a store, or opens the store where that was done before.

  An image whose features are in the folder is not extracted again: it is known by its content, its
  box and how features are made, whatever it is called and wherever it stands. So work that was
  interrupted goes on where it stood, and a list of images that changed costs what is new in it.
  Features that the list does not need any more are removed. Where another process extracts to the
  same folder this one waits.

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
    checksum_memory: see `checksums.checksum_files`; None = a file in the folder.
    verify: whether checksums of what was made before are compared, not only sizes.

  Returns:
    The store.

  Raises:
    InputError: images can't be read.
  """
  root = pathlib.Path(directory)
  recipe = _make_recipe(extractor, crop_policy, apply_exif, precision)
  with files.locked(root, refusal=None, notice=_NOTICE.format(root)):
    made = _make_images(
      jobs,
      recipe,
      root,
      checksum_memory or root / checksums.NAME,
      on_error=on_error,
      num_workers=num_workers,
      show_progress=show_progress,
      verify=verify,
    )
    reasons = [f"{name}: {reason}" for name, reason in made.failures.items()]
    if reasons and on_error == "raise":
      raise InputError(
        f"{len(reasons)} of {len(jobs)} images can't be used: {' '.join(reasons[:5])}"
      )
    completed = _complete(root, made.images)
  for reason in reasons:
    tqdm.tqdm.write(f"Left without features. {reason}")
  return completed


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
  verify: bool = False,
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
    on_error: `raise` leaves the store incomplete where an image can't be read; `empty` leaves the
      image without descriptors.
    num_workers: see `extract_local`.
    show_progress: see `extract_local`.
    verify: see `extract_local`.

  Returns:
    What was done; the store is complete if no part is missing.

  Raises:
    InputError: there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} of {num_shards} does not exist; they count from 0.")
  root = pathlib.Path(directory)
  recipe = _make_recipe(extractor, crop_policy, apply_exif, precision)
  memory = root / checksums.NAME
  parts_of = np.arange(len(jobs)) // _IMAGES_PER_PART
  is_mine = parts_of % num_shards == shard_index
  made = _make_images(
    [job for job, mine in zip(jobs, is_mine, strict=True) if mine],
    recipe,
    root,
    memory,
    on_error=on_error,
    num_workers=num_workers,
    show_progress=show_progress,
    verify=verify,
  )
  with files.locked(root, refusal=None, notice=_NOTICE.format(root)):
    others = [job for job, mine in zip(jobs, is_mine, strict=True) if not mine]
    theirs = iter(_identify(others, recipe, memory, show_progress=show_progress))
    own = iter(made.images)
    images = [next(own if mine else theirs) for mine in is_mine]
    found = parts.find_images(root)
    is_missing = [not _is_made(found.get(image.key), on_error) for image in images]
    num_missing = len(np.unique(parts_of[is_missing]))
    if not num_missing:
      _complete(root, images)
  return ShardResult(len(made.images), made.failures, num_missing)


def describe_image(
  job: ImageJob,
  extractor: LocalExtractor,
  *,
  crop_policy: CropPolicy | None = None,
  apply_exif: bool | None = None,
  precision: store.Precision = "float16",
) -> LocalFeatures:
  """Extracts the features of one image, which are not kept; as `extract_local` would give them.

  Raises:
    InputError: the image can't be read.
  """
  recipe = _make_recipe(extractor, crop_policy, apply_exif, precision)
  features = extractor.extract(_read(job, recipe.reading)[0])
  return parts.rounded(features, precision)


def image_keys(
  jobs: Sequence[ImageJob],
  extractor: LocalExtractor,
  memory: os.PathLike | str | None,
  *,
  crop_policy: CropPolicy | None = None,
  apply_exif: bool | None = None,
  precision: store.Precision = "float16",
) -> list[str]:
  """Returns the keys that images have in the store that `extract_local` makes of them.

  Args:
    jobs: the images.
    extractor: see `extract_local`.
    memory: see `checksums.checksum_files`.
    crop_policy: see `extract_local`.
    apply_exif: see `extract_local`.
    precision: see `extract_local`.
  """
  recipe = _make_recipe(extractor, crop_policy, apply_exif, precision)
  return [image.key for image in _identify(jobs, recipe, memory, show_progress=True)]


def default_crop_policy(extractor: LocalExtractor | GlobalExtractor) -> CropPolicy:
  """Returns how boxes become crops for an extractor where nothing else is asked for."""
  return (extractor.reading or _DEFAULT_READING).crop_policy


def _make_recipe(
  extractor: LocalExtractor,
  crop_policy: CropPolicy | None,
  apply_exif: bool | None,
  precision: store.Precision,
) -> _Recipe:
  reading = extractor.reading or _DEFAULT_READING
  if crop_policy is not None:
    reading = dataclasses.replace(reading, crop_policy=crop_policy)
  if apply_exif is not None:
    reading = dataclasses.replace(reading, apply_exif=apply_exif)
  return _Recipe(extractor, reading, precision)


def _identify(
  jobs: Sequence[ImageJob],
  recipe: _Recipe,
  memory: os.PathLike | str | None,
  *,
  show_progress: bool,
) -> list[_Image]:
  """Looks at the contents of images."""
  contents = checksums.checksum_files(
    [job.path for job in jobs], memory, show_progress=show_progress
  )
  return [
    _Image(job, content, _key(job, content, recipe))
    for job, content in zip(jobs, contents, strict=True)
  ]


def _key(job: ImageJob, content: str | None, recipe: _Recipe) -> str:
  """Returns a checksum of all that the features of an image depend on."""
  return files.checksum_json(
    {
      "version": _VERSION,
      "extractor": [recipe.extractor.name, dict(recipe.extractor.settings)],
      "apply_exif": recipe.reading.apply_exif,
      "precision": recipe.precision,
      # Where there is no content, there are only failures to remember: those of a place.
      "content": content or ["none", os.path.abspath(job.path)],
      "crop": None if job.box is None else [recipe.reading.crop_policy, list(job.box)],
    }
  )


def _is_made(place: Place | None, on_error: OnError) -> bool:
  """Whether an image needs no work."""
  return place is not None and (on_error == "empty" or place.failure is None)


def _make_images(
  jobs: Sequence[ImageJob],
  recipe: _Recipe,
  root: pathlib.Path,
  memory: os.PathLike | str,
  *,
  on_error: OnError,
  num_workers: int | None,
  show_progress: bool,
  verify: bool,
) -> _Made:
  """Saves the features of images that no part of a store has yet."""
  for attempt in range(_ATTEMPTS):
    images = _identify(jobs, recipe, memory, show_progress=show_progress)
    found = parts.find_images(root, verify=verify)
    missing = [image for image in images if not _is_made(found.get(image.key), on_error)]
    failures = {
      place.key: place.failure
      for image in images
      if (place := found.get(image.key)) is not None and place.failure is not None
    }
    # Images of one content are described once.
    missing = list({image.key: image for image in missing}.values())
    tasks = [
      _Task(recipe, missing[i : i + _IMAGES_PER_PART], root, on_error)
      for i in range(0, len(missing), _IMAGES_PER_PART)
    ]
    changed: set[str] = set()
    with tqdm.tqdm(
      total=len(images),
      initial=len(images) - len(missing),
      desc=f"{recipe.extractor.name} features",
      unit="image",
      disable=not (show_progress and tasks),
    ) as bar:
      for progress in _run(tasks, num_workers or available_cores()):
        failures |= progress.failures
        changed |= set(progress.changed)
        bar.update(progress.num_images)
        if failures:
          bar.set_postfix(failed=len(failures))
    if not changed:
      break
    if attempt == _ATTEMPTS - 1:
      images, unsettled = _set_aside(images, changed)
      failures |= _save(
        _Task(recipe, unsettled, root, on_error), [InputError(_CHANGES)] * len(unsettled)
      ).failures
  by_name = {
    image.job.name: failures[image.key].replace(_PATH, os.fspath(image.job.path))
    for image in images
    if image.key in failures
  }
  return _Made(images, by_name)


def _set_aside(images: Sequence[_Image], changed: set[str]) -> tuple[list[_Image], list[_Image]]:
  """Gives images that keep changing keys that no other run has; returns all and those images."""
  marked = [
    dataclasses.replace(image, key=files.checksum_json([image.key, time.time_ns()]))
    if image.key in changed
    else image
    for image in images
  ]
  return marked, [new for new, old in zip(marked, images, strict=True) if new is not old]


def _complete(root: pathlib.Path, images: Sequence[_Image]) -> store.FeatureStore:
  """Declares the store complete, of images all of which are in it."""
  found = parts.find_images(root)
  places = [found[image.key] for image in images]
  failures = {
    image.job.name: place.failure.replace(_PATH, os.fspath(image.job.path))
    for image, place in zip(images, places, strict=True)
    if place.failure is not None
  }
  return store.complete(root, [image.job.name for image in images], places, failures=failures)


def _run(tasks: Sequence[_Task], num_workers: int) -> Iterator[_Progress]:
  """Makes parts, and tells of each part or, where a network describes them, of a few images."""
  if tasks and tasks[0].recipe.extractor.network is not None:
    yield from _run_network(tasks, num_workers)
    return
  yield from run_tasks(_make_part, tasks, num_workers)


def _make_part(task: _Task) -> _Progress:
  """Extracts one part and saves it."""
  # Processes share the cores, where threads would only contend; one alone is the caller's own.
  num_threads = cv2.getNumThreads()
  cv2.setNumThreads(1)
  results: list[LocalFeatures | InputError] = []
  try:
    for image in task.images:
      try:
        pixels, _ = _read_unchanged(image, task.recipe.reading)
        results.append(task.recipe.extractor.extract(pixels))
      except InputError as error:
        results.append(error)
  finally:
    cv2.setNumThreads(num_threads)
  return dataclasses.replace(_save(task, results), num_images=len(task.images))


def _run_network(tasks: Sequence[_Task], num_threads: int) -> Iterator[_Progress]:
  """Makes parts in this process, by a network; images are read ahead across parts."""
  recipe = tasks[0].recipe
  network = recipe.extractor.network
  assert network is not None

  def prepare(image: _Image) -> np.ndarray:
    return network.prepare(*_read_unchanged(image, recipe.reading))

  images = [image for task in tasks for image in task.images]
  inputs = batches.read_ahead(images, prepare, num_threads=num_threads)
  try:
    for task in tasks:
      results: dict[int, LocalFeatures | InputError] = {}
      part = (next(inputs) for _ in task.images)
      for described in batches.describe_part(network, part):
        results.update(described)
        yield _Progress(len(described))
      yield _save(task, [results[number] for number in range(len(task.images))])
  finally:
    inputs.close()


def _read_unchanged(image: _Image, reading: Reading) -> tuple[np.ndarray, tuple[int, int]]:
  """Reads an image as `_read` does; a `_ChangedError` says that its content is another by now."""
  try:
    return _read(image.job, reading)
  finally:
    # What was read, or could not be, belongs to the key only if the content was the same after it.
    if checksums.checksum_file(image.job.path) != image.content:
      raise _ChangedError(image.job.name)


def _read(job: ImageJob, reading: Reading) -> tuple[np.ndarray, tuple[int, int]]:
  """Returns an image, cropped, and the height and width of its whole photograph."""
  image = read_image(job.path, apply_exif=reading.apply_exif)
  whole = (image.shape[0], image.shape[1])
  if job.box is not None:
    image = crop_to_box(image, job.box, policy=reading.crop_policy)
  return image, whole


def _save(task: _Task, results: Sequence[LocalFeatures | InputError]) -> _Progress:
  """Saves images as a part, without those that changed, or failed where that is to raise."""
  recipe = task.recipe
  dimension = recipe.extractor.dimension
  saved: list[tuple[_Image, LocalFeatures]] = []
  failures: dict[str, str] = {}
  changed: list[str] = []
  for image, result in zip(task.images, results, strict=True):
    if isinstance(result, _ChangedError):
      changed.append(image.key)
      continue
    if isinstance(result, InputError):
      failures[image.key] = str(result).replace(os.fspath(image.job.path), _PATH)
      if task.on_error == "raise":
        continue
      result = _no_features(dimension)
    saved.append((image, result))
  if saved:
    keys = [image.key for image, _ in saved]
    name = parts.part_name(keys)
    store.save_part(
      task.root,
      name,
      key=name,
      names=keys,
      features=[features for _, features in saved],
      dimension=dimension,
      precision=recipe.precision,
      failures={key: reason for key, reason in failures.items() if key in set(keys)},
      image_keys=keys,
    )
  return _Progress(0, failures, changed)


def _no_features(dimension: int) -> LocalFeatures:
  return LocalFeatures(
    descriptors=np.zeros((0, dimension), np.float32),
    locations=np.zeros((0, 2), np.float32),
    scales=np.zeros(0, np.float32),
    strengths=np.zeros(0, np.float32),
  )

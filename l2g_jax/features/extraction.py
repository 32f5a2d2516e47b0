"""Extraction of local features from many images: parallel, and resumed image by image."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from l2g_jax.data.image_names import printable
from l2g_jax.data.images import CropPolicy, Photograph, count_notes
from l2g_jax.errors import InputError
from l2g_jax.features import parts, store
from l2g_jax.features.jobs import (
  Image,
  ImageJob,
  Recipe,
  default_crop_policy,
  identify,
  make_recipe,
  read,
)
from l2g_jax.features.parts import StoredImage
from l2g_jax.features.protocol import LocalExtractor, LocalFeatures
from l2g_jax.features.tasks import PATH, OnError, Progress, Task, run, save
from l2g_jax.runtime import checksums, files
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import available_cores

__all__ = [
  "ImageJob",
  "OnError",
  "ShardResult",
  "default_crop_policy",
  "describe_image",
  "extract_local",
  "extract_shard",
  "image_keys",
]

# A shard that is interrupted loses at most so many images per worker.
IMAGES_PER_PART = 64
# An image that changes while it is read is read so many times.
_ATTEMPTS = 3
_NOTICE = "Another process extracts features to {}; waiting until it is done."
_CHANGES = f"{PATH} changes while it is read; run again when it is complete."

# Makes parts of a store with so many workers, as `tasks.run` does.
_Run = Callable[[Sequence[Task], int], Iterator[Progress]]


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """The result of `extract_shard`.

  Attributes:
    num_images: number of images of the shard.
    failures: by name of an image of the shard, the reason why it has no features.
    notes: by name of an image that was read now, its `Photograph.notes`.
    missing_parts: number of parts of the store that this shard or others have still to make.
  """

  num_images: int
  failures: Mapping[str, str]
  notes: Mapping[str, Sequence[str]]
  missing_parts: int


@dataclasses.dataclass(frozen=True)
class _Made:
  """Images whose features are in the store; for `failures` and `notes` see `ShardResult`."""

  images: Sequence[Image]
  failures: Mapping[str, str]
  notes: Mapping[str, Sequence[str]]


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
  removes: store.Removes = "replaced",
  run_tasks: _Run = run,
) -> store.FeatureStore:
  """Extracts local features into a store, or opens a store that is complete.

  An image is known by its content, its box and its recipe, not by its name or path. If its
  features are in the folder, they are not extracted again. So interrupted work goes on where it
  stopped, and a changed list of images costs only its new images. Features that the list no longer
  needs are removed, unless `removes` says otherwise. While another process extracts to the same
  folder, this one waits.

  Args:
    jobs: the images, in the order of the store.
    extractor: the extractor; for a global one, the result of `protocol.as_local`.
    directory: the store's folder.
    crop_policy: how boxes become crops, see `images.crop_to_box`; None = the extractor's own.
    apply_exif: see `images.read_photograph`; None = the extractor's own.
    precision: type in which descriptors are kept.
    on_error: treatment of images that can't be read. `raise` does all others first, and then raises
      an error that names the first of them; `empty` leaves them without descriptors, and warns.
    num_workers: number of processes, or of threads that read ahead for a network; None = one per
      core.
    show_progress: whether to show progress.
    checksum_memory: see `checksums.checksum_files`; None = a file in the folder.
    verify: whether to compare checksums of earlier parts, not only sizes.
    removes: which parts go that the list does not need, see `store.complete`.
    run_tasks: makes the parts that are missing; the default does it on this machine.

  Returns:
    The store.

  Raises:
    InputError: images can't be read.
  """
  root = pathlib.Path(directory)
  recipe = make_recipe(extractor, crop_policy, apply_exif, precision)
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
      has_pieces=True,
      run_tasks=run_tasks,
    )
    reasons = [f"{name}: {reason}" for name, reason in made.failures.items()]
    if reasons and on_error == "raise":
      raise InputError(
        f"{len(reasons)} of {len(jobs)} images can't be used: {' '.join(reasons[:5])}"
      )
    completed = _complete(root, made.images, removes)
  for reason in reasons:
    print(f"Left without features. {printable(reason)}")
  for remark in count_notes(made.notes):
    print(remark)
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
  """Makes every `num_shards`-th part of a store; the shard that makes the last one completes it.

  Args:
    jobs: the images of the whole store, in its order.
    extractor: see `extract_local`.
    directory: the store's folder, the same for all shards.
    shard_index: number of the shard, 0 .. num_shards - 1.
    num_shards: number of shards that share the work.
    crop_policy: see `extract_local`.
    apply_exif: see `extract_local`.
    precision: see `extract_local`.
    on_error: `raise` leaves the store incomplete where an image can't be read; `empty` leaves the
      image without descriptors.
    num_workers: see `extract_local`.
    show_progress: see `extract_local`.
    verify: see `extract_local`.

  Returns:
    The images done and the parts missing; the store is complete if no part is missing.

  Raises:
    InputError: there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} of {num_shards} does not exist; they count from 0.")
  root = pathlib.Path(directory)
  recipe = make_recipe(extractor, crop_policy, apply_exif, precision)
  memory = root / checksums.NAME
  parts_of = np.arange(len(jobs)) // IMAGES_PER_PART
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
    theirs = iter(identify(others, recipe, memory, show_progress=show_progress))
    own = iter(made.images)
    images = [next(own if mine else theirs) for mine in is_mine]
    found = parts.find_images(root)
    is_missing = [not _is_made(found.get(image.key), on_error) for image in images]
    num_missing = len(np.unique(parts_of[is_missing]))
    if not num_missing:
      _complete(root, images)
  return ShardResult(len(made.images), made.failures, made.notes, num_missing)


def describe_image(
  job: ImageJob,
  extractor: LocalExtractor,
  *,
  crop_policy: CropPolicy | None = None,
  apply_exif: bool | None = None,
  precision: store.Precision = "float16",
  photograph: Photograph | None = None,
) -> LocalFeatures:
  """Returns the features of one image as `extract_local` would store them, without storing them.

  Args:
    job: the image.
    extractor: see `extract_local`, as the next three.
    crop_policy: how a box becomes a crop.
    apply_exif: whether the image is turned by its EXIF.
    precision: that of a store.
    photograph: see `jobs.read`.

  Raises:
    InputError: the image can't be read.
  """
  recipe = make_recipe(extractor, crop_policy, apply_exif, precision)
  features = extractor.extract(read(job, recipe.reading, photograph).pixels)
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
  recipe = make_recipe(extractor, crop_policy, apply_exif, precision)
  return [image.key for image in identify(jobs, recipe, memory, show_progress=True)]


def _is_made(stored: StoredImage | None, on_error: OnError) -> bool:
  """Returns whether an image needs no work."""
  return stored is not None and (on_error == "empty" or stored.failure is None)


def _make_images(
  jobs: Sequence[ImageJob],
  recipe: Recipe,
  root: pathlib.Path,
  memory: os.PathLike | str,
  *,
  on_error: OnError,
  num_workers: int | None,
  show_progress: bool,
  verify: bool,
  has_pieces: bool = False,
  run_tasks: _Run = run,
) -> _Made:
  """Extracts and saves the features that no part of the store has yet."""
  notes: dict[str, Sequence[str]] = {}
  for attempt in range(_ATTEMPTS):
    images = identify(jobs, recipe, memory, show_progress=show_progress)
    found = parts.find_images(root, verify=verify)
    missing = [image for image in images if not _is_made(found.get(image.key), on_error)]
    failures = {
      stored.key: stored.failure
      for image in images
      if (stored := found.get(image.key)) is not None and stored.failure is not None
    }
    # Images of equal content are described once.
    missing = list({image.key: image for image in missing}.values())
    tasks = [
      Task(recipe, missing[i : i + IMAGES_PER_PART], root, on_error, has_pieces)
      for i in range(0, len(missing), IMAGES_PER_PART)
    ]
    changed: set[str] = set()
    with Meter(
      f"{recipe.extractor.name} features",
      total=len(images),
      done=len(images) - len(missing),
      unit="images",
      disabled=not (show_progress and tasks),
    ) as meter:
      for progress in run_tasks(tasks, num_workers or available_cores()):
        failures |= progress.failures
        notes |= progress.notes
        changed |= set(progress.changed)
        meter.advance(progress.num_images)
        if failures:
          meter.update(note=f"{len(failures)} failed")
    if not changed:
      break
    if attempt == _ATTEMPTS - 1:
      images, unsettled = _set_aside(images, changed)
      failures |= save(
        Task(recipe, unsettled, root, on_error), [InputError(_CHANGES)] * len(unsettled)
      ).failures
  by_name = {
    image.job.name: failures[image.key].replace(PATH, os.fspath(image.job.path))
    for image in images
    if image.key in failures
  }
  return _Made(images, by_name, notes)


def _set_aside(images: Sequence[Image], changed: set[str]) -> tuple[list[Image], list[Image]]:
  """Gives new keys to images that keep changing; returns all images, and those with new keys."""
  marked = [
    dataclasses.replace(image, key=files.checksum_json([image.key, time.time_ns()]))
    if image.key in changed
    else image
    for image in images
  ]
  return marked, [new for new, old in zip(marked, images, strict=True) if new is not old]


def _complete(
  root: pathlib.Path, images: Sequence[Image], removes: store.Removes = "replaced"
) -> store.FeatureStore:
  """Completes a store whose parts hold all images."""
  found = parts.find_images(root)
  places = [found[image.key] for image in images]
  failures = {
    image.job.name: stored.failure.replace(PATH, os.fspath(image.job.path))
    for image, stored in zip(images, places, strict=True)
    if stored.failure is not None
  }
  names = [image.job.name for image in images]
  return store.complete(root, names, places, failures=failures, removes=removes)

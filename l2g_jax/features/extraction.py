"""Extraction of local features from many images: parallel, and resumable by parts of a store."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
import tqdm

from l2g_jax import files
from l2g_jax.data import store
from l2g_jax.data.images import Box, CropPolicy, crop_to_box, read_image
from l2g_jax.errors import InputError
from l2g_jax.features.protocol import LocalExtractor, LocalFeatures

OnError = Literal["raise", "empty"]

_IMAGES_PER_PART = 64


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
class _Recipe:
  """How images become features; with the images' own state it identifies a part."""

  extractor: LocalExtractor
  crop_policy: CropPolicy
  apply_exif: bool
  precision: store.Precision
  on_error: OnError


def extract_local(
  jobs: Sequence[ImageJob],
  extractor: LocalExtractor,
  directory: os.PathLike | str,
  *,
  crop_policy: CropPolicy = "truncate",
  apply_exif: bool = True,
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
    extractor: what to extract.
    directory: the store's folder.
    crop_policy: how boxes become crops, see `images.crop_to_box`.
    apply_exif: see `images.read_image`.
    precision: in which descriptors are kept.
    on_error: what an image that can't be read does: `raise` ends with an error that names every
      such image once all others are done; `empty` leaves it without descriptors, and warns.
    num_workers: processes; None = one a core.
    show_progress: whether to show a bar.

  Returns:
    The store.

  Raises:
    InputError: images can't be read.
  """
  root = pathlib.Path(directory)
  recipe = _Recipe(extractor, crop_policy, apply_exif, precision, on_error)
  chunks = [tuple(jobs[i : i + _IMAGES_PER_PART]) for i in range(0, len(jobs), _IMAGES_PER_PART)]
  keys = [_key(recipe, chunk) for chunk in chunks]
  tasks = [
    (recipe, chunk, root, part, key)
    for part, (chunk, key) in enumerate(zip(chunks, keys, strict=True))
    if not store.has_part(root, part, key=key)
  ]
  failures: list[str] = []
  if tasks:
    done = len(jobs) - sum(len(task[1]) for task in tasks)
    with tqdm.tqdm(
      total=len(jobs), initial=done, desc="local features", unit="image", disable=not show_progress
    ) as bar:
      for chunk, errors in _run(tasks, num_workers):
        failures += errors
        bar.update(len(chunk))
  if failures and on_error == "raise":
    raise InputError(
      f"{len(failures)} of {len(jobs)} images can't be used: {' '.join(failures[:5])}"
    )
  for failure in failures:
    tqdm.tqdm.write(f"Left without features. {failure}")
  store.finish(root, keys=keys)
  return store.open_store(root)


def _key(recipe: _Recipe, jobs: Sequence[ImageJob]) -> str:
  """Returns a checksum of all that a part depends on; an image that changed changes it."""

  def state(path: pathlib.Path) -> list[int]:
    if not path.is_file():
      return []
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]

  return files.checksum_json(
    {
      "extractor": [recipe.extractor.name, dict(recipe.extractor.settings)],
      "reading": [recipe.crop_policy, recipe.apply_exif, recipe.precision, recipe.on_error],
      "images": [[job.name, job.box, state(job.path)] for job in jobs],
    }
  )


def _run(tasks: Sequence[tuple], num_workers: int | None) -> Iterator[tuple[Sequence, list[str]]]:
  """Makes parts in worker processes; yields each part's jobs and what went wrong."""
  workers = min(num_workers or len(os.sched_getaffinity(0)), len(tasks))
  if workers == 1:
    for task in tasks:
      yield _make_part(task)
    return
  # Forked processes would inherit the locks of JAX's threads.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_follow_parent
  ) as pool:
    futures = [pool.submit(_make_part, task) for task in tasks]
    try:
      for future in concurrent.futures.as_completed(futures):
        yield future.result()
    finally:
      pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
  """Ends this worker with its parent; one whose parent is killed would wait for work for ever."""
  parent = multiprocessing.parent_process()
  assert parent is not None

  def follow() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=follow, daemon=True).start()


def _make_part(task: tuple) -> tuple[Sequence[ImageJob], list[str]]:
  """Extracts one part and saves it, unless an image failed and that is to raise."""
  recipe, jobs, root, part, key = task
  # The processes share the cores; threads within them would only contend.
  cv2.setNumThreads(1)
  features, failures = [], []
  for job in jobs:
    try:
      image = read_image(job.path, apply_exif=recipe.apply_exif)
      if job.box is not None:
        image = crop_to_box(image, job.box, policy=recipe.crop_policy)
      features.append(recipe.extractor.extract(image))
    except InputError as error:
      failures.append(f"{job.name}: {error}")
      features.append(_no_features(recipe.extractor.dimension))
  if not failures or recipe.on_error == "empty":
    store.save_part(
      root,
      part,
      key=key,
      names=[job.name for job in jobs],
      features=features,
      dimension=recipe.extractor.dimension,
      precision=recipe.precision,
    )
  return jobs, failures


def _no_features(dimension: int) -> LocalFeatures:
  return LocalFeatures(
    descriptors=np.zeros((0, dimension), np.float32),
    locations=np.zeros((0, 2), np.float32),
    scales=np.zeros(0, np.float32),
    strengths=np.zeros(0, np.float32),
  )

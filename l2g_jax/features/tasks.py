"""Makes parts of a feature store from images: by worker processes, or by a network."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import cv2
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features import batches, jobs, parts
from l2g_jax.features.jobs import Image, Recipe
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import Input, LocalFeatures
from l2g_jax.runtime import checksums
from l2g_jax.runtime.workers import run_tasks

OnError = Literal["raise", "empty"]

# Stands for the path of an image in stored failures, since the image may be moved.
PATH = "{path}"
# A kill loses so much of a worker's time at most, and the image that it was at.
PIECE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Task:
  """A part of a store to make.

  Attributes:
    recipe: how features are made.
    images: of the part.
    root: the store's folder.
    on_error: see `extract_local`.
    has_pieces: whether what is done is saved every now and then, in parts that are removed once
      this one is whole. Nobody else may complete the store meanwhile.
  """

  recipe: Recipe
  images: Sequence[Image]
  root: pathlib.Path
  on_error: OnError
  has_pieces: bool = False


@dataclasses.dataclass(frozen=True)
class Progress:
  """Images that are done.

  Attributes:
    num_images: number of images that are done since the last report.
    failures: by key of an image, the reason why it has no features.
    changed: keys of images that changed while they were read.
    notes: by name of an image, its `Photograph.notes`.
    part: the name of the part that was saved; empty = none was.
  """

  num_images: int
  failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
  changed: Sequence[str] = ()
  notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  part: str = ""


class ChangedError(InputError):
  """The content of an image is no longer that of its key."""


def run(tasks: Sequence[Task], num_workers: int) -> Iterator[Progress]:
  """Makes parts, and reports after each part or, with a network, after each batch of images."""
  if tasks and tasks[0].recipe.extractor.network is not None:
    yield from _run_network(tasks, num_workers)
    return
  yield from run_tasks(_make_part, tasks, num_workers)


def _make_part(task: Task) -> Progress:
  """Extracts and saves one part."""
  # Worker processes share the cores, so more threads would only contend. Without workers, this is
  # the caller's process, which gets its number of threads back.
  num_threads = cv2.getNumThreads()
  cv2.setNumThreads(1)
  results: dict[int, LocalFeatures | InputError] = {}
  pieces = _Pieces(task)
  notes: dict[str, Sequence[str]] = {}
  try:
    for number, image in enumerate(task.images):
      try:
        pixels, _ = _read_unchanged(image, task.recipe.reading, notes)
        results[number] = task.recipe.extractor.extract(pixels)
      except InputError as error:
        results[number] = error
      pieces.keep(results)
  finally:
    cv2.setNumThreads(num_threads)
  made = pieces.replace(results)
  return dataclasses.replace(made, num_images=len(task.images), notes=notes)


def _run_network(tasks: Sequence[Task], num_threads: int) -> Iterator[Progress]:
  """Makes parts in this process with a network; threads read images ahead across parts."""
  recipe = tasks[0].recipe
  network = recipe.extractor.network
  assert network is not None
  notes: dict[str, Sequence[str]] = {}

  def prepare(image: Image) -> Input:
    return network.prepare(*_read_unchanged(image, recipe.reading, notes))

  images = [image for task in tasks for image in task.images]
  inputs = batches.read_ahead(images, prepare, num_threads=num_threads)
  try:
    for task in tasks:
      results: dict[int, LocalFeatures | InputError] = {}
      pieces = _Pieces(task)
      part = (next(inputs) for _ in task.images)
      for described in batches.describe_part(network, part):
        results.update(described)
        pieces.keep(results)
        yield Progress(len(described))
      names = [image.job.name for image in task.images]
      part_notes = {name: notes.pop(name) for name in names if name in notes}
      made = pieces.replace(results)
      yield dataclasses.replace(made, notes=part_notes)
  finally:
    inputs.close()


class _Pieces:
  """What is done of a part that is not whole yet, in parts of its own."""

  def __init__(self, task: Task):
    self._task = task
    self._names: list[str] = []
    self._done: set[int] = set()
    self._time = time.monotonic()

  def keep(self, results: Mapping[int, LocalFeatures | InputError]) -> None:
    """Saves what came since the last time, if that is long ago.

    Args:
      results: so far, by the number of the image.
    """
    task = self._task
    is_late = time.monotonic() - self._time >= PIECE_SECONDS
    if not task.has_pieces or not is_late or len(results) == len(task.images):
      return
    # Why an image can't be used is soon found again.
    new = [n for n in results if n not in self._done and not isinstance(results[n], InputError)]
    if not new:
      return
    piece = dataclasses.replace(task, images=[task.images[n] for n in new])
    self._names.append(save(piece, [results[n] for n in new]).part)
    self._done |= set(new)
    self._time = time.monotonic()

  def replace(self, results: Mapping[int, LocalFeatures | InputError]) -> Progress:
    """Saves all results as the part, and removes the pieces."""
    made = save(self._task, [results[number] for number in range(len(self._task.images))])
    for name in set(self._names) - {made.part}:
      parts.remove_part(self._task.root, name)
    return made


def _read_unchanged(
  image: Image, reading: Reading, notes: dict[str, Sequence[str]]
) -> tuple[np.ndarray, tuple[int, int]]:
  """Reads an image and keeps its notes; raises ChangedError if its content has changed."""
  try:
    made = jobs.read(image.job, reading)
    if made.notes:
      notes[image.job.name] = made.notes
    return made.pixels, made.whole
  finally:
    # The result, or the failure, belongs to the key only if the content is still the same.
    if checksums.checksum_file(image.job.path) != image.content:
      raise ChangedError(image.job.name)


def save(task: Task, results: Sequence[LocalFeatures | InputError]) -> Progress:
  """Saves images as a part, except those that changed, and failed ones if `on_error` is `raise`."""
  recipe = task.recipe
  dimension = recipe.extractor.dimension
  saved: list[tuple[Image, LocalFeatures]] = []
  failures: dict[str, str] = {}
  changed: list[str] = []
  name = ""
  for image, result in zip(task.images, results, strict=True):
    if isinstance(result, ChangedError):
      changed.append(image.key)
      continue
    if isinstance(result, InputError):
      failures[image.key] = str(result).replace(os.fspath(image.job.path), PATH)
      if task.on_error == "raise":
        continue
      result = _no_features(dimension)
    saved.append((image, result))
  if saved:
    keys = [image.key for image, _ in saved]
    name = parts.part_name(keys)
    parts.save_part(
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
  return Progress(0, failures, changed, part=name)


def _no_features(dimension: int) -> LocalFeatures:
  return LocalFeatures(
    descriptors=np.zeros((0, dimension), np.float32),
    locations=np.zeros((0, 2), np.float32),
    scales=np.zeros(0, np.float32),
    strengths=np.zeros(0, np.float32),
  )

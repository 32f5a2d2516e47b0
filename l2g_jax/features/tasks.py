"""Makes parts of a feature store from images: by worker processes, or by a network."""

import dataclasses
import os
import pathlib
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


@dataclasses.dataclass(frozen=True)
class Task:
  """A part of a store to make."""

  recipe: Recipe
  images: Sequence[Image]
  root: pathlib.Path
  on_error: OnError


@dataclasses.dataclass(frozen=True)
class Progress:
  """Images that are done.

  Attributes:
    num_images: number of images that are done since the last report.
    failures: by key of an image, the reason why it has no features.
    changed: keys of images that changed while they were read.
    notes: by name of an image, its `Photograph.notes`.
  """

  num_images: int
  failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
  changed: Sequence[str] = ()
  notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


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
  results: list[LocalFeatures | InputError] = []
  notes: dict[str, Sequence[str]] = {}
  try:
    for image in task.images:
      try:
        pixels, _ = _read_unchanged(image, task.recipe.reading, notes)
        results.append(task.recipe.extractor.extract(pixels))
      except InputError as error:
        results.append(error)
  finally:
    cv2.setNumThreads(num_threads)
  return dataclasses.replace(save(task, results), num_images=len(task.images), notes=notes)


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
      part = (next(inputs) for _ in task.images)
      for described in batches.describe_part(network, part):
        results.update(described)
        yield Progress(len(described))
      names = [image.job.name for image in task.images]
      part_notes = {name: notes.pop(name) for name in names if name in notes}
      made = save(task, [results[number] for number in range(len(task.images))])
      yield dataclasses.replace(made, notes=part_notes)
  finally:
    inputs.close()


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
  return Progress(0, failures, changed)


def _no_features(dimension: int) -> LocalFeatures:
  return LocalFeatures(
    descriptors=np.zeros((0, dimension), np.float32),
    locations=np.zeros((0, 2), np.float32),
    scales=np.zeros(0, np.float32),
    strengths=np.zeros(0, np.float32),
  )

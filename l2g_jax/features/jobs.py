"""Images to describe, and the keys of their features: content, box, and recipe."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from l2g_jax.data.images import Box, CropPolicy, Photograph, crop_photograph, read_photograph
from l2g_jax.features.parts import Precision
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.runtime import checksums, files

# Counted up when the pixels or the features of images change.
_VERSION = 4
_DEFAULT_READING = Reading("truncate", apply_exif=True)


@dataclasses.dataclass(frozen=True)
class ImageJob:
  """One image to extract features from.

  Attributes:
    name: its name in the store.
    path: its file.
    box: x1, y1, x2, y2 of the part that is described; None = the whole image.
  """

  name: str
  path: pathlib.Path
  box: Box | None = None


@dataclasses.dataclass(frozen=True)
class Input:
  """The input of an extractor.

  Attributes:
    pixels: `[height, width, 3]` uint8, the pixels of the box.
    whole: height and width of the whole photograph as it was read.
    notes: see `Photograph.notes`.
  """

  pixels: np.ndarray
  whole: tuple[int, int]
  notes: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The way from images to features; with the content and box of an image it gives its key."""

  extractor: LocalExtractor
  reading: Reading
  precision: Precision


@dataclasses.dataclass(frozen=True)
class Image:
  """An image whose content is known.

  Attributes:
    job: the image.
    content: the checksum of its file; None if the file can't be read.
    key: the key of its features.
  """

  job: ImageJob
  content: str | None
  key: str


def default_crop_policy(extractor: LocalExtractor | GlobalExtractor) -> CropPolicy:
  """Returns the crop policy of an extractor, for callers that give none."""
  return (extractor.reading or _DEFAULT_READING).crop_policy


def make_recipe(
  extractor: LocalExtractor,
  crop_policy: CropPolicy | None,
  apply_exif: bool | None,
  precision: Precision,
) -> Recipe:
  """Returns a recipe; settings that are None are those of the extractor."""
  reading = extractor.reading or _DEFAULT_READING
  if crop_policy is not None:
    reading = dataclasses.replace(reading, crop_policy=crop_policy)
  if apply_exif is not None:
    reading = dataclasses.replace(reading, apply_exif=apply_exif)
  return Recipe(extractor, reading, precision)


def identify(
  jobs: Sequence[ImageJob],
  recipe: Recipe,
  memory: os.PathLike | str | None,
  *,
  show_progress: bool,
) -> list[Image]:
  """Returns images with their contents and keys.

  Args:
    jobs: the images.
    recipe: how their features are made.
    memory: see `checksums.checksum_files`.
    show_progress: whether to show progress.
  """
  contents = checksums.checksum_files(
    [job.path for job in jobs], memory, show_progress=show_progress
  )
  return [
    Image(job, content, _key(job, content, recipe))
    for job, content in zip(jobs, contents, strict=True)
  ]


def read(job: ImageJob, reading: Reading, photograph: Photograph | None = None) -> Input:
  """Reads an image and cuts it to its box.

  Args:
    job: the image.
    reading: how it is read.
    photograph: its file as `read_photograph` read it, turned by EXIF; None = it is read now.

  Raises:
    InputError: the image can't be read, or its box lies outside the image.
  """
  if photograph is None or not reading.apply_exif:
    photograph = read_photograph(job.path, apply_exif=reading.apply_exif)
  pixels = photograph.pixels
  whole = (pixels.shape[0], pixels.shape[1])
  if job.box is not None:
    pixels = crop_photograph(photograph, job.box, policy=reading.crop_policy)
  return Input(pixels, whole, photograph.notes)


def _key(job: ImageJob, content: str | None, recipe: Recipe) -> str:
  """Returns a checksum of everything that the features of an image depend on."""
  return files.checksum_json(
    {
      "version": _VERSION,
      "extractor": [recipe.extractor.name, dict(recipe.extractor.settings)],
      "apply_exif": recipe.reading.apply_exif,
      "precision": recipe.precision,
      # An unreadable file has only a failure to remember, which belongs to its path.
      "content": content or ["none", os.path.abspath(job.path)],
      "crop": None if job.box is None else [recipe.reading.crop_policy, list(job.box)],
    }
  )

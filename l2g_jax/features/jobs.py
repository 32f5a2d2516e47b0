"""What identifies the features of an image: its content, its box, and how features are made."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from l2g_jax.data.images import Box, CropPolicy, crop_photograph, read_photograph
from l2g_jax.features.parts import Precision
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.runtime import checksums, files

# Counted up with whatever changes the pixels or the features that images give.
_VERSION = 4
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
class Input:
  """What an extractor is given of an image.

  Attributes:
    pixels: `[height, width, 3]` uint8, of the box alone.
    whole: height and width of the whole photograph as it was read.
    notes: what was done to read it, see `Photograph.notes`.
  """

  pixels: np.ndarray
  whole: tuple[int, int]
  notes: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How images become features; with an image's content and box it identifies its features."""

  extractor: LocalExtractor
  reading: Reading
  precision: Precision


@dataclasses.dataclass(frozen=True)
class Image:
  """An image whose content is known.

  Attributes:
    job: the image.
    content: the checksum of its file; None where that can't be read.
    key: what identifies its features.
  """

  job: ImageJob
  content: str | None
  key: str


def default_crop_policy(extractor: LocalExtractor | GlobalExtractor) -> CropPolicy:
  """Returns how boxes become crops for an extractor where nothing else is asked for."""
  return (extractor.reading or _DEFAULT_READING).crop_policy


def make_recipe(
  extractor: LocalExtractor,
  crop_policy: CropPolicy | None,
  apply_exif: bool | None,
  precision: Precision,
) -> Recipe:
  """Puts settings together; what is None is the extractor's own."""
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
  """Looks at the contents of images."""
  contents = checksums.checksum_files(
    [job.path for job in jobs], memory, show_progress=show_progress
  )
  return [
    Image(job, content, _key(job, content, recipe))
    for job, content in zip(jobs, contents, strict=True)
  ]


def read(job: ImageJob, reading: Reading) -> Input:
  """Reads an image, and cuts it to its box.

  Raises:
    InputError: the image can't be read, or its box lies outside.
  """
  photograph = read_photograph(job.path, apply_exif=reading.apply_exif)
  pixels = photograph.pixels
  whole = (pixels.shape[0], pixels.shape[1])
  if job.box is not None:
    pixels = crop_photograph(photograph, job.box, policy=reading.crop_policy)
  return Input(pixels, whole, photograph.notes)


def _key(job: ImageJob, content: str | None, recipe: Recipe) -> str:
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

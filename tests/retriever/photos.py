"""A folder of small photographs, and what searches it in no time: descriptors are pixels."""

import os
import pathlib

import numpy as np
from PIL import Image

from l2g_jax.cann import CannConfig
from l2g_jax.data.images import list_images
from l2g_jax.features.extraction import ImageJob
from l2g_jax.features.protocol import LocalExtractor, LocalFeatures
from l2g_jax.retriever import collection as collections
from l2g_jax.retriever.collection import Collection
from l2g_jax.retriever.options import Features, StageOptions
from l2g_jax.runtime.stopwatch import Stopwatch

NUM_IMAGES = 40
_DIMENSION, _COUNT = 16, 12
# All photographs have one size and one time, so that only the content tells them apart.
_TIME_NS = 10**18


def pixels(number: int) -> np.ndarray:
  """Returns the photograph of a number."""
  return np.random.default_rng(number).integers(0, 256, (_COUNT, 8, 3), np.uint8)


def write(path: pathlib.Path, number: int) -> pathlib.Path:
  """Writes the photograph of a number."""
  temporary = path.with_name(f".{path.name}-{os.getpid()}")
  Image.fromarray(pixels(number)).save(temporary, format="bmp")
  os.utime(temporary, ns=(_TIME_NS, _TIME_NS))
  temporary.replace(path)
  return path


def write_folder(folder: pathlib.Path) -> pathlib.Path:
  """Writes photographs `photo-000.bmp` and so on, each of its own number."""
  folder.mkdir(parents=True)
  for number in range(NUM_IMAGES):
    write(folder / f"photo-{number:03d}.bmp", number)
  return folder


def describe(image: np.ndarray) -> LocalFeatures:
  """Describes every row of a photograph by its first values."""
  rows = image.reshape(len(image), -1)[:, :_DIMENSION].astype(np.float32) - 127.5
  one = np.ones(len(rows), np.float32)
  return LocalFeatures(rows, np.zeros((len(rows), 2), np.float32), one, one)


def extractor(extract=describe) -> LocalExtractor:
  """Returns what extracts features by a function."""
  return LocalExtractor("rows", _DIMENSION, {}, extract)


def options(extract=describe, *, whiten: bool = True, **changes) -> StageOptions:
  """Returns settings; features are extracted by a function."""
  settings = {
    "features": Features(local=extractor(extract), whiten=whiten),
    "index": CannConfig(num_lists=4),
    "num_candidates": 5,
    "seed": 0,
  }
  return StageOptions(**{**settings, **changes})


def jobs_of(folder: pathlib.Path) -> list[ImageJob]:
  """Returns the images that are in a folder now."""
  return [ImageJob(*image) for image in zip(*list_images(folder)[:2], strict=True)]


def follow(
  folder: pathlib.Path, work: pathlib.Path, extract=describe, *, verify: bool = False, **changes
) -> Collection:
  """Makes a folder ready for queries, as it is now."""
  settings = options(extract, **changes)
  return collections.follow(jobs_of(folder), work, settings, Stopwatch(), verify=verify)


def best(collection: Collection, query: pathlib.Path) -> str:
  """Returns the name of the image most similar to a photograph, by both of its features."""
  described = collections.describe_query(collection, ImageJob(query.name, query), Stopwatch())
  found = collection.search(described.descriptors, 1)
  by_global = np.argmax(described.global_features @ collection.global_features.T)
  name = collection.names[found.ids[0, 0]]
  assert name == collection.names[by_global]
  np.testing.assert_allclose(found.similarities[0, 0], 1.0, atol=0.02)
  return name


def check(collection: Collection, folder: pathlib.Path) -> None:
  """Checks that a collection is that of a folder: names, neighbours, features and searches."""
  jobs = jobs_of(folder)
  names = collection.names
  assert sorted(names) == [job.name for job in jobs]
  assert collection.lists.ids.shape == (len(names), min(5, len(names) - 1))
  assert isinstance(collection.lists.ids, np.memmap)
  assert f"neighbors-{collection.kinds[0].index.state}-" in str(collection.lists.ids.filename)
  assert collection.global_features.shape[0] == len(names)
  for job in jobs:
    assert best(collection, job.path) == job.name

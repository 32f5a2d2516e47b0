"""What the tests have nodes do."""

import os
import pathlib

import cv2
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.runtime.workers import available_cores


def photographs(folder, count):
  """Writes small photographs and one broken file; returns their jobs."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  paths = [folder / f"{number}.png" for number in range(count)]
  for path in paths:
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8), (0, 0), 1.5)
    cv2.imwrite(os.fspath(path), pixels)
  broken = folder / "broken.png"
  broken.write_bytes(b"no photograph")
  return [ImageJob(path.stem, path) for path in [*paths, broken]]


def die_once(task, folder):
  """Leaves a file for each time that a task begins; the first time task 2 kills its process."""
  times = len(list(pathlib.Path(folder).glob(f"{task}-*")))
  (pathlib.Path(folder) / f"{task}-{times}").touch()
  if task == 2 and not times:
    os._exit(1)
  return task


def die(task, shared):
  os._exit(1)


def refuse(task, refused):
  if task == refused:
    raise InputError(f"task {task} can't be done")


def count_cores(task, shared):
  return available_cores()

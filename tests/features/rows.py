"""An extractor that describes an image by the first values of each of its rows."""

import functools
import time

import numpy as np

from l2g_jax.features import LocalExtractor, LocalFeatures

# Of the collections that it describes.
NUM_IMAGES = 11


def extract_rows(image, *, seconds):
  time.sleep(seconds)
  count = len(image)
  values = np.arange(count, dtype=np.float32)
  return LocalFeatures(
    descriptors=image.reshape(count, -1)[:, :4].astype(np.float32),
    locations=np.stack([values, values], axis=1),
    scales=values + 1,
    strengths=-values,
  )


def rows(*, seconds=0.0, name="rows"):
  """An extractor whose descriptors are the first values of every row of an image."""
  return LocalExtractor(name, 4, {}, functools.partial(extract_rows, seconds=seconds))

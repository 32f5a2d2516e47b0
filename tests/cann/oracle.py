"""Brute force over the codes that an index stores, by plain loops, and small collections."""

import numpy as np
import pytest

from l2g_jax.cann import CannIndex
from l2g_jax.errors import InputError
from l2g_jax.similarity import kernels
from l2g_jax.similarity.codec import decode, encode


def similarity(query, image, kernel: kernels.Kernel = kernels.Power(), burst_power=0.0):
  """Returns the mean over the query's codes of f(best cosine), in double precision.

  Those that are alike weigh less.
  """
  query, image = (_unit(values) for values in (query, image))
  if not len(query) or not len(image):
    return 0.0
  alike = [sum(max(row @ other, 0.0) ** burst_power for other in query) for row in query]
  worth = [kernel((image @ row).max()) for row in query]
  return float(np.average(worth, weights=1.0 / np.array(alike)))


def ranking(query, images, kernel: kernels.Kernel = kernels.Power(), burst_power=0.0):
  """Returns ids and similarities of all images, best first, ties by the smaller id."""
  values = np.array([similarity(query, image, kernel, burst_power) for image in images])
  order = np.argsort(-values, kind="stable")
  return order, values[order]


def collection(seed, *, num_images=40, most=30, dimension=16):
  """Makes images whose descriptors come from shared clusters, some images without any."""
  rng = np.random.default_rng(seed)
  clusters = rng.standard_normal((25, dimension))
  images = {}
  for number in range(num_images):
    count = 0 if number % 13 == 12 else int(rng.integers(1, most))
    values = clusters[rng.integers(0, len(clusters), count)]
    values = values + 0.4 * rng.standard_normal((count, dimension))
    images[f"image-{number:03d}"] = values.astype(np.float32)
  return images


def check_damage_is_named(index, expected):
  """Damages the files of an index, the expected among them, one after another."""
  paths = [*index.directory.glob("*-*/*.npy")]
  assert expected < {path.stem for path in paths}
  for path in paths:
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"{path.name} is truncated"):
      CannIndex.open(index.directory)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"{path.name} was altered"):
      CannIndex.open(index.directory, verify=True)
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name} is missing"):
      CannIndex.open(index.directory)
    path.write_bytes(content)
  CannIndex.open(index.directory, verify=True)


def _unit(values):
  return decode(encode(np.asarray(values), where="a test")).astype(np.float64)

"""VLAD: one global vector per image from its local descriptors, without learned weights.

Source: Jegou et al. 2010; intra-normalisation of Arandjelovic and Zisserman 2013; PCA of Jegou and
Chum 2012.
"""

import dataclasses
import os
from collections.abc import Iterable

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features.whitening import Whitening, apply_whitening, fit_whitening, normalize_rows
from l2g_jax.runtime import files
from l2g_jax.similarity.kmeans import assign, kmeans

_KIND = "l2g_jax.vlad"
_VERSION = 1
# The projection is learned from at most so many vectors: 64 MiB of them at 64 words of SIFT.
_MOST_IMAGES = 2048


@dataclasses.dataclass(frozen=True)
class Vlad:
  """A fitted aggregation.

  Attributes:
    words: `[k, d]` float32, the codebook.
    whitening: the map from vectors of `k * d` dimensions to global features.
  """

  words: np.ndarray
  whitening: Whitening


def fit_vlad(
  sample: np.ndarray,
  collection: Iterable[np.ndarray],
  *,
  num_words: int = 64,
  dimension: int = 128,
  power: float = 0.0,
  seed: int = 0,
) -> tuple[Vlad, np.ndarray]:
  """Learns the codebook from a sample, and the projection from the vectors of the collection.

  Args:
    sample: `[n, d]` descriptors.
    collection: `[count, d]` descriptors of each of N images.
    num_words: k, the size of the codebook.
    dimension: D, the length of a global feature; it is smaller where there are fewer images.
    power: see `fit_whitening`; 0 only rotates.
    seed: seed of k-means.

  Returns:
    The aggregation, and the global features of the collection, `[N, D]` float32.

  Raises:
    InputError: the sample is empty.
  """
  if not len(sample):
    raise InputError("No image has local descriptors, so there is no codebook to learn.")
  words = kmeans(sample, num_words, num_iterations=20, seed=seed)
  raw = np.stack([_aggregate(words, descriptors) for descriptors in collection])
  present = raw[np.any(raw != 0.0, axis=1)]
  present = present[:: 1 + len(present) // _MOST_IMAGES]
  vlad = Vlad(words, _fit_projection(present, dimension, power))
  return vlad, _project(vlad, raw)


def apply_vlad(vlad: Vlad, images: Iterable[np.ndarray]) -> np.ndarray:
  """Returns global features `[N, D]` float32 of unit norm; zero where there are no descriptors."""
  return _project(vlad, np.stack([_aggregate(vlad.words, image) for image in images]))


def save_vlad(directory: os.PathLike | str, vlad: Vlad) -> None:
  """Writes an aggregation as a bundle."""
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={
      "words": vlad.words,
      "mean": vlad.whitening.mean,
      "projection": vlad.whitening.projection,
    },
    metadata={},
  )


def load_vlad(directory: os.PathLike | str) -> Vlad:
  """Reads an aggregation; raises InputError if it is missing or altered."""
  arrays = files.load_bundle(directory, kind=_KIND, version=_VERSION).arrays
  whitening = Whitening(np.array(arrays["mean"]), np.array(arrays["projection"]))
  return Vlad(np.array(arrays["words"]), whitening)


def _aggregate(words: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
  """Sums residuals by word, normalises each sum, takes signed roots and normalises the whole."""
  sums = np.zeros_like(words)
  if len(descriptors):
    labels, _ = assign(descriptors, words)
    np.add.at(sums, labels, descriptors - words[labels])
  flat = normalize_rows(sums).ravel()
  return normalize_rows((np.sign(flat) * np.sqrt(np.abs(flat)))[None])[0]


def _fit_projection(values: np.ndarray, dimension: int, power: float) -> Whitening:
  """Whitens in the span of the vectors, which are longer than they are many."""
  if len(values) < 3:
    identity = np.eye(values.shape[1], min(dimension, values.shape[1]), dtype=np.float32)
    return Whitening(np.zeros(values.shape[1], np.float32), identity)
  mean = values.mean(axis=0, dtype=np.float64)
  basis = np.linalg.svd((values - mean).astype(np.float32), full_matrices=False)[2]
  basis = basis[: min(dimension, len(values) - 1)].T
  inner = fit_whitening((values - mean) @ basis, power=power)
  return Whitening(mean.astype(np.float32), (basis @ inner.projection).astype(np.float32))


def _project(vlad: Vlad, raw: np.ndarray) -> np.ndarray:
  present = np.any(raw != 0.0, axis=1, keepdims=True)
  return np.where(present, apply_whitening(vlad.whitening, raw), 0.0).astype(np.float32)

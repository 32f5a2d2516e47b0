"""Distractors: images without any judgement that stand beside those of a data set."""

import os
from collections.abc import Sequence

import numpy as np

from experiments.fire_like import DIMENSION, SPECTRUM, FireLike
from l2g_jax.errors import InputError
from l2g_jax.features.store import FeatureStore, open_store
from l2g_jax.features.whitening import Whitening
from l2g_jax.retriever import vocabulary

# Real descriptors from which the distribution of synthetic ones is learned.
_SAMPLE = 50_000


class Synthetic(Sequence):
  """Images like those of `FireLike` whose descriptors have the mean and covariance of real ones.

  The clusters, the bursts and how unevenly themes are popular are FIRe's; the directions are those
  of the data set. Distractor i is the same in collections of any size.
  """

  def __init__(self, count: int, num_images: int, sample: np.ndarray, *, seed: int):
    """Learns from a sample of real descriptors.

    Args:
      count: descriptors of an image.
      num_images: N.
      sample: `[n, 128]`, of unit norm.
      seed: of all random numbers.

    Raises:
      InputError: real descriptors have another dimension.
    """
    if sample.shape[1] != DIMENSION:
      raise InputError(
        f"Synthetic distractors have {DIMENSION} dimensions, and the descriptors of the data set"
        f" {sample.shape[1]}; --distractors_from names a store of others."
      )
    self._made = FireLike(
      num_images, num_landmarks=0, images_per_landmark=1, count=count, seed=seed
    )
    self._mean = sample.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(sample, rowvar=False))
    # The largest first, as the spectrum of FIRe.
    scales = np.sqrt(np.maximum(variances[::-1], 0.0)) / SPECTRUM
    self._map = (directions[:, ::-1] * scales).T.astype(np.float32)

  def __len__(self) -> int:
    return len(self._made)

  def __getitem__(self, number: int) -> np.ndarray:
    values = self._made[number][1] @ self._map + self._mean
    return values / np.linalg.norm(values, axis=1, keepdims=True)


class Stored(Sequence):
  """The images of a feature store, such as those of `revisitop1m`, whitened as the data set's."""

  def __init__(self, path: os.PathLike | str, whitening: Whitening | None, dimension: int):
    """Opens a store.

    Raises:
      InputError: it can't be used, or its descriptors have another dimension than the data set's.
    """
    self._store, self._whitening = open_store(path), whitening
    if self._store.dimension != dimension:
      raise InputError(
        f"The descriptors in {path} have {self._store.dimension} dimensions, not {dimension}."
      )

  def __len__(self) -> int:
    return len(self._store)

  def __getitem__(self, number: int) -> np.ndarray:
    return vocabulary.described(self._whitening, self._store[number].descriptors)


def sample_of(store: FeatureStore, whitening: Whitening | None, *, seed: int) -> np.ndarray:
  """Returns real descriptors `[n, d]` of unit norm, whitened as the index has them."""
  return vocabulary.whitened(whitening, store.sample_descriptors(_SAMPLE, seed=seed))

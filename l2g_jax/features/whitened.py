"""The descriptors of a store as an index takes them: whitened, image by image."""

from collections.abc import Sequence

import numpy as np

from l2g_jax.features.store import FeatureStore
from l2g_jax.features.whitening import Whitening, apply_whitening


class WhitenedImages(Sequence):
  """The names and descriptors of a store, whitened if there is a whitening, read when asked for."""

  def __init__(self, features: FeatureStore, whitening: Whitening | None):
    self._features = features
    self._whitening = whitening

  def __len__(self) -> int:
    return len(self._features)

  def __getitem__(self, image: int) -> tuple[str, np.ndarray]:
    values = self._features[image].descriptors
    if self._whitening is not None:
      values = apply_whitening(self._whitening, values)
    return self._features.names[image], values

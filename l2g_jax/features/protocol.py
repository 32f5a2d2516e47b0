"""What every extractor takes and gives: SIFT, FIRe and SuperGlobal are exchanged by name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class LocalFeatures:
  """The local features of one image, strongest first; `count` may be 0.

  Attributes:
    descriptors: `[count, d]` float32, not necessarily normalised.
    locations: `[count, 2]` float32, x and y in pixels of the image that was given.
    scales: `[count]` float32.
    strengths: `[count]` float32, descending.
  """

  descriptors: np.ndarray
  locations: np.ndarray
  scales: np.ndarray
  strengths: np.ndarray


@dataclasses.dataclass(frozen=True)
class LocalExtractor:
  """A local feature extractor: a function of an image, and what identifies its results.

  Attributes:
    name: how it is called on a command line, such as `sift`.
    dimension: the length `d` of a descriptor.
    settings: everything its results depend on, JSON values; part of every cache key.
    extract: from an RGB image `[height, width, 3]` uint8 to its `LocalFeatures`. Picklable, so that
      worker processes can run it.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], LocalFeatures]


@dataclasses.dataclass(frozen=True)
class GlobalExtractor:
  """A global feature extractor, such as SuperGlobal.

  Attributes:
    name: how it is called on a command line, such as `superglobal`.
    dimension: the length `D` of a feature.
    settings: everything its results depend on, JSON values; part of every cache key.
    extract: from an RGB image `[height, width, 3]` uint8 to `[D]` float32 of unit norm.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], np.ndarray]

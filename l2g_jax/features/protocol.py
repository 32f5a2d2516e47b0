"""What every extractor takes and gives: SIFT, FIRe and SuperGlobal are exchanged by name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
  # It imports the reading of images, which stands beside the stores of what is defined here.
  from l2g_jax.features.preprocess import Reading

Features = TypeVar("Features")

# Of the networks' convolutions.
Dtype = Literal["float32", "bfloat16"]

# Pixels of the longer side to which photographs are reduced, as those of Revisited Oxford are.
MAX_SIDE = 1024


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
class Network(Generic[Features]):
  """The two steps of a learned extractor; images of one size pass the second together.

  Attributes:
    prepare: on the host, from an RGB image `[height, width, 3]` uint8, and the height and width of
      the photograph that it was cut from, to an input `[h, w, 3]` float32.
    describe: on the device, from inputs `[batch_size, h, w, 3]` to the features of each.
    batch_size: how many inputs are described together.
  """

  prepare: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
  describe: Callable[[np.ndarray], Sequence[Features]]
  batch_size: int


@dataclasses.dataclass(frozen=True)
class LocalExtractor:
  """A local feature extractor: a function of an image, and what identifies its results.

  Attributes:
    name: how it is called on a command line, such as `sift`.
    dimension: the length `d` of a descriptor.
    settings: everything its results depend on, JSON values; part of every cache key.
    extract: from an RGB image `[height, width, 3]` uint8 to its `LocalFeatures`. Picklable, so that
      worker processes can run it.
    reading: how photographs are read and cropped for it; None = turned as their EXIF orientation
      says, boxes truncated.
    network: the steps of `extract`, where they are those of a network.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], LocalFeatures]
  reading: "Reading | None" = None
  network: Network[LocalFeatures] | None = None


@dataclasses.dataclass(frozen=True)
class GlobalExtractor:
  """A global feature extractor, such as SuperGlobal.

  Attributes:
    name: how it is called on a command line, such as `superglobal`.
    dimension: the length `D` of a feature.
    settings: everything its results depend on, JSON values; part of every cache key.
    extract: from an RGB image `[height, width, 3]` uint8 to `[D]` float32 of unit norm.
    reading: how photographs are read and cropped for it; None = turned as their EXIF orientation
      says, boxes truncated.
    network: the steps of `extract`, where they are those of a network.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], np.ndarray]
  reading: "Reading | None" = None
  network: Network[np.ndarray] | None = None


def extract_with(network: Network[Features], image: np.ndarray) -> Features:
  """Passes one whole photograph `[height, width, 3]` uint8, RGB, through a network."""
  return network.describe(network.prepare(image, (image.shape[0], image.shape[1]))[None])[0]


def as_local(extractor: GlobalExtractor) -> LocalExtractor:
  """Returns an extractor that gives a global feature as the one descriptor of its image."""
  network, local_network = extractor.network, None
  if network is not None:
    describe = functools.partial(_describe_one, describe=network.describe)
    local_network = Network(network.prepare, describe, network.batch_size)
  return LocalExtractor(
    name=extractor.name,
    dimension=extractor.dimension,
    settings=extractor.settings,
    extract=functools.partial(_extract_one, extract=extractor.extract),
    reading=extractor.reading,
    network=local_network,
  )


def _describe_one(
  inputs: np.ndarray, *, describe: Callable[[np.ndarray], Sequence[np.ndarray]]
) -> Sequence[LocalFeatures]:
  return [_one_feature(feature) for feature in describe(inputs)]


def _extract_one(
  image: np.ndarray, *, extract: Callable[[np.ndarray], np.ndarray]
) -> LocalFeatures:
  return _one_feature(extract(image))


def _one_feature(feature: np.ndarray) -> LocalFeatures:
  one = np.ones(1, np.float32)
  return LocalFeatures(feature[None], np.zeros((1, 2), np.float32), one, one)

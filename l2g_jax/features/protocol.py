"""Inputs and outputs that all extractors share, so that one can replace another by name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from l2g_jax.features.preprocess import Reading

Features = TypeVar("Features")

# An input of a network; inputs of equal shapes pass it together.
Input = np.ndarray | tuple[np.ndarray, ...]

# Type of the convolutions of a network.
Dtype = Literal["float32", "bfloat16"]

# Photographs are reduced to this longer side in pixels, as those of Revisited Oxford are.
MAX_SIDE = 1024


@dataclasses.dataclass(frozen=True)
class LocalFeatures:
  """The local features of one image, strongest first; `count` may be 0.

  Attributes:
    descriptors: `[count, d]` float32, not necessarily normalised.
    locations: `[count, 2]` float32, x and y in pixels of the extractor's input.
    scales: `[count]` float32; their unit is the extractor's.
    strengths: `[count]` float32, descending.
  """

  descriptors: np.ndarray
  locations: np.ndarray
  scales: np.ndarray
  strengths: np.ndarray


@dataclasses.dataclass(frozen=True)
class Network(Generic[Features]):
  """The two steps of a learned extractor; inputs of one shape pass the second step together.

  Attributes:
    prepare: on the host, maps an RGB image `[height, width, 3]` uint8, and the height and width of
      the photograph from which it was cut, to an input: an array, such as `[h, w, 3]` float32, or a
      tuple of arrays.
    describe: on the device, maps inputs, stacked to `[batch_size, h, w, 3]` or a tuple of such
      arrays, to the features of each.
    batch_size: number of inputs that are described together.
    num_threads: number of batches that are described at once.
  """

  prepare: Callable[[np.ndarray, tuple[int, int]], Input]
  describe: Callable[[Any], Sequence[Features]]
  batch_size: int
  num_threads: int = 1


@dataclasses.dataclass(frozen=True)
class LocalExtractor:
  """A local feature extractor: a function of an image, and settings that identify its results.

  Attributes:
    name: its name on a command line, such as `sift`.
    dimension: the length `d` of a descriptor.
    settings: JSON values on which its results depend; part of every cache key.
    extract: maps an RGB image `[height, width, 3]` uint8 to its `LocalFeatures`. It can be pickled,
      so that worker processes can run it.
    reading: how it reads and crops photographs; None = turned by EXIF, with boxes truncated.
    network: the two steps of `extract`, if it is a network.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], LocalFeatures]
  reading: Reading | None = None
  network: Network[LocalFeatures] | None = None


@dataclasses.dataclass(frozen=True)
class GlobalExtractor:
  """A global feature extractor, such as SuperGlobal.

  Attributes:
    name: its name on a command line, such as `superglobal`.
    dimension: the length `D` of a feature.
    settings: JSON values on which its results depend; part of every cache key.
    extract: maps an RGB image `[height, width, 3]` uint8 to `[D]` float32 of unit norm.
    reading: how it reads and crops photographs; None = turned by EXIF, with boxes truncated.
    network: the two steps of `extract`, if it is a network.
  """

  name: str
  dimension: int
  settings: Mapping[str, Any]
  extract: Callable[[np.ndarray], np.ndarray]
  reading: Reading | None = None
  network: Network[np.ndarray] | None = None


def extract_with(network: Network[Features], image: np.ndarray) -> Features:
  """Returns a network's features of one whole photograph, `[height, width, 3]` uint8, RGB."""
  prepared = network.prepare(image, (image.shape[0], image.shape[1]))
  return network.describe(stack_inputs([prepared]))[0]


def stack_inputs(inputs: Sequence[Input]) -> Input:
  """Stacks inputs of equal shapes along a new first axis, in a tuple each of its arrays."""
  first = inputs[0]
  if isinstance(first, tuple):
    stacked = tuple(np.stack(arrays) for arrays in zip(*inputs, strict=True))
    # A tuple may have names.
    return type(first)(*stacked) if hasattr(first, "_fields") else stacked
  return np.stack([np.asarray(values) for values in inputs])


def as_local(extractor: GlobalExtractor) -> LocalExtractor:
  """Returns a local extractor whose one descriptor of an image is its global feature."""
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
  inputs: Input, *, describe: Callable[[Input], Sequence[np.ndarray]]
) -> Sequence[LocalFeatures]:
  return [_one_feature(feature) for feature in describe(inputs)]


def _extract_one(
  image: np.ndarray, *, extract: Callable[[np.ndarray], np.ndarray]
) -> LocalFeatures:
  return _one_feature(extract(image))


def _one_feature(feature: np.ndarray) -> LocalFeatures:
  one = np.ones(1, np.float32)
  return LocalFeatures(feature[None], np.zeros((1, 2), np.float32), one, one)

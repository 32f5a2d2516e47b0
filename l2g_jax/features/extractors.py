"""The learned networks as extractors, with weights that `l2g_jax.interop` converted."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jax
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features import compiled, fire, lite0, preprocess, superglobal
from l2g_jax.features.protocol import (
  MAX_SIDE,
  Dtype,
  GlobalExtractor,
  Input,
  LocalExtractor,
  LocalFeatures,
  Network,
  extract_with,
)
from l2g_jax.features.weights import Weights, load_weights


def superglobal_extractor(
  weights: os.PathLike | str,
  *,
  num_scales: superglobal.NumScales = 3,
  antialias: bool = False,
  max_side: int | None = None,
  dtype: Dtype = "float32",
  batch_size: int | None = None,
) -> GlobalExtractor:
  """Returns an extractor of SuperGlobal's features; see `superglobal.SuperGlobalConfig`.

  Photographs are read and cropped as `preprocess.SUPERGLOBAL_READING` says.

  Args:
    weights: a file made by `l2g convert`; it tells the depth of the network.
    num_scales: 1, 3 or 5.
    antialias: whether smaller sizes are antialiased.
    max_side: the longer side of an image is reduced to this many pixels, a crop as much as its
      image; None = no reduction, as in the reference, whose images have 1024.
    dtype: type of the convolutions.
    batch_size: number of images of one size described together; None = 1 on a CPU, else 8.

  Raises:
    InputError: the weights can't be used, or a setting lies outside its range.
  """
  if max_side is not None:
    max_side = settings.integer("max_side", max_side, least=1)
  batch_size = compiled.batch_size(batch_size)
  metadata = load_weights(weights, model="superglobal").metadata
  depth: superglobal.Depth = 101 if metadata["depth"] == "101" else 50
  config = superglobal.SuperGlobalConfig(
    depth=depth, num_scales=num_scales, antialias=antialias, dtype=dtype
  )
  network = Network(
    prepare=functools.partial(_prepare_superglobal, max_side=max_side),
    describe=functools.partial(_describe_superglobal, path=os.fspath(weights), config=config),
    batch_size=batch_size,
  )
  return GlobalExtractor(
    name="superglobal",
    dimension=superglobal.DIMENSION,
    settings={
      "weights": metadata["checksum"],
      "depth": depth,
      "num_scales": num_scales,
      "antialias": antialias,
      "max_side": max_side,
      "dtype": dtype,
    },
    extract=functools.partial(extract_with, network),
    reading=preprocess.SUPERGLOBAL_READING,
    network=network,
  )


def fire_extractor(
  weights: os.PathLike | str,
  *,
  max_descriptors: int = fire.FireConfig.num_features,
  max_side: int = MAX_SIDE,
  dtype: Dtype = "float32",
  batch_size: int | None = None,
) -> LocalExtractor:
  """Returns an extractor of FIRe's features; see `fire.FireConfig`.

  A feature belongs to a template, not to a position in the image. Its location is x = 0 and y = the
  template, as in the published files. Photographs are read and cropped as
  `preprocess.FIRE_READING` says.

  Args:
    weights: a file made by `l2g convert`. FIRe's licence forbids commercial use.
    max_descriptors: number of features that are kept, the strongest.
    max_side: the longer side of an image is reduced to this many pixels, a crop as much as its
      image; images are never enlarged.
    dtype: type of the convolutions.
    batch_size: number of images of one size described together; None = 1 on a CPU, else 8.

  Raises:
    InputError: the weights can't be used, or a setting lies outside its range.
  """
  max_descriptors = settings.integer("max_descriptors", max_descriptors, least=1)
  max_side = settings.integer("max_side", max_side, least=1)
  batch_size = compiled.batch_size(batch_size)
  config = fire.FireConfig(num_features=max_descriptors, dtype=dtype)
  metadata = load_weights(weights, model="fire").metadata
  network = Network(
    prepare=functools.partial(_prepare_fire, max_side=max_side),
    describe=functools.partial(_describe_fire, path=os.fspath(weights), config=config),
    batch_size=batch_size,
  )
  return LocalExtractor(
    name="fire",
    dimension=fire.DIMENSION,
    settings={
      "weights": metadata["checksum"],
      "max_descriptors": max_descriptors,
      "max_side": max_side,
      "scales": list(config.scales),
      "dtype": dtype,
    },
    extract=functools.partial(extract_with, network),
    reading=preprocess.FIRE_READING,
    network=network,
  )


def lite0_extractor(
  weights: Weights,
  *,
  sides: Sequence[int] = (MAX_SIDE,),
  dtype: Dtype = "float32",
  batch_size: int | None = None,
) -> GlobalExtractor:
  """Returns an extractor of EfficientNet-Lite0's features with GeM; see `lite0`.

  Args:
    weights: as `interop.checkpoints.read_weights` reads them.
    sides: an image is described once for each: its longer side is reduced to so many pixels, and
      never enlarged. Features of several sides are summed.
    dtype: type of the convolutions.
    batch_size: number of images described together, of one canvas on each side; None = 1 on a CPU,
      else 8.

  Raises:
    InputError: the weights are of another network, or a setting lies outside its range.
  """
  if (model := weights.metadata.get("model")) != "lite0":
    raise InputError(f"The weights are of {model}, not of lite0.")
  if not sides:
    raise SettingError("sides", "one or more integers", sides)
  sides = tuple(settings.integer("sides", side, least=1) for side in sides)
  dtype = settings.choice("dtype", dtype, get_args(Dtype))
  network = Network(
    prepare=functools.partial(_prepare_lite0, sides=sides),
    describe=functools.partial(_describe_lite0, weights=weights, dtype=dtype),
    batch_size=compiled.batch_size(batch_size),
    num_threads=compiled.num_threads(),
  )
  return GlobalExtractor(
    name="lite0",
    dimension=lite0.DIMENSION,
    settings={"weights": weights.metadata["checksum"], "sides": list(sides), "dtype": dtype},
    extract=functools.partial(extract_with, network),
    network=network,
  )


def _prepare_superglobal(
  image: np.ndarray, whole: tuple[int, int], *, max_side: int | None
) -> np.ndarray:
  if max_side is not None:
    image = preprocess.fire_thumbnail(image, max_side=_side(image, whole, max_side))
  return preprocess.superglobal_input(image)


def _describe_superglobal(
  inputs: np.ndarray, *, path: str, config: superglobal.SuperGlobalConfig
) -> Sequence[np.ndarray]:
  compiled.limit_shapes(superglobal.apply, inputs.shape)
  return list(np.asarray(superglobal.apply(_params(path, "superglobal"), inputs, config)))


def _prepare_fire(image: np.ndarray, whole: tuple[int, int], *, max_side: int) -> np.ndarray:
  return preprocess.fire_input(image, max_side=_side(image, whole, max_side))


def _side(image: np.ndarray, whole: tuple[int, int], max_side: int) -> float:
  crop = (image.shape[0], image.shape[1])
  return preprocess.fire_query_side(crop, whole, max_side=max_side)


def _describe_fire(
  inputs: np.ndarray, *, path: str, config: fire.FireConfig
) -> Sequence[LocalFeatures]:
  compiled.limit_shapes(fire.apply, inputs.shape)
  features = jax.device_get(fire.apply(_params(path, "fire"), inputs, config))
  templates = features.templates.astype(np.float32)
  locations = np.stack([np.zeros_like(templates), templates], axis=2)
  fields = (features.descriptors, locations, features.scales, features.strengths)
  return [LocalFeatures(*values) for values in zip(*fields, strict=True)]


def _prepare_lite0(
  image: np.ndarray, whole: tuple[int, int], *, sides: Sequence[int]
) -> tuple[np.ndarray, ...]:
  """Returns a canvas for each side, and the layouts of all of them, `[num_sides, 3]`."""
  # A crop has the same sides as a whole photograph.
  del whole
  placed = [lite0.place(preprocess.reduce_by_area(image, max_side=side)) for side in sides]
  canvases, layouts = zip(*placed, strict=True)
  return (*canvases, np.stack(layouts))


def _describe_lite0(inputs: Input, *, weights: Weights, dtype: Dtype) -> Sequence[np.ndarray]:
  *canvases, layouts = inputs
  params, features = compiled.on_device(weights), []
  for number, canvas in enumerate(canvases):
    compiled.limit_shapes(lite0.apply, canvas.shape)
    features.append(lite0.apply(params, canvas, layouts[:, number], dtype=dtype))
  # Features of one side have unit norm already.
  whole = superglobal.normalize(sum(features[1:], features[0])) if features[1:] else features[0]
  return list(np.asarray(whole))


@functools.lru_cache(maxsize=2)
def _params(path: str, model: str) -> Mapping[str, Any]:
  """Loads the weights of a network onto the device, once per process."""
  return jax.device_put(load_weights(path, model=model).params)

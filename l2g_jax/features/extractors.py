"""The learned networks as extractors of photographs, with weights that were converted."""

import functools
import os
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from l2g_jax.features import fire, preprocess, superglobal
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, LocalFeatures
from l2g_jax.features.weights import load_weights

Dtype = Literal["float32", "bfloat16"]


def superglobal_extractor(
  weights: os.PathLike | str,
  *,
  num_scales: superglobal.NumScales = 3,
  antialias: bool = False,
  dtype: Dtype = "float32",
) -> GlobalExtractor:
  """Returns an extractor of SuperGlobal's features; see `superglobal.SuperGlobalConfig`.

  Photographs are read and cropped as `preprocess.SUPERGLOBAL_READING` says.

  Args:
    weights: a file that `experiments.convert` made; it says which depth the network has.
    num_scales: 1, 3 or 5.
    antialias: of the smaller sizes.
    dtype: of the convolutions.

  Raises:
    InputError: the weights can't be used.
  """
  metadata = load_weights(weights, model="superglobal").metadata
  depth: superglobal.Depth = 101 if metadata["depth"] == "101" else 50
  config = superglobal.SuperGlobalConfig(
    depth=depth, num_scales=num_scales, antialias=antialias, dtype=dtype
  )
  return GlobalExtractor(
    name="superglobal",
    dimension=superglobal.DIMENSION,
    settings={
      "weights": metadata["checksum"],
      "depth": depth,
      "num_scales": num_scales,
      "antialias": antialias,
      "dtype": dtype,
    },
    extract=functools.partial(_extract_superglobal, path=os.fspath(weights), config=config),
  )


def fire_extractor(
  weights: os.PathLike | str,
  *,
  max_descriptors: int = 1000,
  max_side: int = 1024,
  dtype: Dtype = "float32",
) -> LocalExtractor:
  """Returns an extractor of FIRe's features; see `fire.FireConfig`.

  A feature belongs to a template and to no place: its location is x = 0 and y = the template, as in
  the published files. Photographs are read and cropped as `preprocess.FIRE_READING` says.

  Args:
    weights: a file that `experiments.convert` made. FIRe's licence forbids commercial use.
    max_descriptors: how many are kept, by strength.
    max_side: the image's longer side is reduced to this many pixels; it is never enlarged.
    dtype: of the convolutions.

  Raises:
    InputError: the weights can't be used.
  """
  metadata = load_weights(weights, model="fire").metadata
  config = fire.FireConfig(num_features=max_descriptors, dtype=dtype)
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
    extract=functools.partial(
      _extract_fire, path=os.fspath(weights), max_side=max_side, config=config
    ),
  )


def _extract_superglobal(
  image: np.ndarray, *, path: str, config: superglobal.SuperGlobalConfig
) -> np.ndarray:
  images = preprocess.superglobal_input(image)[None]
  return np.asarray(superglobal.apply(_params(path, "superglobal"), images, config)[0])


def _extract_fire(
  image: np.ndarray, *, path: str, max_side: int, config: fire.FireConfig
) -> LocalFeatures:
  images = preprocess.fire_input(image, max_side=max_side)[None]
  features = jax.device_get(fire.apply(_params(path, "fire"), images, config))
  templates = features.templates[0].astype(np.float32)
  return LocalFeatures(
    descriptors=features.descriptors[0],
    locations=np.stack([np.zeros_like(templates), templates], axis=1),
    scales=features.scales[0],
    strengths=features.strengths[0],
  )


@functools.lru_cache(maxsize=2)
def _params(path: str, model: str) -> Mapping[str, Any]:
  """Loads a network once for a process."""
  return jax.device_put(load_weights(path, model=model).params)

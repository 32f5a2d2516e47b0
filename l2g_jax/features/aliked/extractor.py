"""ALIKED as an extractor."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.features import compiled
from l2g_jax.features.aliked import model, prepare
from l2g_jax.features.aliked.config import VARIANTS, AlikedConfig
from l2g_jax.features.protocol import (
  MAX_SIDE,
  Dtype,
  LocalExtractor,
  LocalFeatures,
  Network,
  extract_with,
)
from l2g_jax.features.weights import Weights

MAX_DESCRIPTORS = 500


def aliked_extractor(
  weights: Weights,
  *,
  max_descriptors: int = MAX_DESCRIPTORS,
  max_side: int = MAX_SIDE,
  dtype: Dtype = "float32",
  batch_size: int | None = None,
) -> LocalExtractor:
  """Returns an extractor of ALIKED's features; see `AlikedConfig`.

  An image has fewer features than `max_descriptors` if its score map has fewer maxima. Features
  have no scale: it is 1 for all.

  Args:
    weights: of any variant.
    max_descriptors: number of key points that are kept, those of the highest scores.
    max_side: the longer side of an image is reduced to this many pixels; images are never enlarged.
    dtype: type of the convolutions.
    batch_size: number of images of one padded shape described together; None = 1 on a CPU, else 8.

  Raises:
    InputError: the weights are of another network.
    SettingError: a setting lies outside its range.
  """
  max_side = settings.integer("max_side", max_side, least=1)
  variant = weights.metadata.get("variant", "")
  if variant not in VARIANTS:
    raise InputError(f"The weights are of {weights.metadata.get('model')}, not of aliked.")
  sizes = VARIANTS[variant]
  config = AlikedConfig(sizes, max_descriptors=max_descriptors, dtype=dtype)
  network = Network(
    prepare=functools.partial(_prepare, max_side=max_side),
    describe=functools.partial(_describe, weights=weights, config=config),
    batch_size=compiled.batch_size(batch_size),
    num_threads=compiled.num_threads(),
  )
  return LocalExtractor(
    name="aliked",
    dimension=sizes.dimension,
    settings={
      "weights": weights.metadata["checksum"],
      "variant": variant,
      "max_descriptors": config.max_descriptors,
      "max_side": max_side,
      "dtype": config.dtype,
    },
    extract=functools.partial(extract_with, network),
    network=network,
  )


def _prepare(image: np.ndarray, whole: tuple[int, int], *, max_side: int) -> prepare.Input:
  del whole
  return prepare.make_input(image, max_side=max_side)


def _describe(
  inputs: prepare.Input, *, weights: Weights, config: AlikedConfig
) -> Sequence[LocalFeatures]:
  compiled.limit_shapes(model.apply, inputs.pixels.shape)
  features = model.apply(compiled.on_device(weights), inputs.pixels, inputs.size, config)
  # The host needs neither the score map nor the offsets.
  fields = (features.descriptors, features.positions, features.strengths, features.valid)
  descriptors, positions, strengths, valid = jax.device_get(fields)
  results = []
  for number, kept in enumerate(valid):
    steps = (inputs.whole[number] / inputs.size[number])[::-1].astype(np.float32)
    results.append(
      LocalFeatures(
        descriptors=descriptors[number][kept],
        # Whole coordinates are centres of pixels.
        locations=positions[number][kept] * steps + (steps - 1) / 2,
        scales=np.ones(np.count_nonzero(kept), np.float32),
        strengths=strengths[number][kept],
      )
    )
  return results

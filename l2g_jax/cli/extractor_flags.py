"""The extractors that commands know by name, and the flags about them."""

import pathlib
from collections.abc import Mapping
from typing import get_args

from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import InputError
from l2g_jax.features.extractors import fire_extractor, superglobal_extractor
from l2g_jax.features.protocol import MAX_SIDE, Dtype, GlobalExtractor, LocalExtractor
from l2g_jax.features.sift import MAX_DESCRIPTORS, sift
from l2g_jax.features.superglobal import NumScales
from l2g_jax.interop import checkpoints

# Of FIRe in arXiv 2509.04351; FIRe's own results use more.
_FIRE_DESCRIPTORS = 600
_NUM_SCALES: Mapping[str, NumScales] = {"1": 1, "3": 3, "5": 5}


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_integer(
    "max_descriptors",
    None,
    "Local descriptors kept of an image; omitted:"
    f" {MAX_DESCRIPTORS} of sift, {_FIRE_DESCRIPTORS} of fire.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "max_side",
    MAX_SIDE,
    "Longer side to which images are reduced, in pixels.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "crop_policy",
    None,
    get_args(CropPolicy),
    "How boxes become crops; omitted: as each extractor does.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "num_scales", "3", list(_NUM_SCALES), "Sizes that superglobal describes.", flag_values=values
  )
  flags.DEFINE_bool(
    "antialias", False, "Reduce images without aliasing, for superglobal.", flag_values=values
  )
  flags.DEFINE_enum(
    "dtype", "float32", get_args(Dtype), "Type of the networks' convolutions.", flag_values=values
  )
  flags.DEFINE_integer(
    "batch_size",
    None,
    "Images that a network describes at once; omitted: 1 on a CPU.",
    flag_values=values,
  )


EXTRACTORS = Group("Extractors", define)


def make_local(values: Values, name: str, weights: str | None) -> LocalExtractor:
  """Returns an extractor of local features: `sift`, or `fire` with its weights."""
  count = MAX_DESCRIPTORS if name == "sift" else _FIRE_DESCRIPTORS
  count = count if values.max_descriptors is None else values.max_descriptors
  with settings_as_flags():
    if name == "sift":
      return sift(max_descriptors=count, max_side=values.max_side)
    return fire_extractor(
      _check_weights(name, weights),
      max_descriptors=count,
      max_side=values.max_side,
      dtype=values.dtype,
      batch_size=values.batch_size,
    )


def make_global(values: Values, name: str, weights: str | None) -> GlobalExtractor:
  """Returns an extractor of global features: `superglobal` with its weights."""
  with settings_as_flags():
    return superglobal_extractor(
      _check_weights(name, weights),
      num_scales=_NUM_SCALES[values.num_scales],
      antialias=values.antialias,
      max_side=values.max_side,
      dtype=values.dtype,
      batch_size=values.batch_size,
    )


def terms(name: str) -> str | None:
  """Returns the terms on which a network's weights may be used; None where there are none."""
  notices = {model: published.notice for model, published in checkpoints.MODELS.items()}
  return notices.get(name)


def _check_weights(name: str, weights: str | None) -> pathlib.Path:
  if not weights:
    raise InputError(f"{name} needs weights, a file that `l2g convert` makes.")
  return pathlib.Path(weights)

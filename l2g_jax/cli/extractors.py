"""The extractors that the experiments know, by name, and the flags about them."""

import pathlib
from collections.abc import Mapping
from typing import get_args

from absl import flags

from l2g_jax.cli.flag_names import settings_as_flags
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import InputError
from l2g_jax.features.extractors import fire_extractor, superglobal_extractor
from l2g_jax.features.protocol import MAX_SIDE, Dtype, GlobalExtractor, LocalExtractor
from l2g_jax.features.sift import MAX_DESCRIPTORS, sift
from l2g_jax.features.superglobal import NumScales
from l2g_jax.interop import checkpoints

FLAGS = flags.FLAGS
# FIRe's in arXiv 2509.04351; FIRe's own results are of more.
_FIRE_DESCRIPTORS = 600
_NUM_SCALES: Mapping[str, NumScales] = {"1": 1, "3": 3, "5": 5}

flags.DEFINE_integer(
  "max_descriptors",
  None,
  "Local descriptors of an image; omitted:"
  f" {MAX_DESCRIPTORS} of sift, {_FIRE_DESCRIPTORS} of fire.",
)
flags.DEFINE_integer("max_side", MAX_SIDE, "Longer side to which images are reduced, in pixels.")
flags.DEFINE_enum(
  "crop_policy", None, get_args(CropPolicy), "How boxes become crops; omitted: as each extractor's."
)
flags.DEFINE_enum("num_scales", "3", list(_NUM_SCALES), "Sizes that superglobal describes.")
flags.DEFINE_bool("antialias", False, "Whether superglobal reduces images without aliasing.")
flags.DEFINE_enum("dtype", "float32", get_args(Dtype), "Of the networks' convolutions.")
flags.DEFINE_integer("batch_size", None, "Images a network describes at once; omitted: 1 on a CPU.")


def make_local(name: str, weights: str | None) -> LocalExtractor:
  """Returns what extracts local features: `sift`, or `fire` with its weights."""
  count = MAX_DESCRIPTORS if name == "sift" else _FIRE_DESCRIPTORS
  count = count if FLAGS.max_descriptors is None else FLAGS.max_descriptors
  with settings_as_flags():
    if name == "sift":
      return sift(max_descriptors=count, max_side=FLAGS.max_side)
    return fire_extractor(
      _check_weights(name, weights),
      max_descriptors=count,
      max_side=FLAGS.max_side,
      dtype=FLAGS.dtype,
      batch_size=FLAGS.batch_size,
    )


def make_global(name: str, weights: str | None) -> GlobalExtractor:
  """Returns what extracts global features: `superglobal` with its weights."""
  with settings_as_flags():
    return superglobal_extractor(
      _check_weights(name, weights),
      num_scales=_NUM_SCALES[FLAGS.num_scales],
      antialias=FLAGS.antialias,
      max_side=FLAGS.max_side,
      dtype=FLAGS.dtype,
      batch_size=FLAGS.batch_size,
    )


def terms(name: str) -> str | None:
  """Returns on what terms a network's weights may be used; None where there are none."""
  notices = {model: published.notice for model, published in checkpoints.MODELS.items()}
  return notices.get(name)


def _check_weights(name: str, weights: str | None) -> pathlib.Path:
  if not weights:
    raise InputError(f"{name} needs weights, a file that experiments.convert makes.")
  return pathlib.Path(weights)

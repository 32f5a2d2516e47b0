"""Several data sets in one run, by the flags of the main job."""

import pathlib

from absl import flags

from experiments.built_in import MINI
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Values
from l2g_jax.data.dataset import Dataset
from l2g_jax.errors import InputError


def define_sets(values: flags.FlagValues) -> None:
  """Defines the flag that names data sets."""
  flags.DEFINE_list("sets", ["mini"], "Folders of data sets, or mini.", flag_values=values)


def check_sets(values: Values) -> None:
  """Refuses the flags of a single data set beside --sets."""
  if values.dataset or values.data_root:
    raise InputError("--sets names the data sets here, and not --dataset or --data_root.")


def open_set(values: Values, name: str, local: str | None) -> Dataset:
  """Opens one of the sets by the flags of the main job, with local features or its default ones.

  Args:
    values: the flags, of which those of a data set are set.
    name: a folder in the revisited layout, or mini.
    local: what --local says; None = the default of the set.
  """
  path = pathlib.Path(name)
  values.local = local
  values.dataset = path.name
  values.data_root = None if path.name == name else str(path.parent)
  evaluate.settle(values, None, MINI)
  return evaluate.open_dataset(values, MINI)

"""The file that a training writes."""

import pathlib

from l2g_jax.cli.command import check_file
from l2g_jax.errors import InputError
from l2g_jax.retriever.trained import Model, load_trained


def check_weights(path: pathlib.Path, model: Model) -> None:
  """Refuses, before the work, a file that can't be written or is none of this training."""

  def is_ours(path: pathlib.Path) -> bool:
    try:
      load_trained(path, model)
    except InputError:
      return False
    return True

  check_file(path, is_ours)

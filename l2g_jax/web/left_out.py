"""The files of a folder that are not searched, each with the reason."""

import os
import pathlib

from l2g_jax.data.image_names import printable
from l2g_jax.web.keeper import Keeper

_FEATURELESS = "no local features were found in it; it stands last in every search"


def files_of(keeper: Keeper) -> list[tuple[str, str]]:
  """Returns name and reason of every file that is left out, by name.

  Args:
    keeper: of the folder.
  """
  root, found, state = keeper.collection.images, keeper.found(), keeper.state()
  reasons = {
    _below(path, root): reason for reason, paths in found.left_out.items() for path in paths
  }
  if state is not None:
    paths = {job.name: job.path for job in state.retriever.images.jobs}
    for name in state.featureless:
      reasons[_below(paths[name], root)] = _FEATURELESS
    for name, reason in state.retriever.collection.failures.items():
      shown = _below(paths[name], root)
      reasons[shown] = reason.replace(os.fspath(paths[name]), shown)
  return sorted((printable(name), printable(reason)) for name, reason in reasons.items())


def count(keeper: Keeper) -> int:
  """Returns how many files are left out, without their names."""
  found, state = keeper.found(), keeper.state()
  number = sum(map(len, found.left_out.values()))
  if state is not None:
    number += len(state.featureless) + len(state.retriever.collection.failures)
  return number


def _below(path: pathlib.Path, root: pathlib.Path) -> str:
  """Returns a path below the folder; of one that lies elsewhere, its name alone."""
  return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name

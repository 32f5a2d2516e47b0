"""Errors about settings name the flag that the user gave."""

import contextlib
from collections.abc import Iterator

from l2g_jax.errors import SettingError

# Flags whose names differ from those of their settings.
_FLAGS = {
  "power": "p",
  "num_dimensions": "dimensions",
  "num_reranked": "M",
  "num_neighbors": "K",
  "num_candidates": "k",
  "dimension": "descriptor_dimension",
}


@contextlib.contextmanager
def settings_as_flags() -> Iterator[None]:
  """Turns an error about a setting into one about its flag."""
  try:
    yield
  except SettingError as error:
    if error.setting.startswith("--"):
      raise
    flag = _FLAGS.get(error.setting, error.setting)
    raise SettingError(f"--{flag}", error.wanted, error.value) from error

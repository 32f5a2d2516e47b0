"""Settings check themselves; here their messages name the flag that a user gave."""

import contextlib
from collections.abc import Iterator

from l2g_jax.errors import SettingError

# Where a flag is not called as its setting is.
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
  """Makes of an error about a setting one about its flag."""
  try:
    yield
  except SettingError as error:
    flag = _FLAGS.get(error.setting, error.setting)
    raise SettingError(f"--{flag}", error.wanted, error.value) from error

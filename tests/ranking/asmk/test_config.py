import numpy as np
import pytest

from l2g_jax.errors import SettingError
from l2g_jax.ranking.asmk import AsmkConfig


def test_equal_settings_are_equal():
  numpy_config = AsmkConfig(
    binary=np.True_,  # pyright: ignore[reportArgumentType]
    multiple_assignment=np.int64(5),  # pyright: ignore[reportArgumentType]
    alpha=np.float32(3.0),  # pyright: ignore[reportArgumentType]
    threshold=-0.0,
  )
  assert numpy_config == AsmkConfig()
  assert repr(numpy_config) == repr(AsmkConfig())


@pytest.mark.parametrize(
  ("setting", "values"),
  [
    ("binary", [1, None, "yes"]),
    ("use_idf", [0, None, np.nan]),
    ("multiple_assignment", [0, 1.5, True, None]),
    ("alpha", [-1, np.inf, np.nan, "3", None]),
    ("threshold", [-0.1, 1.1, np.nan, None]),
  ],
)
def test_settings_that_make_no_sense_are_refused(setting, values):
  for value in values:
    with pytest.raises(SettingError, match=f"{setting} must be"):
      AsmkConfig(**{setting: value})

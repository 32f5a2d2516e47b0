"""Ranges of settings, by which configurations and functions check what they are given.

A check returns the value as a plain Python number or string, so that equal settings are equal and
hash alike, whether they came as NumPy's or as Python's. What JAX traces has no value yet: it passes
as it is.
"""

import math
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import SettingError

# Of random keys.
LARGEST_SEED = (1 << 32) - 1
# Numbers reach devices as int32 and float32.
LARGEST_INTEGER = (1 << 31) - 1
_LARGEST_REAL = float(np.finfo(np.float32).max)
_LEAST_REAL = float(np.finfo(np.float32).tiny)


def integer(name: str, value: Any, *, least: int, most: int = LARGEST_INTEGER) -> Any:
  """Checks an integer; a bool or a float is none.

  Args:
    name: of the setting, for the message.
    value: what was given.
    least: the least that can be used.
    most: the greatest.

  Returns:
    The value as an int.

  Raises:
    SettingError: it is no integer, or lies outside of the range.
  """
  if _is_traced(value):
    return value
  wanted = f"at least {least}" if most == LARGEST_INTEGER else f"from {least} to {most}"
  try:
    number = operator.index(value)
  except TypeError:
    number = None
  if number is None or isinstance(value, bool):
    raise SettingError(name, f"an integer, {wanted}", value)
  if not least <= number <= most:
    raise SettingError(name, wanted, number)
  return number


def real(
  name: str,
  value: Any,
  *,
  least: float | None = None,
  above: float | None = None,
  most: float | None = None,
  infinite: bool = False,
) -> Any:
  """Checks a real number, which float32 must be able to hold.

  Args:
    name: of the setting, for the message.
    value: what was given.
    least: the least that can be used; None = see `above`.
    above: what it must exceed, where there is no least.
    most: the greatest; None = any that is finite.
    infinite: whether it may be infinite.

  Returns:
    The value as a float.

  Raises:
    SettingError: it is no number, not finite, or lies outside of the range.
  """
  if _is_traced(value):
    return value
  number = _to_float(value)
  low = above if least is None else least
  assert low is not None
  if most is not None:
    wanted = f"between {low:g} and {most:g}"
  else:
    wanted = f"{'above' if least is None else 'at least'} {low:g}"
    wanted += "" if infinite else " and finite"
  # What is too small for float32 is as good as 0 there.
  fits = number >= low + _LEAST_REAL if least is None else number >= low
  if most is None:
    most = _LARGEST_REAL
  if not (fits and (infinite or number <= most)):
    raise SettingError(name, wanted, value)
  # A zero loses its sign, which texts would show.
  return number + 0.0 if number <= most else math.inf


def choice(name: str, value: Any, options: Sequence[Any]) -> Any:
  """Checks a choice.

  Args:
    name: of the setting, for the message.
    value: what was given.
    options: strings or integers.

  Returns:
    The option that equals the value.

  Raises:
    SettingError: there is no such option.
  """
  if not isinstance(value, bool) and isinstance(value, str | int | np.integer):
    for option in options:
      if option == value:
        return option
  *others, last = (str(option) for option in options)
  raise SettingError(name, f"{', '.join(others)} or {last}", value)


def _to_float(value: Any) -> float:
  """Returns a scalar as a float, NaN for what is no number."""
  if isinstance(value, bool | np.bool_ | str | bytes) or np.ndim(value) != 0:
    return math.nan
  try:
    return float(value)
  except (TypeError, ValueError, OverflowError):
    return math.nan


def _is_traced(value: Any) -> bool:
  # Only JAX makes such values, so that it has been imported where there is one.
  core = sys.modules.get("jax.core")
  return core is not None and isinstance(value, core.Tracer)

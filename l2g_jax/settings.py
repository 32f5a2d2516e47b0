"""Checks of settings against their ranges, for configurations and functions.

A check returns the value as a plain Python number or string, so that equal settings are equal and
hash alike, whether they came from NumPy or from Python. A traced value has no number yet and passes
unchecked.
"""

import math
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import SettingError

# Random keys take 32 bits.
LARGEST_SEED = (1 << 32) - 1
# Numbers reach devices as int32 and float32.
LARGEST_INTEGER = (1 << 31) - 1
_LARGEST_REAL = float(np.finfo(np.float32).max)
_LEAST_REAL = float(np.finfo(np.float32).tiny)


def integer(name: str, value: Any, *, least: int, most: int = LARGEST_INTEGER) -> Any:
  """Checks an integer; a bool or a float is refused.

  Args:
    name: of the setting, for the message.
    value: the value that was given.
    least: the least value allowed.
    most: the greatest value allowed.

  Returns:
    The value as an int.

  Raises:
    SettingError: it is not an integer, or lies outside the range.
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
  """Checks a real number, which must fit float32.

  Args:
    name: of the setting, for the message.
    value: the value that was given.
    least: the least value allowed; None = `above` is the bound.
    above: the bound that the value must exceed, where `least` is None.
    most: the greatest value allowed; None = any finite one.
    infinite: whether it may be infinite.

  Returns:
    The value as a float.

  Raises:
    SettingError: it is not a number, not finite, or lies outside the range.
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
  # A number too small for float32 is 0 there.
  fits = number >= low + _LEAST_REAL if least is None else number >= low
  if most is None:
    most = _LARGEST_REAL
  if not (fits and (infinite or number <= most)):
    raise SettingError(name, wanted, value)
  # The sum drops the sign of a zero, which texts would show.
  return number + 0.0 if number <= most else math.inf


def choice(name: str, value: Any, options: Sequence[Any]) -> Any:
  """Checks a choice.

  Args:
    name: of the setting, for the message.
    value: the value that was given.
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
  """Returns a scalar as a float, or NaN for a value that is not a number."""
  if isinstance(value, bool | np.bool_ | str | bytes) or np.ndim(value) != 0:
    return math.nan
  try:
    return float(value)
  except (TypeError, ValueError, OverflowError):
    return math.nan


def _is_traced(value: Any) -> bool:
  # Only JAX makes such values, so it has been imported where there is one.
  core = sys.modules.get("jax.core")
  return core is not None and isinstance(value, core.Tracer)

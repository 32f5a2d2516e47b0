"""How figures grow with a collection, and what that makes of larger ones."""

from collections.abc import Mapping, Sequence

import numpy as np


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
  """Returns b of the fit values = a sizes^b by least squares of logarithms.

  Args:
    sizes: `[n]` above 0.
    values: `[n]`.

  Returns:
    None where there are fewer than two sizes, or a value is not above 0.
  """
  if len({*sizes}) < 2 or min(values) <= 0.0:
    return None
  slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
  return float(slope)


def extrapolate(
  sizes: Sequence[float], rows: Sequence[Mapping[str, float]], size: float
) -> dict[str, float]:
  """Extrapolates figures to a larger size: from the last one, by the exponent of all.

  Args:
    sizes: ascending.
    rows: figures at each, of the same names.
    size: beyond the last.

  Returns:
    The figures that have an exponent.
  """
  found = {}
  for name, last in rows[-1].items():
    slope = exponent(sizes, [row[name] for row in rows])
    if slope is not None:
      found[name] = last * (size / sizes[-1]) ** slope
  return found

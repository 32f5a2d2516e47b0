"""Similarity kernels f, from the cosine of a best match to its contribution in [0, 1].

Every kernel is monotone, so that the maximum over descriptors may be taken first. A kernel is a
frozen value, hence static under `jit`, and takes NumPy and JAX arrays alike. Its `str` is the text
that `parse` reads from a command line or a file. Equal kernels have equal texts, since parameters
are kept as floats.
"""

import dataclasses
import math
import numbers
import re
from typing import Any

from l2g_jax.errors import InputError

# The range of parameters above 0, whose reciprocals must fit single precision too.
_LEAST, _GREATEST = 1e-30, 1e30
# Above this, single precision resolves (c - tau) / (1 - tau) to fewer than 4 digits. Still nearer
# to 1, rounding would give an identical descriptor the value 0.
_MOST_TAU = 0.999
# The largest whole exponent computed by products; beyond it a power, which rounds once, is used.
_MOST_PRODUCTS = 1024

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


@dataclasses.dataclass(frozen=True)
class Chamfer:
  """The plain Chamfer kernel, f(c) = max(c, 0)."""

  def __call__(self, cosines: Any) -> Any:
    """Returns f of an array of cosines in [-1, 1], same shape."""
    return cosines.clip(0.0, 1.0)

  def __str__(self) -> str:
    return "chamfer"


@dataclasses.dataclass(frozen=True)
class Power:
  """A selective kernel, f(c) = (max(c - tau, 0) / (1 - tau))^alpha.

  Attributes:
    alpha: the exponent, a real number of at least 1. A larger one favours few close matches.
    tau: the cosine up to which a match contributes 0, from 0 to 0.999.
  """

  alpha: float = 7.0
  tau: float = 0.0

  def __post_init__(self):
    _take_floats(self)
    if not (self.alpha >= 1.0 and 0.0 <= self.tau <= _MOST_TAU):
      raise InputError(f"Kernel power needs alpha >= 1 and 0 <= tau <= {_MOST_TAU}, not {self}.")

  def __call__(self, cosines: Any) -> Any:
    """Returns f of an array of cosines in [-1, 1], same shape."""
    values = (cosines.clip(self.tau, 1.0) - self.tau) / (1.0 - self.tau)
    if self.alpha.is_integer() and self.alpha <= _MOST_PRODUCTS:
      return _integer_power(values, int(self.alpha))
    return values**self.alpha

  def __str__(self) -> str:
    return f"power(alpha={self.alpha},tau={self.tau})"


@dataclasses.dataclass(frozen=True)
class Cann:
  """The superellipse of CANN (arXiv 2306.09012), f(r) = (1 - (r/R)^a)^(1/a) with a = p/(1-p).

  Attributes:
    radius: R, the Euclidean distance of unit descriptors from which a match contributes 0, above 0.
      The default is the release's 120, which is for descriptors of norm about 22.
    p: the shape, in (0, 1); the default is the release's.
  """

  radius: float = 120.0 / 22.0
  p: float = 0.459

  def __post_init__(self):
    _take_floats(self)
    if not (self.radius > 0.0 and 0.0 < self.p < 1.0):
      raise InputError(f"Kernel cann needs radius > 0 and 0 < p < 1, not {self}.")

  def __call__(self, cosines: Any) -> Any:
    """Returns f of an array of cosines in [-1, 1], same shape."""
    exponent = self.p / (1.0 - self.p)
    distances = (2.0 - 2.0 * cosines.clip(-1.0, 1.0)) ** 0.5
    return (1.0 - (distances / self.radius).clip(0.0, 1.0) ** exponent) ** (1.0 / exponent)

  def __str__(self) -> str:
    return f"cann(radius={self.radius},p={self.p})"


Kernel = Chamfer | Power | Cann


def _take_floats(kernel: Power | Cann) -> None:
  """Turns the parameters of a kernel into floats."""
  for field in dataclasses.fields(kernel):
    value = getattr(kernel, field.name)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise InputError(f"Kernel parameter {field.name} must be a real number, not {value!r}.")
    try:
      number = float(value)
    except OverflowError:
      number = math.inf
    # NaN fails this comparison and is refused.
    if number != 0.0 and not _LEAST <= abs(number) <= _GREATEST:
      raise InputError(
        f"Kernel parameter {field.name} must be 0 or from {_LEAST} to {_GREATEST}, not {value}."
      )
    # The sum drops the sign of a zero, which texts would show.
    object.__setattr__(kernel, field.name, number + 0.0)


def _integer_power(values: Any, exponent: int) -> Any:
  """Raises to a whole power by products, which NumPy computes many times faster than a power."""
  if exponent == 1:
    return values
  root = _integer_power(values, exponent // 2)
  return root * root * values if exponent % 2 else root * root


# Of the index and of the exact scan, unless another is given.
DEFAULT: Kernel = Power()

_BY_NAME: dict[str, type[Chamfer] | type[Power] | type[Cann]] = {
  "chamfer": Chamfer,
  "power": Power,
  "cann": Cann,
}


def parse(text: str) -> Kernel:
  """Reads a kernel from text such as `chamfer`, `power(alpha=7)` or `cann(radius=5.5,p=0.459)`.

  Raises:
    InputError: the text names no kernel, or gives it an unknown parameter or a wrong value.
  """
  match = re.fullmatch(r"([a-z]+)\s*(?:\(([^()]*)\))?", str(text).strip())
  if not match or match[1] not in _BY_NAME:
    raise InputError(f"Kernel {text!r} is not one of {', '.join(_BY_NAME)}, as in power(alpha=7).")
  kernel = _BY_NAME[match[1]]
  known = [field.name for field in dataclasses.fields(kernel)]
  parameters = {}
  for pair in match[2].split(",") if (match[2] or "").strip() else []:
    parameter = re.fullmatch(rf"\s*([a-z]+)\s*=\s*({_NUMBER})\s*", pair)
    if not parameter or parameter[1] not in known or parameter[1] in parameters:
      raise InputError(
        f"Kernel {text!r} can't be read at {pair!r}: {match[1]} takes "
        f"{' and '.join(f'{name}=NUMBER once' for name in known) or 'no parameters'}."
      )
    parameters[parameter[1]] = float(parameter[2])
  return kernel(**parameters)

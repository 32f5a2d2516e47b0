"""Similarity kernels f: from the cosine of a best match to its contribution in [0, 1].

Every kernel is monotone, so the maximum over descriptors may be taken before it. A kernel is a
frozen value, hence static under `jit`; it is called on NumPy and on JAX arrays alike, and `str` of
it is the text that `parse` reads, on a command line as in a file.
"""

import dataclasses
import re
from typing import Any

from l2g_jax.errors import InputError


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
    alpha: the exponent, at least 1.
    tau: the cosine up to which a match is worth nothing, in [0, 1).
  """

  alpha: float = 7.0
  tau: float = 0.0

  def __post_init__(self):
    if not (self.alpha >= 1.0 and 0.0 <= self.tau < 1.0):
      raise InputError(f"Kernel power needs alpha >= 1 and 0 <= tau < 1, not {self}.")

  def __call__(self, cosines: Any) -> Any:
    """Returns f of an array of cosines in [-1, 1], same shape."""
    values = (cosines.clip(self.tau, 1.0) - self.tau) / (1.0 - self.tau)
    return (
      _integer_power(values, int(self.alpha)) if self.alpha.is_integer() else values**self.alpha
    )

  def __str__(self) -> str:
    return f"power(alpha={self.alpha},tau={self.tau})"


@dataclasses.dataclass(frozen=True)
class Cann:
  """The superellipse of CANN (arXiv 2306.09012), f(r) = (1 - (r/R)^a)^(1/a) with a = p/(1-p).

  Attributes:
    radius: R, the Euclidean distance of unit descriptors from which a match is worth nothing. The
      release's 120 is for descriptors of norm about 22.
    p: the shape, in (0, 1).
  """

  radius: float = 120.0 / 22.0
  p: float = 0.459

  def __post_init__(self):
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


def _integer_power(values: Any, exponent: int) -> Any:
  """Multiplies, which for NumPy is many times faster than a power."""
  if exponent == 1:
    return values
  root = _integer_power(values, exponent // 2)
  return root * root * values if exponent % 2 else root * root


_BY_NAME: dict[str, type[Chamfer] | type[Power] | type[Cann]] = {
  "chamfer": Chamfer,
  "power": Power,
  "cann": Cann,
}


def parse(text: str) -> Kernel:
  """Reads a kernel from text such as `chamfer`, `power(alpha=7)` or `cann(radius=5.5,p=0.459)`.

  Raises:
    InputError: the text names no kernel, or a parameter that the kernel lacks or can't have.
  """
  match = re.fullmatch(r"(\w+)(?:\(([^()]*)\))?", text.strip())
  if not match or match[1] not in _BY_NAME:
    raise InputError(f"Kernel {text!r} is not one of {', '.join(_BY_NAME)}, as in power(alpha=7).")
  try:
    pairs = (pair.split("=") for pair in (match[2] or "").split(",") if pair.strip())
    parameters = {name.strip(): float(value) for name, value in pairs}
    return _BY_NAME[match[1]](**parameters)
  except (TypeError, ValueError) as error:
    raise InputError(f"Kernel {text!r} can't be read: {error}.") from error

"""Why a minimisation stopped."""

import enum


class Reason(enum.IntEnum):
  """Why a minimisation stopped; `sentence` says so to a person."""

  LIMIT = 0
  SETTLED = 1
  NEGLIGIBLE = 2
  EMPTY = 3
  NOT_FINITE = 4

  @property
  def converged(self) -> bool:
    """Whether more iterations would gain no more than was asked for."""
    return self in (Reason.SETTLED, Reason.NEGLIGIBLE, Reason.EMPTY)

  @property
  def sentence(self) -> str:
    """What happened, and what to do about it."""
    return _SENTENCES[self]


_SENTENCES = {
  Reason.LIMIT: "The stress was still falling when max_iterations were done; allow more.",
  Reason.SETTLED: "The stress settled: it fell by less than rtol of itself over 5 iterations.",
  Reason.NEGLIGIBLE: "Nothing is left to gain: the stress is negligible.",
  Reason.EMPTY: "There is nothing to fit: no pair of points has a positive weight.",
  Reason.NOT_FINITE: (
    "The numbers left the range of their type, or the input was not finite; scale the input, "
    "or mask unknown pairs by a weight of 0."
  ),
}

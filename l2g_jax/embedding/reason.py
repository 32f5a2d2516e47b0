"""Why a minimisation stopped, each reason with a sentence for the user."""

import enum


class Reason(enum.IntEnum):
  """Why a minimisation stopped.

  Attributes:
    LIMIT: `max_iterations` were done before the stress settled.
    SETTLED: the stress fell by less than `rtol` of itself over 5 iterations.
    NEGLIGIBLE: the stress is no more than rounding error.
    EMPTY: no pair of points has a positive weight.
    NOT_FINITE: a number left the range of its type, or the input held one.
    SADDLE: the stress settled, but the points span fewer dimensions than they have, and moving out
      of them would lower it.
    UNRESOLVED: the stress settled or is negligible, but the weights are too far apart for their
      type, so that it does not tell whether the light pairs are fitted.
  """

  LIMIT = 0
  SETTLED = 1
  NEGLIGIBLE = 2
  EMPTY = 3
  NOT_FINITE = 4
  SADDLE = 5
  UNRESOLVED = 6

  @property
  def converged(self) -> bool:
    """Whether more iterations would gain no more than was asked for."""
    return self in (Reason.SETTLED, Reason.NEGLIGIBLE, Reason.EMPTY)

  @property
  def sentence(self) -> str:
    """The reason in words, and the remedy where there is one."""
    return _SENTENCES[self]


_SENTENCES = {
  Reason.LIMIT: "max_iterations were done before the stress settled; allow more.",
  Reason.SETTLED: "The stress settled: it fell by less than rtol of itself over 5 iterations.",
  Reason.NEGLIGIBLE: "The embedding is exact: its stress is no more than rounding error.",
  Reason.EMPTY: "No pair of points has a positive weight, so any embedding fits.",
  Reason.NOT_FINITE: (
    "A number left the range of its type, or the input was not finite; scale the input, or mask "
    "unknown pairs by a weight of 0."
  ),
  Reason.SADDLE: (
    "The stress settled on a saddle: the init spans fewer dimensions than it has columns, and "
    "SMACOF can't leave them; start from points that span all dimensions, or without an init."
  ),
  Reason.UNRESOLVED: (
    "The weights are too far apart for their type: beside the heaviest pairs, the lightest are "
    "lost in rounding error and may not be fitted; bring the weights closer together, or make "
    "those that do not matter 0."
  ),
}

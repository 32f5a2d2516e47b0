"""What transfers: each set at its own best weight, at one for all, and at those of others."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from l2g_jax.pipeline.l2g import PAPER_WEIGHT
from l2g_jax.report import Cell, Column, Plot, Section, Table, plots

_PROTOCOLS = ("medium", "hard")


@dataclasses.dataclass(frozen=True)
class Measured:
  """A set, measured.

  Attributes:
    name: of the set.
    rows: by weight, the figures of `measure`.
    rule: w that the default rule chooses for its features.
    search: the figures of the local search alone.
  """

  name: str
  rows: Mapping[float, Mapping[str, Any]]
  rule: float
  search: Mapping[str, float | None]

  @property
  def best(self) -> float:
    """The weight of the best mean of medium and hard mAP, the least of several."""
    return max(sorted(self.rows), key=self.mean)

  def mean(self, weight: float) -> float:
    """Returns the mean of the medium and the hard mAP, or of the one that there is."""
    return _mean(self.rows[weight])

  def loss(self, weight: float) -> float:
    """Returns how far a weight is below the best, in points of the mean."""
    return self.mean(self.best) - self.mean(weight)


def make_sections(sets: Sequence[Measured], *, has_plots: bool) -> list[Section]:
  """Returns the comparison, the losses under the weights of others, and all weights.

  Args:
    sets: one at least, measured at the same weights.
    has_plots: whether there are plots, which need Matplotlib.
  """
  one = one_weight(sets)
  sections = [
    Section("What transfers", [_comparison(sets, one), _losses(sets, one)]),
    Section("All weights", [_weights(sets)]),
  ]
  if has_plots:
    weights = sorted(sets[0].rows)
    series = {each.name: (weights, [each.mean(weight) for weight in weights]) for each in sets}
    svg = plots.lines(series, x="w", y="mean of medium and hard mAP, percent", mark_x=PAPER_WEIGHT)
    note = f"The upright line stands at w = {PAPER_WEIGHT:g}."
    return [*sections, Section("mAP over the weight", [Plot("mAP over the weight", svg, note)])]
  return sections


def one_weight(sets: Sequence[Measured]) -> float:
  """Returns the weight of the least mean loss over all sets, the least of several."""
  weights = sorted(sets[0].rows)
  return min(weights, key=lambda weight: sum(each.loss(weight) for each in sets))


def _comparison(sets: Sequence[Measured], one: float) -> Table:
  rows: list[list[Cell]] = []
  for each in sets:
    row: list[Cell] = [each.name, *(each.search[name] for name in _PROTOCOLS)]
    for weight in (PAPER_WEIGHT, one, each.rule, each.best):
      row += [weight, *(each.rows[weight][name] for name in _PROTOCOLS)]
    rows.append([*row, each.loss(PAPER_WEIGHT), each.loss(one), each.loss(each.rule)])
  columns = [Column("set"), *(Column(f"search {name}", 1) for name in _PROTOCOLS)]
  for title in ("fixed", "one", "rule", "best"):
    columns += [Column(f"{title} w"), *(Column(f"{title} {name}", 1) for name in _PROTOCOLS)]
  losses = [Column(f"loss of {name}", 1) for name in ("fixed", "one", "rule")]
  return Table(
    "One set of settings over the sets",
    [*columns, *losses],
    rows,
    note=(
      "mAP in percent. fixed: the paper's weight; one: the weight of the least mean loss over these"
      " sets; rule: the default, by the global features in use; best: of this set, by its labels."
      " Losses are points of the mean of medium and hard below the best."
    ),
  )


def _losses(sets: Sequence[Measured], one: float) -> Table:
  columns = [Column("set"), *(Column(f"w of {each.name}", 1, f"{each.best:g}") for each in sets)]
  rows: list[list[Cell]] = [
    [each.name, *(each.loss(other.best) for other in sets)] for each in sets
  ]
  best = ", ".join(f"{each.name} {each.best:g}" for each in sets)
  return Table(
    "Loss under the best weight of another set",
    columns,
    rows,
    note=f"Points of the mean of medium and hard mAP. Best weights: {best}; for all {one:g}.",
  )


def _weights(sets: Sequence[Measured]) -> Table:
  columns = [Column(f"{each.name} {name}", 1) for each in sets for name in _PROTOCOLS]
  rows: list[list[Cell]] = [
    [f"{weight:g}", *(each.rows[weight][name] for each in sets for name in _PROTOCOLS)]
    for weight in sorted(sets[0].rows)
  ]
  return Table("mAP by weight", [Column("w"), *columns], rows)


def _mean(row: Mapping[str, Any]) -> float:
  values = [row[name] for name in _PROTOCOLS if row[name] is not None]
  return sum(values) / len(values) if values else 0.0

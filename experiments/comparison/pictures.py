"""The ranked lists of some systems as pictures."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.material import Material
from l2g_jax.errors import InputError
from l2g_jax.evaluation import evaluate
from l2g_jax.report import Section
from l2g_jax.report.queries import KeyPoints, Stage, make_browser
from l2g_jax.report.run import ascending

# Shown where they are among the rows, and the best of the others before the last.
_SHOWN = ("global", "chamfer", "l2g")
_PROTOCOLS = ("medium", "hard")


def choose(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns the systems to show: global, Chamfer, the best of hard mAP that is no L2G, and L2G."""
  names = [row["name"] for row in rows]
  others = [row for row in rows if row["name"] not in _SHOWN and not row["name"].startswith("l2g")]
  others.sort(key=lambda row: -(row["hard"]["map"] or 0.0))
  shown = [name for name in _SHOWN if name in names]
  best = [row["name"] for row in others[:1]]
  return [*shown[:-1], *best, *shown[-1:]] if "l2g" in shown else [*shown, *best]


def check(shown: Sequence[str] | None, names: Sequence[str]) -> None:
  """Refuses, before the work, systems to show that are not among the rows."""
  if unknown := [name for name in shown or () if name not in names]:
    raise InputError(f"--shown has {unknown[0]!r}, which is none of the rows: {', '.join(names)}.")


def make_section(
  given: Material, shown: Sequence[str], rankings_of: Callable[[str], np.ndarray]
) -> Section:
  """Shows the ranked lists of some systems side by side.

  Args:
    given: what the systems were given.
    shown: the names of the systems, in order; key points are matched for the last.
    rankings_of: returns the rankings `[Q, N]` of a system.
  """
  scored = {"chamfer": given.found}
  stages = [Stage(name, rankings_of(name), scored.get(name)) for name in shown]
  truth = given.dataset.ground_truth
  precisions = {protocol: {} for protocol in _PROTOCOLS}
  for stage in stages:
    judged = evaluate(stage.rankings, truth)
    for protocol in _PROTOCOLS:
      precisions[protocol][stage.name] = 100.0 * judged[protocol].average_precisions
  last, reference = shown[-1], "chamfer" if "chamfer" in shown else shown[0]
  orders = {}
  # Against the search first, as the changes of rank are.
  for other in sorted(shown[:-1], key=lambda name: name != reference):
    for protocol, own in precisions.items():
      orders[f"loss of {last} against {other}, {protocol}"] = ascending(own[last] - own[other])
  orders["order of the data set"] = list(range(given.num_queries))
  browser = make_browser(
    given.dataset,
    stages,
    shown=shown,
    reference=reference,
    facts=[_facts(precisions, query) for query in range(given.num_queries)],
    orders=orders,
    key_points=KeyPoints(given.described_queries, given.images, given.collection.options.features),
  )
  return Section("Queries", [browser])


def _facts(precisions: Mapping[str, Mapping[str, np.ndarray]], query: int) -> list[tuple[str, str]]:
  facts = []
  for protocol, own in precisions.items():
    values = [f"{name} {ap[query]:.1f}" for name, ap in own.items() if not math.isnan(ap[query])]
    facts.append((f"AP, {protocol}", ", ".join(values) or "no positives"))
  return facts

"""What stress tells of the ranking: both by query, and their rank correlation."""

import math
from typing import Any

import numpy as np

from experiments.embeddings.correlation import correlate
from experiments.measured import rank
from experiments.shortlists import Shortlists
from l2g_jax.evaluation import PROTOCOLS, evaluate
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.ranked import complete_rankings
from l2g_jax.report import Cell, Column, Plot, Section, Table, plots
from l2g_jax.runtime.stopwatch import Stopwatch

_TITLE = "What stress tells"
_MEASURES = ("stress", "known", "iterations")
_PROTOCOLS = ("medium", "hard")


def measure_queries(
  given: Shortlists, config: L2GConfig, weight: float, watch: Stopwatch
) -> dict[str, Any]:
  """Measures every query.

  Args:
    given: shortlists with ground truth.
    config: settings of the method.
    weight: w.
    watch: takes the seconds.

  Returns:
    JSON: lists `[Q]` by name: `stress`, `known` pairs, `iterations`; and by protocol the AP of the
    method, and as `search PROTOCOL` that of the search, in percent, None without positives.
  """
  (result,) = rank(given, config, [weight], watch)
  ended, truth = result.diagnostics, given.truth
  search = complete_rankings(given.candidates.ids, None, len(truth.imlist))
  made = {
    "stress": ended.normalized_stress.tolist(),
    "known": ended.num_known.tolist(),
    "iterations": ended.num_iterations.tolist(),
  }
  for prefix, rankings in (("", result.rankings), ("search ", search)):
    for protocol, report in evaluate(rankings, truth).items():
      values = 100.0 * report.average_precisions
      made[prefix + protocol] = [None if math.isnan(value) else value for value in values.tolist()]
  return made


def make_section(queries: dict[str, Any], names: list[str], *, has_plots: bool) -> Section:
  """Returns correlations of what a search knows without labels with AP.

  Args:
    queries: of `measure_queries`.
    names: of the queries.
    has_plots: whether it has a plot, which needs Matplotlib, and a table of all queries.
  """
  rows: list[list[Cell]] = []
  for measure in _MEASURES:
    for protocol in _PROTOCOLS:
      found = correlate(queries[measure], _numbers(queries[protocol]))
      rows.append([f"{measure}, {protocol}", found.rho, found.low, found.high, found.count])
      gain = _numbers(queries[protocol]) - _numbers(queries[f"search {protocol}"])
      found = correlate(queries[measure], gain)
      rows.append([f"{measure}, gain {protocol}", found.rho, found.low, found.high, found.count])
  table = Table(
    "Rank correlation with average precision",
    [
      Column("of"),
      Column("rho", 2, "Spearman's rank correlation over queries"),
      Column("low", 2, "end of the interval of 95 %, by the bootstrap"),
      Column("high", 2),
      Column("queries"),
    ],
    rows,
    note=(
      "stress: normalised stress of a query's embedding; known: its pairs that are known and"
      " similar; gain: average precision above that of the search."
    ),
  )
  if not has_plots:
    return Section(_TITLE, [table])
  groups = {
    name: ([s for s, a in pairs if a is not None], [a for _, a in pairs if a is not None])
    for name in _PROTOCOLS
    for pairs in [[*zip(queries["stress"], queries[name], strict=True)]]
  }
  svg = plots.scatter(groups, x="normalised stress", y="average precision, percent")
  plot = Plot("Stress and average precision", svg, "A point is a query.")
  columns = [*_MEASURES, *(name for name in PROTOCOLS), "search medium", "search hard"]
  each = Table(
    "Queries of the embedding",
    [Column("query"), *(Column(name, 3 if name == "stress" else 1) for name in columns)],
    [[name, *(queries[column][number] for column in columns)] for number, name in enumerate(names)],
  )
  return Section(_TITLE, [table, plot, each])


def _numbers(values: list[float | None]) -> np.ndarray:
  return np.array([math.nan if value is None else value for value in values])

"""The sections of a run's page that tell what ran, how good it was, and where L2G loses."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.report import causes, glance, plots, reasons, words
from l2g_jax.report.blocks import Block, Column, Plot, Section, Table, Text
from l2g_jax.report.run import EMBEDDING, METHOD, Judged, Run, ascending, figure
from l2g_jax.report.ties import QueryTies

_KAPPAS = (1, 5, 10)
_RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000, 1000000)
# Points by which two curves of positives differ that look like one.
_ONE_CURVE = 1.5
_MEANINGS = {
  "global": "cosines of the global features",
  "global+rerank": "the same, re-ranked by SuperGlobal's method",
  "chamfer": "the local search, by Chamfer similarity",
  "candidates": "the candidates in the order of their file",
  EMBEDDING: "L2G with w = 1: the embedding of local similarities, without the global features",
  METHOD: "the embedding, weighted by w, joined with the global features, weighted by 1 - w",
  "l2g-default": "the same with the default w of these features",
}


def make_overview(
  run: Run, judged: Judged, ties: Sequence[QueryTies], fingerprint: Mapping[str, Any]
) -> list[Section]:
  """Returns the sections before the queries.

  Args:
    run: what is shown.
    judged: of the run.
    ties: of every query.
    fingerprint: of its inputs.
  """
  return [
    Section("At a glance", glance.make_glance(run, judged, fingerprint)),
    Section("Methods", _methods(run, judged)),
    Section("Where L2G loses, and why", _losses(run, judged, ties)),
  ]


def _methods(run: Run, judged: Judged) -> list[Block]:
  weights = {row["name"]: row["w"] for row in run.figures["rows"] if "w" in row} | {EMBEDDING: 1}
  rows = []
  for name, report in judged.reports.items():
    cells = [
      figure(100 * value)
      for protocol in PROTOCOLS
      for value in (report[protocol].map, *(report[protocol].mean_precision[k] for k in _KAPPAS))
    ]
    rows.append((name + (f" (w = {weights[name]:g})" if name in weights else ""), *cells))
  marked = [[*judged.reports].index(METHOD)]
  columns = [Column("method")] + [
    Column(f"{protocol} {key}", 1, f"{_help(key)}, in percent, {protocol} protocol")
    for protocol in PROTOCOLS
    for key in ("mAP", *(f"mP@{k}" for k in _KAPPAS))
  ]
  names = [stage.name for stage in run.stages]
  meanings = [f"{name}: {_MEANINGS[name]}" for name in names if name in _MEANINGS]
  return [
    Table(
      "Every method",
      columns,
      rows,
      f"Bold is the best of a column; the shaded row is {METHOD}. {'; '.join(meanings)}.",
      marked,
      bests=range(1, len(columns)),
    ),
    _found_by_rank(run, judged),
  ]


def _help(key: str) -> str:
  return "mean average precision" if key == "mAP" else f"mean precision of the first {key[3:]}"


def _found_by_rank(run: Run, judged: Judged) -> Plot:
  most = run.figures["dataset"]["images"]
  ranks = [rank for rank in _RANKS if rank < most] + [most]
  total = max(1, int(judged.num_positives.sum()))
  k = run.candidates.ids.shape[1]
  shares = {}
  for stage in run.stages:
    places = np.concatenate([*judged.places[stage.name], np.zeros(0, int)])
    shares[stage.name] = [float(np.sum(places <= rank)) / total * 100 for rank in ranks]
  svg = plots.lines(
    {name: (ranks, own) for name, own in shares.items()},
    x="rank",
    y="positives found, %",
    log_x=True,
    mark_x=k,
    y_range=(0, 101),
    subject=METHOD,
  )
  joined = [name for name in shares if name == run.search or name.startswith((EMBEDDING, METHOD))]
  return Plot(
    "Positives found by rank",
    svg,
    f"The share of all positives, easy and hard, up to a rank; {METHOD} is the wide line."
    f"{_tell_close(shares)} Every stage ranks all images, so a curve that rises late has positives"
    " far down. The upright line is at k: beyond it images are not embedded and keep the order of"
    f" {run.search}, so {words.enumerate_names(joined)} are one curve there.",
  )


def _tell_close(shares: Mapping[str, Sequence[float]]) -> str:
  """Names the curves that lie on one another, so that one may be hidden."""
  found = []
  for first, second in itertools.combinations(shares, 2):
    most = max(abs(a - b) for a, b in zip(shares[first], shares[second], strict=True))
    if most <= _ONE_CURVE:
      found.append(
        f" {first} and {second} are nearly one: they differ by {most:.1f} points at most."
      )
  return "".join(found)


def _losses(run: Run, judged: Judged, ties: Sequence[QueryTies]) -> list[Block]:
  truth, made, search = run.dataset.ground_truth, run.diagnostics, run.search
  groups, points = {}, {}
  for protocol in causes.EXPLAINED:
    own = judged.precisions[protocol]
    valid = ~np.isnan(own[search])
    groups[protocol] = (own[search][valid].tolist(), own[METHOD][valid].tolist())
    points[protocol] = [
      plots.Point(
        f"{truth.qimlist[q]}, {protocol}: {own[search][q]:.1f} to {own[METHOD][q]:.1f}",
        f"query-{q}",
      )
      for q in np.flatnonzero(valid)
    ]
  columns = [
    Column("query", None, "leads to its ranked lists"),
    Column("change, medium", 1, f"points of AP that L2G gains against {search}"),
    Column(f"{search}, medium", 1, "AP in percent"),
    Column("l2g, medium", 1, "AP in percent"),
    Column("cause, medium", None, "the part of L2G that loses more, where it loses"),
    Column("change, hard", 1, f"points of AP that L2G gains against {search}"),
    Column(f"{search}, hard", 1, "AP in percent"),
    Column("l2g, hard", 1, "AP in percent"),
    Column("cause, hard", None, "the part of L2G that loses more, where it loses"),
    Column("positives", None, "easy and hard images"),
    Column("embedded", None, "positives among the candidates of the search"),
    Column("stress", 3, "stress-1 of the embedding, 0 where all distances fit"),
    Column("iterations", None, "of SMACOF"),
    Column("converged", None, "whether SMACOF stopped before its limit"),
  ]
  changes = {name: judged.change(name, search) for name in causes.EXPLAINED}
  order = ascending(changes["medium"])
  medium, hard = judged.precisions["medium"], judged.precisions["hard"]
  rows = [
    (
      truth.qimlist[q],
      figure(changes["medium"][q]),
      figure(medium[search][q]),
      figure(medium[METHOD][q]),
      causes.find_cause(run, judged, q, "medium"),
      figure(changes["hard"][q]),
      figure(hard[search][q]),
      figure(hard[METHOD][q]),
      causes.find_cause(run, judged, q, "hard"),
      int(judged.num_positives[q]),
      int(judged.num_reached[q]),
      float(made.normalized_stress[q]),
      int(made.num_iterations[q]),
      "yes" if made.converged[q] else "no",
    )
    for q in order
  ]
  if made.converged.all():
    columns.pop()
    rows = [row[:-1] for row in rows]
  losing = [
    q
    for q in range(len(order))
    if causes.find_cause(run, judged, q, "medium") == causes.BY_EMBEDDING
  ]
  return [
    *(Text(causes.summarize(run, judged, protocol)) for protocol in causes.EXPLAINED),
    Text(_embedded(run, judged)),
    *reasons.count_reasons(ties, search, losing=losing),
    Plot(
      f"AP of L2G against {search}",
      plots.scatter(groups, x=f"AP of {search}, %", y="AP of l2g, %", diagonal=True, points=points),
      "A point is a query, and leads to its lists. Below the line L2G loses.",
    ),
    Table(
      "Every query",
      columns,
      rows,
      "The greatest loss in medium first. Positives that are not embedded keep the order of the"
      " search.",
      links=[f"query-{q}" for q in order],
    ),
  ]


def _embedded(run: Run, judged: Judged) -> str:
  total = int(judged.num_positives.sum())
  missing = total - int(judged.num_reached.sum())
  text = f"{total - missing} of {total} positives are among the k candidates."
  if not missing:
    return text
  return (
    f"{text} {missing} {words.verb(missing, 'are')} not, and so not embedded: the order of"
    f" {run.search} stands there, and L2G neither gains nor loses."
  )

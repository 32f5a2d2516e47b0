"""The sections of a run's page that tell what ran, how good it was, and where L2G loses."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.report import causes, plots
from l2g_jax.report.blocks import Block, Column, Plot, Section, Table, Text
from l2g_jax.report.run import EMBEDDING, METHOD, Judged, Run, ascending, figure

_KAPPAS = (1, 5, 10)
_RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000, 1000000)
_MEANINGS = {
  "global": "cosines of the global features",
  "global+rerank": "the same, re-ranked by SuperGlobal's method",
  "chamfer": "the local search, by Chamfer similarity",
  "candidates": "the candidates in the order of their file",
  EMBEDDING: "L2G with w = 1: the embedding of local similarities, without the global features",
  METHOD: "embedding and global features joined with the weight w",
  "l2g-default": "the same with the default w of these features",
}


def make_overview(run: Run, judged: Judged, fingerprint: Mapping[str, Any]) -> list[Section]:
  """Returns the sections before the queries.

  Args:
    run: what is shown.
    judged: of the run.
    fingerprint: of its inputs.
  """
  return [
    Section("At a glance", [_glance(run, fingerprint), _seconds(run)]),
    Section("Methods", _methods(run, judged)),
    Section("Where L2G loses, and why", _losses(run, judged)),
  ]


def _glance(run: Run, fingerprint: Mapping[str, Any]) -> Table:
  config, dataset = run.figures["config"], run.figures["dataset"]
  made, method = run.diagnostics, config["method"]
  weight = next(row["w"] for row in run.figures["rows"] if row["name"] == METHOD)
  converged = int(np.sum(made.converged))
  rows = [
    ("data set", dataset["name"], f"{dataset['images']} images, {dataset['queries']} queries"),
    ("k", config["k"], "candidates of the local search that are embedded"),
    ("w", weight, "weight of the embedding; 1 - w is that of the global features"),
    ("local features", str(config["local"]), "searched first"),
    ("global features", str(config["global_features"]), "joined with the embedding"),
    ("similarity", str(config["similarity"]), "what the search and the embedding go by"),
    (
      "converged",
      f"{converged} of {len(made.converged)}",
      f"queries whose SMACOF stopped before the limit of {method['max_iterations']} iterations:"
      f" the stress fell by less than {method['rtol']:g} of itself",
    ),
    ("iterations", _spread(made.num_iterations, 0), "of SMACOF: median (least to most)"),
    (
      "stress-1",
      _spread(made.normalized_stress, 3),
      "of the embedding, 0 where all distances fit: median (least to most)",
    ),
    ("known pairs", _spread(made.num_known, 0), "of a query's embedding: median (least to most)"),
    ("fingerprint", str(fingerprint.get("all", "")), "of all inputs, see the end of the page"),
  ]
  columns = [Column("setting or result"), Column("value"), Column("meaning")]
  return Table("What ran", columns, rows)


def _seconds(run: Run) -> Table:
  seconds, a_query = run.figures["seconds"], run.figures["seconds_per_query"]
  columns = [
    Column("stage"),
    Column("seconds", 1, "of the whole run; what was kept from earlier takes next to none"),
    Column("a query", 4, "seconds of a stage that runs for every query"),
  ]
  rows = [(stage, float(value), a_query.get(stage)) for stage, value in seconds.items()]
  environment = run.figures["environment"]
  note = f"On {environment['device']}, {environment['cores']} cores, JAX {environment['jax']}."
  return Table("Time", columns, rows, note)


def _methods(run: Run, judged: Judged) -> list[Block]:
  rows, marked = [], []
  for row in run.figures["rows"]:
    name = row["name"] + (f" (w={row['w']:g})" if "w" in row else "")
    cells = [row[protocol][key] for protocol in PROTOCOLS for key in _keys()]
    if row["name"] == METHOD:
      marked.append(len(rows))
    rows.append((name, *cells))
  columns = [Column("method")] + [
    Column(f"{protocol} {key}", 1, f"{_help(key)}, in percent, {protocol} protocol")
    for protocol in PROTOCOLS
    for key in ("mAP", *(f"mP@{k}" for k in _KAPPAS))
  ]
  names = [stage.name for stage in run.stages]
  meanings = [f"{name}: {_MEANINGS[name]}" for name in names if name in _MEANINGS]
  return [
    Table("Every method", columns, rows, "; ".join(meanings) + ".", marked),
    Plot(
      "Positives found by rank",
      _recall(run, judged),
      "The share of all positives, easy and hard, up to a rank. Every stage ranks all images, so a"
      " curve that rises late has positives far down. The upright line is at k: beyond it images"
      f" are not embedded and keep the order of {run.search}, so these curves are one.",
    ),
  ]


def _keys() -> tuple[str, ...]:
  return ("map", *(f"mp{k}" for k in _KAPPAS))


def _help(key: str) -> str:
  return "mean average precision" if key == "mAP" else f"mean precision of the first {key[3:]}"


def _recall(run: Run, judged: Judged) -> str:
  most = run.figures["dataset"]["images"]
  ranks = [rank for rank in _RANKS if rank < most] + [most]
  total = max(1, int(judged.num_positives.sum()))
  k = run.candidates.ids.shape[1]
  series = {}
  for stage in run.stages:
    places = np.concatenate([*judged.places[stage.name], np.zeros(0, int)])
    series[stage.name] = (ranks, [float(np.sum(places <= rank)) / total * 100 for rank in ranks])
  return plots.lines(
    series, x="rank", y="positives found, %", log_x=True, mark_x=k, y_range=(0, 101)
  )


def _losses(run: Run, judged: Judged) -> list[Block]:
  truth, made, search = run.dataset.ground_truth, run.diagnostics, run.search
  groups = {}
  for protocol in causes.EXPLAINED:
    own = judged.precisions[protocol]
    valid = ~np.isnan(own[search])
    groups[protocol] = (own[search][valid].tolist(), own[METHOD][valid].tolist())
  columns = [
    Column("query", None, "leads to its ranked lists"),
    Column("change, medium", 1, f"points of AP that L2G gains against {search}"),
    Column(f"{search}, medium", 1, "AP in percent"),
    Column("embedding, medium", 1, "AP of L2G with w = 1"),
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
      figure(medium[EMBEDDING][q]),
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
  return [
    *(Text(causes.summarize(run, judged, protocol)) for protocol in causes.EXPLAINED),
    Text(_embedded(run, judged)),
    Plot(
      f"AP of L2G against {search}",
      plots.scatter(groups, x=f"AP of {search}, %", y="AP of l2g, %", diagonal=True),
      "A point is a query. Below the line L2G loses.",
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
  return (
    f"{total - missing} of {total} positives are among the k candidates. The other {missing} are"
    f" not embedded: they keep the order of {run.search}, so L2G neither gains nor loses by them."
  )


def _spread(values: np.ndarray, digits: int) -> str:
  median, least, most = np.median(values), np.min(values), np.max(values)
  return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"

"""The report of the main job: what ran, every method, where L2G loses, and the lists themselves."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.data.dataset import Dataset
from l2g_jax.evaluation import PROTOCOLS, evaluate
from l2g_jax.pipeline.l2g import Diagnostics
from l2g_jax.ranked import Ranked
from l2g_jax.report import plots
from l2g_jax.report.blocks import Block, Browser, Cell, Column, Plot, Section, Table, Text
from l2g_jax.report.folder import write_report
from l2g_jax.report.queries import KeyPoints, Stage, make_browser

_KAPPAS = (1, 5, 10)
_METHOD = "l2g"
# The stage of L2G with w = 1.
EMBEDDING = "embedding"
_RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000, 1000000)
_MEANINGS = {
  "global": "cosines of the global features",
  "global+rerank": "the same, re-ranked by SuperGlobal's method",
  "chamfer": "the local search, by Chamfer similarity",
  "candidates": "the candidates in the order of their file",
  EMBEDDING: "L2G with w = 1: the embedding of local similarities, without the global features",
  _METHOD: "embedding and global features joined with the weight w",
  "l2g-default": "the same with the default w of these features",
}


@dataclasses.dataclass(frozen=True)
class Run:
  """What the main job found on a data set of Q queries and N images.

  Attributes:
    dataset: with its ground truth.
    figures: of `cli.report.make_report`: rows, seconds, settings and the environment.
    stages: by which the queries were ranked, in order; among them `global`, that of the search and
      `l2g`.
    search: the name of the search before L2G, against which losses count.
    candidates: `[Q, C]`, handed to the re-ranking.
    diagnostics: of the embeddings.
    key_points: for lines between matches; None = none are drawn.
  """

  dataset: Dataset
  figures: Mapping[str, Any]
  stages: Sequence[Stage]
  search: str
  candidates: Ranked
  diagnostics: Diagnostics
  key_points: KeyPoints | None


def write_run(folder: os.PathLike | str, run: Run, *, fingerprint: Mapping[str, Any]) -> None:
  """Writes the report of a run; see `write_report`.

  Args:
    folder: of the report.
    run: what is shown.
    fingerprint: see `fingerprint`.

  Raises:
    InputError: the folder holds other files, or Matplotlib is not installed.
  """
  judged = _judge(run)
  sections = [
    Section("At a glance", [_glance(run, fingerprint), _seconds(run)]),
    Section("Methods", _methods(run, judged)),
    Section("Where L2G loses, and why", _losses(run, judged)),
    Section("Queries", [_browser(run, judged)]),
  ]
  figures = run.figures
  data = {**figures, "queries": _query_figures(run, judged)}
  write_report(
    folder,
    f"L2G on {figures['dataset']['name']}",
    sections,
    data=data,
    fingerprint=fingerprint,
    notice=figures["dataset"]["notice"],
  )


@dataclasses.dataclass(frozen=True)
class _Judged:
  """Figures of every query, in percent and NaN without positives.

  Attributes:
    precisions: by protocol and stage, AP `[Q]`.
    places: by stage and query, the ranks of the positives, easy and hard, from 1 and with junk.
    num_positives: `[Q]`.
    num_reached: `[Q]`, positives among the candidates.
  """

  precisions: Mapping[str, Mapping[str, np.ndarray]]
  places: Mapping[str, Sequence[np.ndarray]]
  num_positives: np.ndarray
  num_reached: np.ndarray

  def change(self, protocol: str, search: str) -> np.ndarray:
    """Returns by how many points of AP L2G is above the search, `[Q]`."""
    own = self.precisions[protocol]
    return own[_METHOD] - own[search]


def _judge(run: Run) -> _Judged:
  truth = run.dataset.ground_truth
  precisions: dict[str, dict[str, np.ndarray]] = {name: {} for name in PROTOCOLS}
  places = {}
  positives = [np.concatenate([query.easy, query.hard]) for query in truth.queries]
  for stage in run.stages:
    for protocol, result in evaluate(stage.rankings, truth, _KAPPAS).items():
      precisions[protocol][stage.name] = 100 * result.average_precisions
    places[stage.name] = [
      np.flatnonzero(np.isin(ranking, wanted)) + 1
      for ranking, wanted in zip(stage.rankings, positives, strict=True)
    ]
  reached = [
    np.isin(wanted, ids).sum() for wanted, ids in zip(positives, run.candidates.ids, strict=True)
  ]
  return _Judged(
    precisions, places, np.array([len(wanted) for wanted in positives]), np.array(reached)
  )


def _glance(run: Run, fingerprint: Mapping[str, Any]) -> Table:
  config, dataset = run.figures["config"], run.figures["dataset"]
  made, method = run.diagnostics, config["method"]
  weight = next(row["w"] for row in run.figures["rows"] if row["name"] == _METHOD)
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


def _methods(run: Run, judged: _Judged) -> list[Block]:
  rows, marked = [], []
  for row in run.figures["rows"]:
    name = row["name"] + (f" (w={row['w']:g})" if "w" in row else "")
    cells = [row[protocol][key] for protocol in PROTOCOLS for key in _keys()]
    if row["name"] == _METHOD:
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
      "The share of all positives, easy and hard, up to a rank. A stage that ends low has not"
      " reached them; one that rises late has them far down.",
    ),
  ]


def _keys() -> tuple[str, ...]:
  return ("map", *(f"mp{k}" for k in _KAPPAS))


def _help(key: str) -> str:
  return "mean average precision" if key == "mAP" else f"mean precision of the first {key[3:]}"


def _recall(run: Run, judged: _Judged) -> str:
  most = run.figures["dataset"]["images"]
  ranks = [rank for rank in _RANKS if rank < most] + [most]
  total = max(1, int(judged.num_positives.sum()))
  series = {}
  for stage in run.stages:
    places = np.concatenate([*judged.places[stage.name], np.zeros(0, int)])
    series[stage.name] = (ranks, [float(np.sum(places <= rank)) / total * 100 for rank in ranks])
  return plots.lines(series, x="rank", y="positives found, %", log_x=True, y_range=(0, 101))


def _losses(run: Run, judged: _Judged) -> list[Block]:
  truth, made, search = run.dataset.ground_truth, run.diagnostics, run.search
  groups = {}
  for protocol in ("medium", "hard"):
    own = judged.precisions[protocol]
    valid = ~np.isnan(own[search])
    groups[protocol] = (own[search][valid].tolist(), own[_METHOD][valid].tolist())
  columns = [
    Column("query", None, "leads to its ranked lists"),
    Column("change, medium", 1, f"points of AP that L2G gains against {search}"),
    Column(f"{search}, medium", 1, "AP in percent"),
    Column("embedding, medium", 1, "AP of L2G with w = 1"),
    Column("l2g, medium", 1, "AP in percent"),
    Column("change, hard", 1, f"points of AP that L2G gains against {search}"),
    Column(f"{search}, hard", 1, "AP in percent"),
    Column("l2g, hard", 1, "AP in percent"),
    Column("positives", None, "easy and hard images"),
    Column("reached", None, "positives among the candidates of the search"),
    Column("stress-1", 3, "of the embedding"),
    Column("iterations", None, "of SMACOF"),
    Column("converged", None, "whether SMACOF stopped before its limit"),
  ]
  changes = {name: judged.change(name, search) for name in ("medium", "hard")}
  order = _ascending(changes["medium"])
  medium, hard = judged.precisions["medium"], judged.precisions["hard"]
  rows = [
    (
      truth.qimlist[q],
      _cell(changes["medium"][q]),
      _cell(medium[search][q]),
      _cell(medium[EMBEDDING][q]),
      _cell(medium[_METHOD][q]),
      _cell(changes["hard"][q]),
      _cell(hard[search][q]),
      _cell(hard[_METHOD][q]),
      int(judged.num_positives[q]),
      int(judged.num_reached[q]),
      float(made.normalized_stress[q]),
      int(made.num_iterations[q]),
      "yes" if made.converged[q] else "no",
    )
    for q in order
  ]
  return [
    Text(_summary(changes["medium"], search)),
    Plot(
      f"AP of L2G against {search}",
      plots.scatter(groups, x=f"AP of {search}, %", y="AP of l2g, %", diagonal=True),
      "A point is a query. Below the line L2G loses.",
    ),
    Table(
      "Every query",
      columns,
      rows,
      "The greatest loss first. Positives that were not reached can't be ranked by L2G.",
      links=[f"query-{q}" for q in order],
    ),
  ]


def _summary(changes: np.ndarray, search: str) -> str:
  lost, gained = int(np.sum(changes < -0.05)), int(np.sum(changes > 0.05))
  same = int(np.sum(~np.isnan(changes))) - lost - gained
  return (
    f"By medium AP L2G is below {search} for {lost} queries and above it for {gained}; {same} are"
    f" within 0.05 points. Its losses add up to {-np.nansum(np.minimum(changes, 0)):.1f} points,"
    f" its gains to {np.nansum(np.maximum(changes, 0)):.1f}."
  )


def _browser(run: Run, judged: _Judged) -> Browser:
  search = run.search
  medium, hard = judged.precisions["medium"], judged.precisions["hard"]
  loss = f"loss of AP against {search}"
  orders = {
    f"{loss}, medium": _ascending(judged.change("medium", search)),
    f"{loss}, hard": _ascending(judged.change("hard", search)),
    f"gain of AP against {search}, medium": _ascending(-judged.change("medium", search)),
    "loss of AP against global+rerank, medium": _ascending(
      medium[_METHOD] - medium["global+rerank"]
    ),
    "lowest AP of l2g, medium": _ascending(medium[_METHOD]),
    "lowest AP of l2g, hard": _ascending(hard[_METHOD]),
    "highest stress": _ascending(-run.diagnostics.normalized_stress),
    "order of the data set": list(range(len(run.candidates.ids))),
  }
  return make_browser(
    run.dataset,
    run.stages,
    shown=("global", search, _METHOD),
    reference=search,
    facts=[_facts(run, judged, q) for q in range(len(run.candidates.ids))],
    orders=orders,
    key_points=run.key_points,
  )


def _facts(run: Run, judged: _Judged, q: int) -> list[tuple[str, str]]:
  made = run.diagnostics
  names = [stage.name for stage in run.stages]
  facts = []
  for protocol in ("medium", "hard"):
    own = judged.precisions[protocol]
    values = [f"{name} {own[name][q]:.1f}" for name in names if not math.isnan(own[name][q])]
    facts.append((f"AP, {protocol}", ", ".join(values) or "no positives"))
  found = [f"{name} {np.sum(judged.places[name][q] <= 10)}" for name in names]
  facts.append(("Positives in the first 10", ", ".join(found)))
  facts.append(
    ("Reached by the search", f"{judged.num_reached[q]} of {judged.num_positives[q]} positives")
  )
  facts.append(
    (
      "Embedding",
      f"stress-1 {made.normalized_stress[q]:.3f} after {made.num_iterations[q]} iterations,"
      f" {'converged' if made.converged[q] else 'not converged'};"
      f" {made.num_known[q]} known pairs",
    )
  )
  facts.append(("Why", _cause(run, judged, q)))
  return facts


def _cause(run: Run, judged: _Judged, q: int) -> str:
  """Says which stage loses the positives of a query."""
  medium, parts = judged.precisions["medium"], []
  change = judged.change("medium", run.search)[q]
  if math.isnan(change):
    return "The query has no positives."
  if missing := int(judged.num_positives[q] - judged.num_reached[q]):
    parts.append(f"The search did not reach {missing} positives, and no later stage can.")
  alone = medium[EMBEDDING][q] - medium[run.search][q]
  joined = medium[_METHOD][q] - medium[EMBEDDING][q]
  if not run.diagnostics.num_known[q]:
    parts.append("No pair is known, so the order of the search stands.")
  elif change < -0.05:
    parts.append(
      f"The embedding alone changes AP by {alone:+.1f} against {run.search}, and the global"
      f" features by {joined:+.1f} on top: "
      + ("the embedding loses it." if alone < joined else "the global features lose it.")
    )
  else:
    parts.append(
      f"L2G loses nothing: the embedding alone changes AP by {alone:+.1f} against {run.search},"
      f" and the global features by {joined:+.1f} on top."
    )
  return " ".join(parts)


def _query_figures(run: Run, judged: _Judged) -> list[dict[str, Any]]:
  """Returns the figures of every query as JSON."""
  made = run.diagnostics
  return [
    {
      "name": name,
      "average_precision": {
        protocol: {stage: _cell(values[q]) for stage, values in own.items()}
        for protocol, own in judged.precisions.items()
      },
      "ranks_of_positives": {stage: rows[q].tolist() for stage, rows in judged.places.items()},
      "num_reached": int(judged.num_reached[q]),
      "num_known": int(made.num_known[q]),
      "normalized_stress": float(made.normalized_stress[q]),
      "num_iterations": int(made.num_iterations[q]),
      "converged": bool(made.converged[q]),
    }
    for q, name in enumerate(run.dataset.ground_truth.qimlist)
  ]


def _ascending(values: np.ndarray) -> list[int]:
  """Returns positions by value, NaN last."""
  return np.argsort(values, kind="stable").tolist()


def _cell(value: float) -> Cell:
  return None if math.isnan(value) else float(value)


def _spread(values: np.ndarray, digits: int) -> str:
  median, least, most = np.median(values), np.min(values), np.max(values)
  return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"

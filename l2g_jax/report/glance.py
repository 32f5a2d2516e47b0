"""The first section of a run's page: what came out, in words that need no paper, and what ran."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from l2g_jax.report.blocks import Block, Column, Table, Terms, Text
from l2g_jax.report.causes import EXPLAINED
from l2g_jax.report.run import METHOD, Judged, Run, figure

_PIPELINE = (
  "A local search compares the key points of the query with those of every image, and keeps the"
  " k best candidates. L2G (local-to-global) then compares these candidates with each other too,"
  " turns all of these similarities into places in one space, and ranks the candidates by their"
  " distance there, joined with global features, which describe an image by one vector."
)
_TERMS = {
  "AP, mAP": "average precision of a query: 100 where all positives come first; mAP is its mean"
  " over queries",
  "mP@5": "mean precision: the share of positives among the first 5 results, up to the last"
  " positive",
  "easy, medium, hard": "protocols: easy counts easy images as positives and ignores hard ones,"
  " medium counts both, hard counts hard images and ignores easy ones: they are taken out of the"
  " list before it is judged",
  "junk": "images that are neither right nor wrong; every protocol ignores them",
  "Chamfer similarity": "of two images: the mean similarity of each key point of the query to the"
  " one of the image that is most like it",
  "global features, VLAD": "one vector an image; VLAD makes it by summing how the descriptors of"
  " key points differ from the nearest of some typical ones",
  "embedding": "places of a query and its candidates in one space, where alike images lie close",
  "SMACOF": "the method that finds these places: it moves them step by step so that their distances"
  " fit the similarities",
  "stress-1": "how badly the distances fit: 0 is perfect; by Kruskal's rule of thumb 0.05 is good"
  " and 0.2 is poor",
  "known pairs": "pairs of images, each with its nearest, that the embedding takes as similar; the"
  " others count as unlike, unless the setting method.completion says otherwise; the strength of a"
  " pair is its share of the strongest of the same query",
  "the query's nearest": "the images with which the query has known pairs, the 5 strongest at most;"
  " they hold it where it lies",
}


def make_glance(run: Run, judged: Judged, fingerprint: Mapping[str, Any]) -> list[Block]:
  """Returns the blocks of the section: the result, how it came about, settings, terms, and time.

  Args:
    run: what is shown.
    judged: of the run.
    fingerprint: of its inputs.
  """
  return [
    Text(_headline(run, judged)),
    _result(run, judged),
    Text(_PIPELINE),
    Terms("Terms", _TERMS),
    _settings(run, fingerprint),
    _seconds(run),
  ]


def _headline(run: Run, judged: Judged) -> str:
  made, changes = run.diagnostics, []
  for protocol in EXPLAINED:
    change = _map(judged, METHOD, protocol) - _map(judged, run.search, protocol)
    if not np.isnan(change):
      changes.append(f"{change:+.1f} points of mAP in {protocol}")
  return (
    f"L2G against {run.search}: {' and '.join(changes) or 'no positives to judge by'}, with k ="
    f" {run.figures['config']['k']} candidates and w = {_weight(run):g}. The embedding converged"
    f" for {int(np.sum(made.converged))} of {len(made.converged)} queries."
  )


def _result(run: Run, judged: Judged) -> Table:
  columns = [Column("mAP, %")]
  columns += [Column(name, 1, f"{name} protocol") for name in EXPLAINED]
  rows = []
  for name in (run.search, METHOD):
    rows.append((name, *(figure(_map(judged, name, protocol)) for protocol in EXPLAINED)))
  differences = [
    figure(_map(judged, METHOD, protocol) - _map(judged, run.search, protocol))
    for protocol in EXPLAINED
  ]
  return Table("Result", columns, [*rows, ("difference", *differences)])


def _map(judged: Judged, name: str, protocol: str) -> float:
  return 100 * judged.reports[name][protocol].map


def _weight(run: Run) -> float:
  return next(row["w"] for row in run.figures["rows"] if row["name"] == METHOD)


def _settings(run: Run, fingerprint: Mapping[str, Any]) -> Table:
  config, dataset = run.figures["config"], run.figures["dataset"]
  made, method = run.diagnostics, config["method"]
  converged = int(np.sum(made.converged))
  rows = [
    ("data set", dataset["name"], f"{dataset['images']} images, {dataset['queries']} queries"),
    ("k", config["k"], "candidates of the local search that are embedded"),
    ("w", _weight(run), "weight of the embedding; 1 - w is that of the global features"),
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
    (
      "fingerprint",
      str(fingerprint.get("all", "")),
      "one checksum of all inputs, see the end of the page",
    ),
  ]
  columns = [Column("setting or result"), Column("value"), Column("meaning")]
  return Table("What ran", columns, rows)


def _seconds(run: Run) -> Table:
  seconds, a_query = run.figures["seconds"], run.figures["seconds_per_query"]
  columns = [
    Column("stage"),
    Column("seconds", 1, "of the whole run"),
    Column("seconds a query", 4, "of a stage that runs for every query"),
  ]
  rows = [
    (
      f"{stage} (images: read from the work folder)" if stage in run.figures["kept"] else stage,
      float(value),
      a_query.get(stage),
    )
    for stage, value in seconds.items()
  ]
  environment = run.figures["environment"]
  note = f"On {environment['device']}, {environment['cores']} cores, JAX {environment['jax']}."
  return Table("Time", columns, rows, note)


def _spread(values: np.ndarray, digits: int) -> str:
  median, least, most = np.median(values), np.min(values), np.max(values)
  return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"

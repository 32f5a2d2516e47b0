"""The report of the main job: what ran, every method, where L2G loses, and the lists themselves."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.report import causes, reasons
from l2g_jax.report.blocks import Browser, Section
from l2g_jax.report.folder import write_report
from l2g_jax.report.overview import make_overview
from l2g_jax.report.queries import make_browser
from l2g_jax.report.run import EMBEDDING, METHOD, Judged, Run, ascending, figure, judge
from l2g_jax.report.ties import QueryTies, find_ties

# Their lists are much like others; the last that is shown is that of L2G.
_NOT_SHOWN = ("global+rerank", "l2g-default")
_COSINE = "from -1 to 1, of the vectors that describe images as a whole; 1 is the same direction"
_ONE_KIND = (
  "from 0 to 1: how like each key point of the query is to the one of the image most like it, on"
  " average; 1 is the same picture"
)
_SEVERAL_KINDS = "in multiples of what unrelated images have; 0 is unlike, and there is no greatest"
_L2G_SCORE = (
  "how near the image is to the query, and to the query joined with its best images: the mean of"
  " both, about -1 to 1; up to 1 is added where the search is certain of it. It compares images of"
  " one query only; an image that was not re-ranked keeps its similarity"
)


def write_run(folder: os.PathLike | str, run: Run, *, fingerprint: Mapping[str, Any]) -> None:
  """Writes the report of a run; see `write_report`.

  Args:
    folder: of the report.
    run: what is shown.
    fingerprint: see `fingerprint`.

  Raises:
    InputError: the folder holds other files, or Matplotlib is not installed.
  """
  judged = judge(run)
  ties = [find_ties(run, q) for q in range(len(run.candidates.ids))]
  sections = [
    *make_overview(run, judged, ties, fingerprint),
    Section("Queries", [_browser(run, judged, ties)]),
  ]
  figures = run.figures
  data = {**figures, "queries": _query_figures(run, judged, ties)}
  write_report(
    folder,
    f"L2G on {figures['dataset']['name']}",
    sections,
    data=data,
    fingerprint=fingerprint,
    notice=figures["dataset"]["notice"],
  )


def _browser(run: Run, judged: Judged, ties: Sequence[QueryTies]) -> Browser:
  search = run.search
  medium, hard = judged.precisions["medium"], judged.precisions["hard"]
  loss = f"loss of AP against {search}"
  orders = {
    f"{loss}, medium": ascending(judged.change("medium", search)),
    f"{loss}, hard": ascending(judged.change("hard", search)),
    f"gain of AP against {search}, medium": ascending(-judged.change("medium", search)),
    "loss of AP against global+rerank, medium": ascending(medium[METHOD] - medium["global+rerank"]),
    "lowest AP of l2g, medium": ascending(medium[METHOD]),
    "lowest AP of l2g, hard": ascending(hard[METHOD]),
    "highest stress": ascending(-run.diagnostics.normalized_stress),
    "order of the data set": list(range(len(run.candidates.ids))),
  }
  hidden = {*_NOT_SHOWN}
  stages = {stage.name: stage for stage in run.stages}
  if np.array_equal(stages[EMBEDDING].rankings, stages[METHOD].rankings):
    hidden.add(EMBEDDING)
  scales = {
    "cosine": _COSINE,
    "similarity": _similarity_scale(run.figures["config"]),
    stages[METHOD].score_name: _L2G_SCORE,
  }
  return make_browser(
    run.dataset,
    run.stages,
    shown=[name for name in stages if name not in hidden],
    reference=search,
    facts=[_facts(run, judged, ties[q], q) for q in range(len(ties))],
    orders=orders,
    key_points=run.key_points,
    fallen=[
      {image: reasons.explain(run, ties[q], q, image) for image in reasons.list_fallen(run, q)}
      for q in range(len(ties))
    ],
    scales=scales,
  )


def _similarity_scale(config: Mapping[str, Any]) -> str:
  """Says how far the similarities by which candidates are embedded reach."""
  name = config["similarity"].partition(":")[0]
  if name != "chamfer":
    return f"as {name} measures it; 0 is unlike"
  return _SEVERAL_KINDS if "+" in str(config["local"]) else _ONE_KIND


def _facts(run: Run, judged: Judged, own_ties: QueryTies, q: int) -> list[tuple[str, str]]:
  made = run.diagnostics
  names = [stage.name for stage in run.stages]
  facts = []
  for protocol in causes.EXPLAINED:
    own = judged.precisions[protocol]
    values = [f"{name} {own[name][q]:.1f}" for name in names if not math.isnan(own[name][q])]
    facts.append((f"AP, {protocol}", ", ".join(values) or "no positives"))
  found = [f"{name} {np.sum(judged.places[name][q] <= 10)}" for name in names]
  facts.append(("Positives in the first 10", ", ".join(found)))
  facts.append(("Embedded", causes.list_embedded(run, judged, q)))
  facts.append(
    (
      "Fit of the embedding",
      f"stress-1 {made.normalized_stress[q]:.3f} after {made.num_iterations[q]} iterations,"
      f" {'converged' if made.converged[q] else 'not converged'};"
      f" {made.num_known[q]} known pairs",
    )
  )
  facts += [
    (f"Why, {protocol}", causes.explain(run, judged, q, protocol)) for protocol in causes.EXPLAINED
  ]
  if fallen := reasons.summarize_query(own_ties):
    facts.append(("What falls in the embedding", fallen))
  return facts


def _query_figures(run: Run, judged: Judged, ties: Sequence[QueryTies]) -> list[dict[str, Any]]:
  """Returns the figures of every query as JSON."""
  made = run.diagnostics
  return [
    {
      "name": name,
      "average_precision": {
        protocol: {stage: figure(values[q]) for stage, values in own.items()}
        for protocol, own in judged.precisions.items()
      },
      "ranks_of_positives": {stage: rows[q].tolist() for stage, rows in judged.places.items()},
      "num_reached": int(judged.num_reached[q]),
      "num_known": int(made.num_known[q]),
      "normalized_stress": float(made.normalized_stress[q]),
      "num_iterations": int(made.num_iterations[q]),
      "converged": bool(made.converged[q]),
      "embedded_positives": [
        {
          "name": run.dataset.ground_truth.imlist[own.image],
          "fall": own.fall,
          "reasons": reasons.list_reasons(ties[q], own),
        }
        for own in ties[q].positives
      ],
    }
    for q, name in enumerate(run.dataset.ground_truth.qimlist)
  ]

"""What the main job found on a data set, and figures of every query."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.data.dataset import Dataset
from l2g_jax.evaluation import PROTOCOLS, ProtocolReport, evaluate
from l2g_jax.pipeline.l2g import Diagnostics
from l2g_jax.ranked import Ranked
from l2g_jax.report.queries import KeyPoints, Stage

METHOD = "l2g"
# The stage of L2G with w = 1.
EMBEDDING = "embedding"


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
    strengths: called with the number of a query: how strongly its k candidates are known to be
      alike, `[k + 1, k + 1]` of `pipeline.known`.
    key_points: for lines between matches; None = none are drawn.
  """

  dataset: Dataset
  figures: Mapping[str, Any]
  stages: Sequence[Stage]
  search: str
  candidates: Ranked
  diagnostics: Diagnostics
  strengths: Callable[[int], np.ndarray]
  key_points: KeyPoints | None

  def ranking(self, name: str, q: int) -> np.ndarray:
    """Returns the ids `[N]` of a stage for a query, best first."""
    return next(stage.rankings[q] for stage in self.stages if stage.name == name)

  def ranks(self, name: str, q: int) -> np.ndarray:
    """Returns the ranks `[N]` of all images in a stage for a query, from 1."""
    ranking = self.ranking(name, q)
    ranks = np.empty(len(ranking), int)
    ranks[ranking] = np.arange(1, len(ranking) + 1)
    return ranks


@dataclasses.dataclass(frozen=True)
class Judged:
  """Figures of every query, in percent and NaN without positives.

  Attributes:
    reports: by stage and protocol, as `evaluate` returns them, in [0, 1].
    precisions: by protocol and stage, AP `[Q]`.
    places: by stage and query, the ranks of the positives, easy and hard, from 1 and with junk.
    num_positives: `[Q]`.
    num_reached: `[Q]`, positives among the candidates.
  """

  reports: Mapping[str, Mapping[str, ProtocolReport]]
  precisions: Mapping[str, Mapping[str, np.ndarray]]
  places: Mapping[str, Sequence[np.ndarray]]
  num_positives: np.ndarray
  num_reached: np.ndarray

  def change(self, protocol: str, search: str) -> np.ndarray:
    """Returns by how many points of AP L2G is above the search, `[Q]`."""
    own = self.precisions[protocol]
    return own[METHOD] - own[search]


def judge(run: Run) -> Judged:
  """Judges every query in every stage."""
  truth = run.dataset.ground_truth
  precisions: dict[str, dict[str, np.ndarray]] = {name: {} for name in PROTOCOLS}
  places, reports = {}, {}
  positives = [np.concatenate([query.easy, query.hard]) for query in truth.queries]
  for stage in run.stages:
    reports[stage.name] = evaluate(stage.rankings, truth)
    for protocol, result in reports[stage.name].items():
      precisions[protocol][stage.name] = 100 * result.average_precisions
    places[stage.name] = [
      np.flatnonzero(np.isin(ranking, wanted)) + 1
      for ranking, wanted in zip(stage.rankings, positives, strict=True)
    ]
  reached = [
    np.isin(wanted, ids).sum() for wanted, ids in zip(positives, run.candidates.ids, strict=True)
  ]
  counts = np.array([len(wanted) for wanted in positives])
  return Judged(reports, precisions, places, counts, np.array(reached))


def ascending(values: np.ndarray) -> list[int]:
  """Returns positions by value, NaN last."""
  return np.argsort(values, kind="stable").tolist()


def figure(value: float) -> float | None:
  """Returns a figure as JSON and tables have it: None for NaN."""
  return None if math.isnan(value) else float(value)

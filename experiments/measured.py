"""Figures of the method at given settings: mAP, seconds, and how the embeddings ended."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.shortlists import Shortlists
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.evaluation import PROTOCOLS, evaluate
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G, L2GResult
from l2g_jax.runtime.stopwatch import Stopwatch

# The stage of the stopwatch.
RERANKING = "embedding and re-ranking"


def rank(
  given: Shortlists, config: L2GConfig, weights: Sequence[float], watch: Stopwatch
) -> list[L2GResult]:
  """Ranks every query by the method, once for each weight w."""
  l2g = L2G(config=config)
  placed = l2g.place(given.lists, given.features.database)
  with watch.measure(RERANKING):
    return l2g.rank(placed, given.candidates, given.features.queries, weights=weights)


def measure(
  given: Shortlists, config: L2GConfig, weights: Sequence[float], watch: Stopwatch
) -> list[dict[str, Any]]:
  """Measures the method at given settings.

  Args:
    given: shortlists with ground truth.
    config: settings of the method.
    weights: W of them, w of the embedding; a query is embedded once for all.
    watch: takes the seconds.

  Returns:
    W JSON objects: `w`; `easy`, `medium` and `hard`, the mAP in percent, None where no query has
    positives; `seconds` a query, without compilation and for all weights together; `iterations`,
    the mean of SMACOF's; `stress`, the mean of the normalised; and `converged`, the percentage of
    queries.
  """
  before = watch.seconds.get(RERANKING, 0.0)
  results = rank(given, config, weights, watch)
  seconds = (watch.seconds[RERANKING] - before) / len(given.candidates.ids)
  rows = []
  for weight, result in zip(weights, results, strict=True):
    ended = result.diagnostics
    rows.append(
      {
        "w": weight,
        **maps(result.rankings, given.truth),
        "seconds": seconds,
        "iterations": float(np.mean(ended.num_iterations)),
        "stress": float(np.mean(ended.normalized_stress)),
        "converged": 100.0 * float(np.mean(ended.converged)),
      }
    )
  return rows


def maps(rankings: np.ndarray, truth: GroundTruth) -> dict[str, float | None]:
  """Returns the mAP of rankings in percent by protocol; None where no query has positives."""
  report = evaluate(rankings, truth)
  values = {name: 100.0 * report[name].map for name in PROTOCOLS}
  return {name: None if math.isnan(value) else value for name, value in values.items()}

"""The report of an experiment: a table for the terminal, and the same as JSON."""

import dataclasses
import math
import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.evaluation import PROTOCOLS, evaluate
from l2g_jax.runtime import files
from l2g_jax.runtime.workers import available_cores
from l2g_jax.version import __version__

_KAPPAS = (1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Method:
  """The rankings of one method.

  Attributes:
    name: of the row, such as `global+rerank`.
    rankings: `[Q, N]`.
    weight: w, where the method has one.
  """

  name: str
  rankings: np.ndarray
  weight: float | None = None


def make_report(
  methods: Sequence[Method],
  ground_truth: GroundTruth,
  *,
  title: str,
  notice: str | None,
  seconds: Mapping[str, float],
  kept: Sequence[str],
  per_query: Sequence[str],
  config: Mapping[str, Any],
) -> dict[str, Any]:
  """Evaluates methods, and gathers the settings and the environment behind their figures.

  Args:
    methods: the rows, in order.
    ground_truth: of the data set.
    title: of the data set.
    notice: a sentence that a reader must not miss; None = none.
    seconds: by stage.
    kept: the stages whose results for all images were read from the work folder.
    per_query: the stages that run for every query.
    config: all settings, as JSON.

  Returns:
    A JSON object; figures in percent, null where no query has positives.
  """
  num_queries = len(ground_truth.queries)
  return {
    "dataset": {
      "name": title,
      "images": len(ground_truth.imlist),
      "queries": num_queries,
      "notice": notice,
    },
    "rows": [evaluate_method(method, ground_truth) for method in methods],
    "units": "percent",
    "seconds": dict(seconds),
    "kept": list(kept),
    "seconds_per_query": {
      stage: seconds[stage] / num_queries for stage in per_query if stage in seconds
    },
    "config": dict(config),
    "environment": describe_environment(),
  }


def describe_environment() -> dict[str, Any]:
  """Returns what figures depend on besides their settings, as JSON: device, cores, versions."""
  return {
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
    "platform": jax.default_backend(),
    "cores": available_cores(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "numpy": np.__version__,
    "l2g_jax": __version__,
  }


def print_report(report: Mapping[str, Any]) -> None:
  """Prints a report as a table of at most 120 columns, which rich would fold in a log of 80."""
  dataset, environment, config = report["dataset"], report["environment"], report["config"]
  print(f"\n{dataset['name']}: {dataset['images']} images, {dataset['queries']} queries")
  if dataset["notice"]:
    print(dataset["notice"])
  print(
    f"Features: local {config['local']}, global {config['global_features']};"
    f" queries cropped: {config['crop_policy']}; k = {config['k']}"
  )
  print(
    f"Device: {environment['device']} ({environment['platform']}), {environment['cores']} cores,"
    f" JAX {environment['jax']}\n"
  )
  columns = ["mAP", *(f"mP@{k}" for k in _KAPPAS)]
  print(f"{'':22}" + "".join(f"{name.capitalize():>9}{'':19}" for name in PROTOCOLS).rstrip())
  print(f"{'method':22}" + "".join(f"{column:>7}" for column in columns * len(PROTOCOLS)))
  for row in report["rows"]:
    name = row["name"] + (f" (w={row['w']:g})" if "w" in row else "")
    figures = [
      row[protocol][key] for protocol in PROTOCOLS for key in ("map", *(f"mp{k}" for k in _KAPPAS))
    ]
    print(f"{name:22}" + "".join("      -" if x is None else f"{x:7.2f}" for x in figures))
  print()
  print(_list_seconds("Seconds, once:    ", report, once=True))
  print(_list_seconds("Seconds, a query: ", report, once=False))


def write_report(path: os.PathLike | str, report: Mapping[str, Any]) -> None:
  """Writes a report as JSON, whole or not at all."""
  files.write_json(path, report)


def evaluate_method(method: Method, ground_truth: GroundTruth) -> dict[str, Any]:
  """Returns the row of a method as JSON: name, w, and by protocol mAP and mP@k in percent."""
  row: dict[str, Any] = {"name": method.name}
  if method.weight is not None:
    row["w"] = method.weight
  for protocol, result in evaluate(method.rankings, ground_truth, _KAPPAS).items():
    precisions = {f"mp{k}": _percent(value) for k, value in result.mean_precision.items()}
    row[protocol] = {"map": _percent(result.map), **precisions}
  return row


def _percent(fraction: float) -> float | None:
  return None if math.isnan(fraction) else 100.0 * fraction


def _list_seconds(head: str, report: Mapping[str, Any], *, once: bool) -> str:
  a_query = report["seconds_per_query"]
  chosen = {s: v for s, v in report["seconds"].items() if s not in a_query} if once else a_query
  digits = 1 if once else 3
  text = ", ".join(f"{stage} {value:.{digits}f}" for stage, value in chosen.items())
  return textwrap.fill(head + text, 110, subsequent_indent=" " * len(head))

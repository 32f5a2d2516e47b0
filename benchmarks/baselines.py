"""mAP of the baselines over their settings, on data sets: how `experiments.compare` chose its own.

  python -m benchmarks.baselines --sets=DATA/paris_dev,mini [--systems=asmk] [--output=REPORT]

It takes the flags of `experiments.roxf` for features and the search. A row is one setting of one
baseline, with the medium and hard mAP on each set; `mean` is over sets and both protocols, and the
best row of each baseline is marked. L2G stands below with its defaults, which are the same for all.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from benchmarks import common
from benchmarks.common import Ceilings, Row
from experiments.comparison import baselines, local_systems
from experiments.comparison.system import System
from experiments.material import Material
from experiments.sets import define_sets, open_set
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Group, Values
from l2g_jax.evaluation import evaluate as evaluate_rankings
from l2g_jax.ranking.asmk import AsmkConfig
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.similarities import spatial_similarity
from l2g_jax.runtime.stopwatch import Stopwatch


def _define(values: flags.FlagValues) -> None:
  define_sets(values)
  flags.DEFINE_list(
    "systems", None, "Beginnings of the names of baselines; omitted: all.", flag_values=values
  )


def variants() -> Iterator[System]:
  """Yields every baseline at every setting of the sweep, and L2G."""
  yield baselines.by_global()
  for settings in _grid(num_neighbors=(5, 9), beta=(0.15, 0.5), num_reranked=(400,)):
    yield baselines.global_rerank(**settings)
  yield baselines.chamfer()
  sources: Sequence[baselines.Source] = ("global", "chamfer")
  for source, augmented in itertools.product(sources, (False, True)):
    for settings in _grid(num_neighbors=(1, 3, 5, 10), alpha=(0.5, 1.0, 3.0)):
      yield baselines.expanded(source, augmented=augmented, **settings)
  for source in sources:
    grid = _grid(
      num_neighbors=(10, 50), num_query_neighbors=(5, 10), gamma=(1.0, 3.0), alpha=(0.8, 0.9, 0.99)
    )
    for settings in grid:
      yield baselines.diffused(source, **settings)
    for settings in _grid(k1=(5, 10, 20), k2=(3, 6), weight=(0.3, 0.7)):
      yield baselines.reciprocated(source, **settings)
  for least in (6, 8, 12):
    yield local_systems.verified(spatial_similarity(), min_inliers=least)
  for binary, words in itertools.product((True, False), (1024, 4096)):
    for settings in _grid(multiple_assignment=(1, 5), use_idf=(False, True), alpha=(3.0, 5.0)):
      config = AsmkConfig(binary=binary, **settings)
      yield local_systems.asmk_by(AsmkSearch(config, num_words=words))
  yield local_systems.l2g()


def sweep(materials: Sequence[Material], systems: Sequence[System]) -> list[Row]:
  """Measures systems on sets.

  Args:
    materials: of the sets.
    systems: settings of baselines.

  Returns:
    A row a system; `best` marks the best setting of each baseline by the mean.
  """
  rows: list[Row] = []
  for system in systems:
    row: Row = {"system": system.name, "settings": json.dumps(dict(system.settings))}
    figures = []
    for given in materials:
      outcome = system.run(given, Stopwatch())
      report = evaluate_rankings(outcome.rankings, given.dataset.ground_truth)
      for protocol in ("medium", "hard"):
        figures.append(100.0 * report[protocol].map)
        row[f"{given.dataset.name} {protocol}"] = figures[-1]
    row["mean"] = sum(figures) / len(figures)
    rows.append(row)
    print(row, flush=True)
  mark_best(rows)
  return rows


def mark_best(rows: Sequence[Row]) -> None:
  """Marks the row of each baseline that has the best mean, the first of several."""
  for name in dict.fromkeys(row["system"] for row in rows):
    best = max((row for row in rows if row["system"] == name), key=lambda row: row["mean"])
    best["best"] = "best"


def _grid(**choices: Sequence[Any]) -> Iterator[dict[str, Any]]:
  """Yields every combination of settings."""
  for values in itertools.product(*choices.values()):
    yield dict(zip(choices, values, strict=True))


def main(values: Values, _: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and sweeps."""
  materials, local = [], values.local
  for name in values.sets:
    dataset = open_set(values, name, local)
    materials.append(Material(dataset, evaluate.open_retriever(values, dataset)))
  systems = [
    system
    for system in variants()
    if values.systems is None or system.name.startswith(tuple(values.systems))
  ]
  return {"Baselines": sweep(materials, systems)}


BENCHMARK = common.Benchmark(main, [Group("Sweep", _define), *evaluate.GROUPS])

if __name__ == "__main__":
  common.run("baselines", __doc__, BENCHMARK)

"""mAP over what is known of the images and the weight, beside the defaults, on data sets.

  python -m benchmarks.defaults --sets=DATA/paris_dev,DATA/dvd_dev [--every=1] [--output=REPORT]

Every set is a folder in the revisited layout; `mini` is the built-in one. It takes the flags of
`experiments.roxf` for features and the search. A row of the first table is a set at the defaults:
the medium and hard mAP of L2G and how far they are from the better parent and from the best fixed
settings of the sweep, which know the labels. Below it, each set has its own sweep.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from benchmarks import common
from benchmarks.common import Ceilings, Row
from experiments.sets import check_sets, define_sets, open_set
from experiments.shortlists import Shortlists, shortlists_of
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Group, Values
from l2g_jax.embedding.dissimilarity import Measure
from l2g_jax.evaluation import evaluate as evaluate_rankings
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import complete_rankings
from l2g_jax.ranking.global_search import rank_by_global, rerank_by_global

Known = tuple[Measure, float, int, int]

_PROTOCOLS = ("medium", "hard")
# What s of a known pair is with its power, how many of the query and of a candidate are known.
_KNOWN: Sequence[Known] = (
  *(("contrast", 0.6, *known) for known in ((3, 30), (3, 50), (5, 50))),
  *(
    ("similarity", 0.3, *known)
    for known in ((3, 5), (3, 15), (3, 30), (3, 40), (5, 40), (15, 15), (15, 40))
  ),
)
_WEIGHTS = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3, 0.19)


def _define(values: flags.FlagValues) -> None:
  define_sets(values)
  flags.DEFINE_integer(
    "every", 1, "Takes every so manyth query of a set, to save time.", 1, flag_values=values
  )


def sweep(
  given: Shortlists,
  config: L2GConfig,
  weight: float,
  *,
  known: Sequence[Known] = _KNOWN,
  weights: Sequence[float] = _WEIGHTS,
) -> tuple[Row, list[Row]]:
  """Measures a set at the given settings and over the sweep.

  Args:
    given: shortlists with ground truth.
    config: settings of the method.
    weight: w of the embedding.
    known: of the sweep, what s of a known pair is and its power; and how many pairs of the query
      and of a candidate are known.
    weights: of the sweep.

  Returns:
    The row at the settings, with the differences, and the rows of the parents and of the sweep.
  """
  truth = given.ground_truth
  assert truth is not None
  by_global = rank_by_global(given.features)
  parents = {
    "global": by_global,
    "global+rerank": rerank_by_global(given.features, by_global),
    "chamfer": complete_rankings(given.candidates.ids, None, len(truth.imlist)),
  }
  rows: list[Row] = [{"ranking": name, **maps(given, ranks)} for name, ranks in parents.items()]
  best_parent = {protocol: max(row[protocol] for row in rows) for protocol in _PROTOCOLS}
  (default,) = _l2g(given, config, [weight])
  for measure, power, num_query_known, num_known in known:
    varied = dataclasses.replace(
      config,
      measure=measure,
      power=power,
      num_known=num_known,
      num_query_known=num_query_known,
    )
    for value, figures in zip(weights, _l2g(given, varied, weights), strict=True):
      name = f"l2g, {measure}, query {num_query_known}, t = {num_known}, w = {value:g}"
      rows.append({"ranking": name, **figures})
  summary: Row = {"w": weight}
  for protocol in _PROTOCOLS:
    swept = max(row[protocol] for row in rows[len(parents) :])
    summary |= {
      protocol: default[protocol],
      f"{protocol} - parent": default[protocol] - best_parent[protocol],
      f"{protocol} - best": default[protocol] - swept,
    }
  return summary, rows


def _l2g(given: Shortlists, config: L2GConfig, weights: Sequence[float]) -> Iterator[Row]:
  """Returns the figures of L2G for every weight."""
  l2g = L2G(config=config)
  placed = l2g.place(given.lists, given.features.database)
  results = l2g.rank(placed, given.candidates, given.features.queries, weights=weights)
  return (maps(given, result.rankings) for result in results)


def maps(given: Shortlists, rankings: np.ndarray) -> Row:
  """Returns the medium and hard mAP of rankings, in percent."""
  assert given.ground_truth is not None
  report = evaluate_rankings(rankings, given.ground_truth)
  return {protocol: 100.0 * report[protocol].map for protocol in _PROTOCOLS}


def main(values: Values, _: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and sweeps every set."""
  check_sets(values)
  summaries, tables, local = [], {}, values.local
  for name in values.sets:
    dataset = open_set(values, name, local)
    retriever = evaluate.open_retriever(values, dataset)
    given = shortlists_of(dataset, retriever, every=values.every)
    summary, rows = sweep(given, retriever.config, retriever.weight)
    summaries.append({"set": dataset.name, **summary})
    tables[f"{dataset.name}, {len(given.candidates.ids)} queries"] = rows
  return {"The defaults": summaries, **tables}


BENCHMARK = common.Benchmark(main, [Group("Sweep", _define), *evaluate.GROUPS])

if __name__ == "__main__":
  common.run("defaults", __doc__, BENCHMARK)

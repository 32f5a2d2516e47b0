"""mAP of the readings of the paper's recipe, where its settings are ambiguous, on data sets.

  python -m benchmarks.readings --sets=DATA/paris_dev,mini [--output=REPORT]

All else is as `--preset=paper` of `experiments.roxf` says. A row is one reading of the three
settings that others read differently: whether w = 0.19 weighs the embedding or the global feature,
whether p = 0.01 is the power of D = 1 - s^p or the shape of CANN's kernel, and whether more
candidates are re-ranked than are embedded. It takes the flags of `experiments.roxf` for features.
"""

import dataclasses
from collections.abc import Sequence

from absl import flags

from benchmarks import common
from benchmarks.common import Ceilings, Row
from benchmarks.defaults import maps
from experiments.sets import define_sets, open_set
from experiments.shortlists import Shortlists, shortlists_of
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.method_flags import PAPER_FLAGS
from l2g_jax.pipeline.config import PAPER, L2GConfig
from l2g_jax.pipeline.l2g import L2G, PAPER_WEIGHT
from l2g_jax.ranked import complete_rankings
from l2g_jax.similarity.kernels import Cann

# Where p stands: the kernel of the search and the power of D.
_READINGS = {
  "D = 1 - s^0.01": ("chamfer", PAPER.power),
  "kernel of shape 0.01": (str(Cann(p=PAPER.power)), 1.0),
}
_WEIGHTS = (PAPER_WEIGHT, 1.0 - PAPER_WEIGHT)


def _define(values: flags.FlagValues) -> None:
  define_sets(values)


def reading_rows(given: Shortlists, k: int, reading: str, power: float) -> list[Row]:
  """Measures one reading of p at both weights, with M = k and with the recipe's M.

  Args:
    given: shortlists by the kernel of the reading, with ground truth.
    k: candidates to embed.
    reading: its name in the table.
    power: of D.
  """
  assert given.ground_truth is not None
  order = complete_rankings(given.candidates.ids, None, len(given.ground_truth.imlist))
  rows: list[Row] = [{"reading": f"{reading}: search alone", **maps(given, order)}]
  for num_reranked in (k, PAPER.num_reranked):
    config: L2GConfig = dataclasses.replace(
      PAPER, power=power, num_embedded=k, num_reranked=num_reranked
    )
    l2g = L2G(config=config)
    placed = l2g.place(given.lists, given.features.database)
    results = l2g.rank(placed, given.candidates, given.features.queries, weights=_WEIGHTS)
    for weight, result in zip(_WEIGHTS, results, strict=True):
      name = f"{reading}, w = {weight:g}, M = {num_reranked}"
      rows.append({"reading": name, "w": weight, "M": num_reranked, **maps(given, result.rankings)})
  return rows


def main(values: Values, _: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and measures every set."""
  tables, local = {}, values.local
  for name in values.sets:
    dataset = open_set(values, name, local)
    rows = []
    for reading, (kernel, power) in _READINGS.items():
      for flag, value in {**PAPER_FLAGS, "kernel": kernel}.items():
        values[flag].value = value
      given = shortlists_of(dataset, evaluate.open_retriever(values, dataset))
      rows += reading_rows(given, values.k, reading, power)
    tables[dataset.name] = rows
  return tables


BENCHMARK = common.Benchmark(main, [Group("Sets", _define), *evaluate.GROUPS])

if __name__ == "__main__":
  common.run("readings", __doc__, BENCHMARK)

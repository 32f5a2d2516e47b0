"""mAP and time over the tolerance at which the embedding stops, on a data set's queries.

  python -m benchmarks.tolerance [--k=700] [--starts=2] [--output=tolerance.json]

It takes the flags of `experiments.roxf`; without any it runs on `mini`, and makes its features,
index and lists where they are missing. The last row is the plain method at convergence, which takes
ten minutes a start on two cores at k = 700; --noplain leaves it out. Rows are means over starts,
since embeddings of equal stress rank a little differently; the spread shows how much.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from absl import flags

from benchmarks import common, shortlists
from benchmarks.common import Ceilings, Row
from experiments.shortlists import Shortlists
from l2g_jax import evaluation
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.feature_flags import read_features
from l2g_jax.cli.method_flags import read_method_config
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "starts", 1, "Number of the embedding's starts to average over.", 1, flag_values=values
  )
  flags.DEFINE_bool(
    "plain", True, "Whether to run the plain method to convergence too.", flag_values=values
  )


_TOLERANCES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
_PROTOCOLS = ("easy", "medium", "hard")


def tolerance_rows(
  given: Shortlists,
  config: L2GConfig,
  weight: float,
  *,
  tolerances: Sequence[float] = _TOLERANCES,
  starts: int = 1,
  plain: bool = True,
) -> list[Row]:
  """Measures mAP and time over tolerance.

  Args:
    given: shortlists with ground truth.
    config: settings of the method; tolerance and the limit of iterations are varied.
    weight: w of the embedding.
    tolerances: of the rows.
    starts: the number of seeds to average over.
    plain: whether to add the plain method at convergence as the last row; all rows then have the
      difference of their mAP from it.
  """
  variants = {"as configured": config}
  for rtol in tolerances:
    name = f"{config.method}, rtol {rtol:g}"
    variants[name] = dataclasses.replace(config, max_iterations=1000, rtol=rtol)
  if plain:
    variants["guttman, rtol 1e-05"] = dataclasses.replace(
      config, method="guttman", max_iterations=5000, rtol=1e-5
    )
  rows = [
    {"embedding": name, **_measure(given, variants[name], weight, starts)} for name in variants
  ]
  if plain:
    for row in rows:
      for protocol in _PROTOCOLS:
        row[f"{protocol} - plain"] = row[protocol] - rows[-1][protocol]
  return rows


def _measure(given: Shortlists, config: L2GConfig, weight: float, starts: int) -> Row:
  """Runs one variant from every start."""
  assert given.ground_truth is not None
  seconds, iterations, stresses, scores = [], [], [], []
  for seed in range(starts):
    l2g = L2G(weight=weight, config=dataclasses.replace(config, seed=seed))
    rank = functools.partial(l2g, given.candidates, given.lists, given.features)
    if config.method != "guttman":
      # Compile beforehand; the plain method takes so long that compilation makes no difference.
      rank()
    result, elapsed = common.timed(rank)
    seconds.append(elapsed)
    iterations.append(result.diagnostics.num_iterations.mean())
    stresses.append(result.diagnostics.normalized_stress.mean())
    report = evaluation.evaluate(result.rankings, given.ground_truth)
    scores.append([100.0 * report[protocol].map for protocol in _PROTOCOLS])
  row: Row = {
    "seconds a query": float(np.mean(seconds)) / len(given.candidates.ids),
    "iterations": float(np.mean(iterations)),
    "normalized stress": float(np.mean(stresses)),
    **dict(zip(_PROTOCOLS, np.mean(scores, axis=0).tolist(), strict=True)),
  }
  if starts > 1:
    row["medium, spread"] = float(np.ptp([medium for _, medium, _ in scores]))
  return row


def main(values: Values, _: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  weight = read_features(values).default_weight if values.w is None else values.w
  rows = tolerance_rows(
    shortlists.shortlists_of_queries(values),
    read_method_config(values),
    weight,
    starts=values.starts,
    plain=values.plain,
  )
  return {f"mAP and time over tolerance, w = {weight:g}": rows}


BENCHMARK = common.Benchmark(main, [Group("Tolerance", _define), *evaluate.GROUPS])

if __name__ == "__main__":
  common.run("tolerance", __doc__, BENCHMARK)

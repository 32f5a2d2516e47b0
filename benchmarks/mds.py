"""SMACOF beside scikit-learn and PyTorch, on one shortlist and on a batch.

  python -m benchmarks.mds [--from_dataset --data_root=... --dataset=...] [--output=mds.json]

It reports the time, start included, until the stress is below that of scikit-learn's 300
iterations; the fastest method for each stress; and a batch against a loop. With --from_dataset it
also measures the shortlists of a data set's queries, with the flags of `experiments.roxf`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import manifold

from benchmarks import common, shortlists
from benchmarks.common import Ceilings, Row
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Values
from l2g_jax.embedding import mds

METHODS: tuple[mds.Method, ...] = ("quasi_newton", "momentum", "lbfgs", "guttman")
_STEPS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300)
# Multiples of the least stress that any method reaches in these steps.
_MARGINS = (2.0, 1.5, 1.2, 1.1, 1.05, 1.02, 1.01, 1.005)
_BATCH = 8


def stress_of(points: np.ndarray, delta: np.ndarray) -> float:
  """Returns the sum over i < j of (d - delta)^2 in double precision."""
  points, delta = np.asarray(points, np.float64), np.asarray(delta, np.float64)
  squares = np.sum(points**2, axis=1)
  squared = np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0)
  np.fill_diagonal(squared, 0.0)
  return float(np.sum((np.sqrt(squared) - delta) ** 2) / 2.0)


def count_work(size: int, num_dimensions: int, num_iterations: int) -> tuple[float, float]:
  """Returns the operations and bytes of a solution from a classical start.

  The start takes seven products of n^2 r and one of n^2 m, twelve Cholesky passes of 3 n r^2, and
  about ten steps for the sign of a matrix. An iteration takes two products of n^2 m, about 8
  operations an entry, and ten passes over n^2 numbers.
  """
  rank = min(size, max(num_dimensions, 32))
  start = 2.0 * size**2 * (7 * rank + num_dimensions) + (12 * 3 + 4) * size * rank**2
  start += 10 * 4.0 * rank**3
  flops = start + (num_iterations + 1) * (4.0 * size**2 * num_dimensions + 8.0 * size**2)
  passes = 20 + 10 * (num_iterations + 1)
  return flops, 4.0 * passes * size**2


def peers_rows(
  delta: np.ndarray, num_dimensions: int, repeats: int, ceilings: Ceilings
) -> list[Row]:
  """Compares one problem with peers; ratios are to scikit-learn's seconds."""
  size = len(delta)
  (points, _, iterations), peer_seconds = common.timed(
    lambda: manifold.smacof(
      delta.astype(np.float64),
      n_components=num_dimensions,
      n_init=1,
      max_iter=300,
      random_state=0,
      return_n_iter=True,
    )
  )
  target = stress_of(points, delta)
  rows: list[Row] = [
    {
      "method": "sklearn smacof",
      "seconds": peer_seconds,
      "stress": target,
      "iterations": iterations,
    }
  ]
  classical = manifold.ClassicalMDS(n_components=num_dimensions, metric="precomputed")
  with np.errstate(invalid="ignore"):
    points, seconds = common.timed(lambda: classical.fit_transform(delta.astype(np.float64)))
  kept = points[:, np.all(np.isfinite(points), axis=0)]
  rows.append(
    {
      "method": f"sklearn ClassicalMDS, {num_dimensions - kept.shape[1]} columns NaN",
      "seconds": seconds,
      "stress": stress_of(kept, delta),
    }
  )
  if common.has_torch():
    from benchmarks import torch_peers

    start = np.random.default_rng(0).standard_normal((size, num_dimensions)).astype(np.float32)
    points, seconds = common.timed(lambda: torch_peers.smacof(delta, start, 300))
    rows.append(
      {
        "method": "torch, 300 transforms",
        "seconds": seconds,
        "stress": stress_of(points, delta),
        "iterations": 300,
      }
    )
  device_delta = jnp.asarray(delta)
  for method in METHODS:
    stresses = stress_by_steps(device_delta, num_dimensions, method)
    enough = next((steps for steps, stress in stresses.items() if stress <= target), None)
    if enough is None:
      rows.append({"method": f"{method}, not below in {_STEPS[-1]}"})
      continue
    solve = solver(device_delta, num_dimensions, method, enough)
    seconds = common.median_seconds(solve, repeats)
    rows.append(
      {
        "method": f"{method}, until below",
        "seconds": seconds,
        "stress": stress_of(np.asarray(solve().embedding), delta),
        "iterations": enough,
        **common.fractions(ceilings, seconds, *count_work(size, num_dimensions, enough)),
      }
    )
  for row in rows:
    if "seconds" in row:
      row["ratio"] = row["seconds"] / peer_seconds
  return rows


def solver(
  delta: jax.Array, num_dimensions: int, method: mds.Method, num_iterations: int
) -> Callable[[], mds.SmacofResult]:
  """Returns a function that solves from the classical start, in exactly so many iterations."""
  return functools.partial(
    mds.smacof,
    delta,
    num_dimensions=num_dimensions,
    method=method,
    max_iterations=num_iterations,
    rtol=0.0,
  )


def stress_by_steps(delta: jax.Array, num_dimensions: int, method: mds.Method) -> dict[int, float]:
  """Returns the stress after each number of iterations, from the classical start."""
  return {steps: float(solver(delta, num_dimensions, method, steps)().stress) for steps in _STEPS}


def methods_rows(delta: np.ndarray, num_dimensions: int, repeats: int) -> list[Row]:
  """Times each method until it is below a stress, start included, and names the fastest."""
  device_delta = jnp.asarray(delta)
  stresses = {method: stress_by_steps(device_delta, num_dimensions, method) for method in METHODS}
  least = min(min(by_steps.values()) for by_steps in stresses.values())

  @functools.cache
  def seconds(method: mds.Method, steps: int) -> float:
    return common.median_seconds(solver(device_delta, num_dimensions, method, steps), repeats)

  rows = []
  for margin in _MARGINS:
    row: Row = {"stress / least": margin}
    times = {}
    for method, by_steps in stresses.items():
      enough = next(
        (steps for steps, reached in by_steps.items() if reached <= margin * least), None
      )
      row[f"{method} iterations"] = enough
      if enough is not None:
        times[method] = row[f"{method} ms"] = 1e3 * seconds(method, enough)
    row["first"] = min(times, key=times.__getitem__)
    rows.append(row)
  return rows


def batch_rows(deltas: np.ndarray, num_dimensions: int, repeats: int) -> list[Row]:
  """Times a batch in one call, and the same problems in a call each."""
  solve = functools.partial(mds.smacof, num_dimensions=num_dimensions, max_iterations=40)
  problems = [jnp.asarray(delta) for delta in deltas]
  batch = jnp.asarray(deltas)
  loop = common.median_seconds(lambda: [solve(problem) for problem in problems], repeats)
  together = common.median_seconds(lambda: solve(batch), repeats)
  return [
    {"call": f"loop over {len(deltas)}", "seconds a problem": loop / len(deltas), "ratio": 1.0},
    {
      "call": f"batch of {len(deltas)}",
      "seconds a problem": together / len(deltas),
      "ratio": together / loop,
    },
  ]


def compare(
  problems: Mapping[str, np.ndarray], num_dimensions: int, repeats: int, ceilings: Ceilings
) -> dict[str, Sequence[Row]]:
  """Runs every comparison.

  Args:
    problems: dissimilarities `[B, n, n]` by name.
    num_dimensions: m.
    repeats: of every timing.
    ceilings: of this machine.

  Returns:
    Rows by title.
  """
  tables: dict[str, Sequence[Row]] = {}
  for name, deltas in problems.items():
    size = f"{name}, n = {deltas.shape[-1]}, m = {num_dimensions}"
    tables[f"SMACOF and peers: {size}"] = peers_rows(deltas[0], num_dimensions, repeats, ceilings)
    tables[f"Methods, until the stress is near the least: {size}"] = methods_rows(
      deltas[0], num_dimensions, repeats
    )
    tables[f"Batches: {size}"] = batch_rows(deltas, num_dimensions, repeats)
  return tables


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  size, dimensions = (40, 8) if values.quick else (701, 128)
  batch = 70 if jax.default_backend() != "cpu" else _BATCH
  clusters = 4 if values.quick else 60
  problems = {
    "clusters": np.stack(
      [common.clustered_dissimilarities(seed, size, clusters) for seed in range(batch)]
    )
  }
  if values.from_dataset:
    problems["queries"] = shortlists.dissimilarities_of_queries(values, batch)
  return compare(problems, dimensions, values.repeats, ceilings)


BENCHMARK = common.Benchmark(main, evaluate.GROUPS)

if __name__ == "__main__":
  common.run("mds", __doc__, BENCHMARK)

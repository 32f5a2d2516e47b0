"""SMACOF beside scikit-learn and PyTorch, on one shortlist and on a batch of them.

  python -m benchmarks.mds [--from_dataset --data_root=... --dataset=...] [--output=mds.json]

Time until the stress is below that of scikit-learn's 300 iterations, start included; how far each
method gets in how many iterations; a batch against a loop. With --from_dataset also on the
shortlists of a data set's queries, by the flags of `experiments.roxf`.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import manifold

from benchmarks import common, shortlists
from benchmarks.common import Ceilings, Row
from l2g_jax import mds

FLAGS = common.FLAGS

_STEPS = (0, 1, 2, 5, 10, 15, 20, 30, 40, 60, 100, 200, 300)
_LENGTHS = (5, 10, 20, 40, 100, 300)
_BATCH = 8


def stress_of(points: np.ndarray, delta: np.ndarray) -> float:
  """Returns sum over i < j of (d - delta)^2 in double precision."""
  points, delta = np.asarray(points, np.float64), np.asarray(delta, np.float64)
  squares = np.sum(points**2, axis=1)
  squared = np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0)
  np.fill_diagonal(squared, 0.0)
  return float(np.sum((np.sqrt(squared) - delta) ** 2) / 2.0)


def count_work(size: int, num_dimensions: int, num_iterations: int) -> tuple[float, float]:
  """Returns operations and bytes of a solution from a classical start.

  An iteration: two products of n^2 m, about 8 operations an entry, and ten passes over n^2 numbers.
  """
  rank = min(size, num_dimensions + 16)
  start = 4 * 2.0 * size**2 * rank + 3 * 4.0 * size * rank**2 + 9.0 * rank**3
  flops = start + (num_iterations + 1) * (4.0 * size**2 * num_dimensions + 8.0 * size**2)
  passes = 14 + 10 * (num_iterations + 1)
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
  for method in ("momentum", "lbfgs", "guttman"):
    solve = functools.partial(
      mds.smacof, device_delta, num_dimensions=num_dimensions, method=method, rtol=0.0
    )
    enough = next(
      (steps for steps in _STEPS if float(solve(max_iterations=steps).stress) <= target), None
    )
    if enough is None:
      rows.append({"method": f"{method}, not below in {_STEPS[-1]}"})
      continue
    seconds = common.median_seconds(functools.partial(solve, max_iterations=enough), repeats)
    result = solve(max_iterations=enough)
    rows.append(
      {
        "method": f"{method}, until below",
        "seconds": seconds,
        "stress": stress_of(np.asarray(result.embedding), delta),
        "iterations": enough,
        **common.fractions(ceilings, seconds, *count_work(size, num_dimensions, enough)),
      }
    )
  for row in rows:
    if "seconds" in row:
      row["ratio"] = row["seconds"] / peer_seconds
  return rows


def methods_rows(delta: np.ndarray, num_dimensions: int, repeats: int) -> list[Row]:
  """How far each method gets in how many iterations, from the classical start."""
  rows = []
  device_delta = jnp.asarray(delta)
  for method in ("momentum", "lbfgs", "guttman"):
    for length in _LENGTHS:
      solve = functools.partial(
        mds.smacof,
        device_delta,
        num_dimensions=num_dimensions,
        method=method,
        max_iterations=length,
        rtol=0.0,
      )
      rows.append(
        {
          "method": method,
          "iterations": length,
          "seconds": common.median_seconds(solve, repeats),
          "stress": float(solve().stress),
        }
      )
  return rows


def batch_rows(deltas: np.ndarray, num_dimensions: int, repeats: int) -> list[Row]:
  """A batch in one call, and the same problems one call each."""
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
    repeats: of every clock.
    ceilings: of this machine.

  Returns:
    Rows by title.
  """
  tables: dict[str, Sequence[Row]] = {}
  for name, deltas in problems.items():
    what = f"{name}, n = {deltas.shape[-1]}, m = {num_dimensions}"
    tables[f"SMACOF and peers: {what}"] = peers_rows(deltas[0], num_dimensions, repeats, ceilings)
    tables[f"Methods from the classical start: {what}"] = methods_rows(
      deltas[0], num_dimensions, repeats
    )
    tables[f"Batches: {what}"] = batch_rows(deltas, num_dimensions, repeats)
  return tables


def main(ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  size, dimensions = (40, 8) if FLAGS.quick else (701, 128)
  batch = 70 if jax.default_backend() != "cpu" else _BATCH
  clusters = 4 if FLAGS.quick else 60
  problems = {
    "clusters": np.stack(
      [common.clustered_dissimilarities(seed, size, clusters) for seed in range(batch)]
    )
  }
  if FLAGS.from_dataset:
    problems["queries"] = shortlists.dissimilarities_of_queries(batch)
  return compare(problems, dimensions, FLAGS.repeats, ceilings)


if __name__ == "__main__":
  common.run(main)

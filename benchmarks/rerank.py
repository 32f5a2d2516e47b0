"""The re-ranking of shortlists, from known similarities to rankings, and its last step alone.

  python -m benchmarks.rerank [--output=rerank.json]

It times a query at the default settings, over k and over the number of queries, and SuperGlobal's
re-ranking beside NumPy and PyTorch.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, mds, shortlists
from benchmarks.common import Ceilings, Row
from experiments.shortlists import Shortlists
from l2g_jax.cli.command import Values
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.rerank import superglobal_rerank

_WEIGHT = 0.19


def superglobal_in_numpy(
  query: np.ndarray, features: np.ndarray, num_neighbors: int, beta: float
) -> np.ndarray:
  """Scores a shortlist like SuperGlobal's public code, which makes an array `[M, K + 1, D]`."""
  similarities = features @ features.T
  neighbors = np.argsort(-similarities, axis=1, kind="stable")[:, : num_neighbors + 1]
  weights = beta * np.take_along_axis(similarities, neighbors, axis=1)
  weights[:, 0] = 1.0
  refined = np.einsum("mk,mkd->md", weights, features[neighbors])
  refined /= weights.sum(axis=1, keepdims=True)
  first = refined @ query
  expanded = refined[np.argsort(-first, kind="stable")[: num_neighbors + 1]].max(axis=0)
  return (first + refined @ expanded) / 2


def count_work(size: int, dimension: int, config: L2GConfig, iterations: float):
  """Returns operations and bytes per query, of the embedding and of two products to re-rank."""
  flops, num_bytes = mds.count_work(size + 1, config.num_dimensions, round(iterations))
  width = dimension + config.num_dimensions
  return flops + 4.0 * size**2 * width, num_bytes + 4.0 * (6 * size * width + 20 * size**2)


def cut(given: Shortlists, num_queries: int, size: int) -> Shortlists:
  """Returns the first queries, with shortlists and stored lists cut to a length."""
  candidates, lists, features = given.candidates, given.lists, given.features
  return Shortlists(
    Ranked(candidates.ids[:num_queries, :size], candidates.similarities[:num_queries, :size]),
    Ranked(lists.ids[:, :size], lists.similarities[:, :size]),
    GlobalFeatures(features.queries[:num_queries], features.database),
  )


def stage_row(given: Shortlists, config: L2GConfig, repeats: int, ceilings: Ceilings) -> Row:
  """Times the stage on host and device, from shortlists to rankings of a placed collection."""
  num_queries, size = given.candidates.ids.shape
  dimension = given.features.database.shape[1]
  l2g = L2G(weight=_WEIGHT, config=config)
  rank = functools.partial(
    l2g.rank,
    l2g.place(given.lists, given.features.database),
    given.candidates,
    given.features.queries,
  )
  seconds = common.median_seconds(rank, repeats) / num_queries
  iterations = float(rank()[0].diagnostics.num_iterations.mean())
  return {
    "k": size,
    "queries": num_queries,
    "seconds a query": seconds,
    "iterations": iterations,
    **common.fractions(ceilings, seconds, *count_work(size, dimension, config, iterations)),
    "peak GB": common.peak_gigabytes(),
    "device GB": common.peak_device_gigabytes(),
  }


def peers_rows(size: int, dimension: int, repeats: int) -> list[Row]:
  """Times SuperGlobal's re-ranking of one shortlist; ratios are to NumPy."""
  rng = np.random.default_rng(0)
  # A shift keeps similarities above 0: below 0 the public code has negative weights, ours has none.
  features = rng.standard_normal((size + 1, dimension), dtype=np.float32) + np.float32(1.0)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  query, shortlist = features[0], features[1:]
  compiled = jax.jit(superglobal_rerank, static_argnames=("num_neighbors", "beta"))
  arrays = jnp.asarray(query), jnp.asarray(shortlist)
  calls = {
    "numpy": lambda: superglobal_in_numpy(query, shortlist, 9, 0.15),
    "l2g_jax": lambda: compiled(*arrays, num_neighbors=9, beta=0.15),
  }
  if common.has_torch():
    from benchmarks import torch_peers

    calls["torch"] = lambda: torch_peers.superglobal_rerank(query, shortlist, 9, 0.15)
  expected = calls["numpy"]()
  seconds = {name: common.median_seconds(call, repeats) for name, call in calls.items()}
  return [
    {
      "SuperGlobal": name,
      "seconds": seconds[name],
      "ratio": seconds[name] / seconds["numpy"],
      "largest difference": float(np.max(np.abs(np.asarray(call()) - expected))),
    }
    for name, call in calls.items()
  ]


def compare(
  sizes: Sequence[int],
  counts: Sequence[int],
  *,
  size: int,
  dimension: int,
  repeats: int,
  ceilings: Ceilings,
) -> dict[str, Sequence[Row]]:
  """Runs the comparisons on synthetic shortlists.

  Args:
    sizes: the k of a sweep, ascending.
    counts: the numbers of queries of a sweep, ascending.
    size: k of the sweep over queries.
    dimension: D.
    repeats: of every timing.
    ceilings: of this machine.

  Returns:
    Rows by title.
  """
  config = L2GConfig()
  largest = max(*sizes, size)
  num_images = max(2 * largest, 4 * size)
  given = shortlists.synthetic_shortlists(counts[-1], largest, dimension, num_images=num_images)
  measure = functools.partial(stage_row, config=config, repeats=repeats, ceilings=ceilings)
  # Small problems come first, since the peak of memory only grows.
  by_count = [measure(cut(given, count, size)) for count in counts]
  by_size = [measure(cut(given, min(8, counts[-1]), k)) for k in sizes]
  for row, before in zip(by_size[1:], by_size, strict=False):
    growth = np.log(row["seconds a query"] / before["seconds a query"])
    row["exponent of k"] = float(growth / np.log(row["k"] / before["k"]))
  return {
    f"The stage over the number of queries, D = {dimension}": by_count,
    f"The stage over k, D = {dimension}": by_size,
    f"SuperGlobal's re-ranking, M = {size}, K = 9, D = {dimension}": peers_rows(
      size, dimension, repeats
    ),
  }


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  on_cpu = jax.default_backend() == "cpu"
  return compare(
    (20, 40) if values.quick else (100, 200, 400, 700, 1000, 1400, 2000),
    (1, 3) if values.quick else (1, 2, 8) if on_cpu else (1, 2, 4, 8, 16, 35, 70),
    size=30 if values.quick else 700,
    dimension=32 if values.quick else 2048,
    repeats=values.repeats,
    ceilings=ceilings,
  )


BENCHMARK = common.Benchmark(main)

if __name__ == "__main__":
  common.run("rerank", __doc__, BENCHMARK)

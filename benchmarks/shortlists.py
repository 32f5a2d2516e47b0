"""Shortlists to re-rank: synthetic ones of any size, and shortlists of a data set's queries."""

import numpy as np

from experiments.built_in import MINI
from experiments.problems import problem_of
from experiments.shortlists import Shortlists, shortlists_of
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Values
from l2g_jax.cli.method_flags import read_method_config
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures


def synthetic_shortlists(
  num_queries: int, size: int, dimension: int, *, num_images: int, seed: int = 0
) -> Shortlists:
  """Makes queries and images as clustered points, with their nearest images by distance.

  Global features are noisy projections of the points.

  Args:
    num_queries: Q.
    size: k, and the length of the stored lists.
    dimension: D, of the global features.
    num_images: N, at least k + 1.
    seed: of all random numbers.
  """
  rng = np.random.default_rng(seed)
  total = num_queries + num_images
  points = rng.standard_normal((max(2, num_images // 25), 16))[
    rng.integers(0, max(2, num_images // 25), total)
  ].astype(np.float32)
  points += 0.3 * rng.standard_normal(points.shape, dtype=np.float32)
  features = points @ rng.standard_normal((16, dimension), dtype=np.float32)
  features += rng.standard_normal(features.shape, dtype=np.float32)
  database, queries = points[num_queries:], points[:num_queries]
  return Shortlists(
    candidates=_nearest(queries, database, size, skip_self=False),
    lists=_nearest(database, database, size, skip_self=True),
    features=GlobalFeatures(features[:num_queries], features[num_queries:]),
  )


def _nearest(points, database, size: int, *, skip_self: bool) -> Ranked:
  squares = np.sum(database**2, axis=1)
  squared = np.sum(points**2, axis=1)[:, None] + squares[None] - 2.0 * points @ database.T
  if skip_self:
    np.fill_diagonal(squared, np.inf)
  ids = np.argpartition(squared, size - 1, axis=1)[:, :size]
  near = np.take_along_axis(squared, ids, axis=1)
  order = np.argsort(near, axis=1, kind="stable")
  similarities = np.exp(-np.maximum(np.take_along_axis(near, order, axis=1), 0.0) / 16.0)
  ids = np.take_along_axis(ids, order, axis=1).astype(np.int32)
  return Ranked(ids, similarities.astype(np.float32))


def shortlists_of_queries(values: Values) -> Shortlists:
  """Searches for the queries of the data set that the flags of the experiments name."""
  evaluate.settle(values, "roxford5k", MINI)
  dataset = evaluate.open_dataset(values, MINI)
  return shortlists_of(dataset, evaluate.open_retriever(values, dataset))


def dissimilarities_of_queries(values: Values, count: int) -> np.ndarray:
  """Returns the dissimilarities `[count, k + 1, k + 1]` of the data set's first queries."""
  given = shortlists_of_queries(values)
  config = read_method_config(values)
  queries = range(len(given.candidates.ids))[:count]
  return np.stack([problem_of(given, query, config)[1] for query in queries])

"""Shortlists to re-rank: synthetic ones of any size, and shortlists of a data set's queries."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments.built_in import MINI
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Values
from l2g_jax.cli.method_flags import read_method_config
from l2g_jax.data.dataset import Dataset
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.embedding import dissimilarity
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.retriever import Retriever, candidates
from l2g_jax.retriever.collection import describe_queries


@dataclasses.dataclass(frozen=True)
class Shortlists:
  """What `L2G` takes; ground truth where there is one."""

  candidates: Ranked
  lists: Ranked
  features: GlobalFeatures
  ground_truth: GroundTruth | None = None


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


def shortlists_of(dataset: Dataset, retriever: Retriever, *, every: int = 1) -> Shortlists:
  """Searches for every so manyth query of a data set."""
  truth, collection = dataset.ground_truth, retriever.collection
  jobs = evaluate.query_jobs(dataset)
  described = describe_queries(collection, jobs, retriever.watch)
  return Shortlists(
    candidates=candidates.search(
      collection, described.descriptors[::every], retriever.num_searched
    ),
    lists=collection.lists,
    features=GlobalFeatures(described.global_features[::every], collection.global_features),
    ground_truth=dataclasses.replace(
      truth, qimlist=truth.qimlist[::every], queries=truth.queries[::every]
    ),
  )


def dissimilarities_of_queries(values: Values, count: int) -> np.ndarray:
  """Returns the dissimilarities `[count, k + 1, k + 1]` of the data set's first queries."""
  given = shortlists_of_queries(values)
  config = read_method_config(values)
  problems = []
  for ids, similarities in zip(given.candidates.ids, given.candidates.similarities, strict=True):
    near = np.where(ids[:, None] >= 0, given.lists.ids[ids], -1)
    pairs = dissimilarity.known_pairs(
      jnp.asarray(ids),
      jnp.asarray(similarities),
      jnp.asarray(near),
      jnp.asarray(given.lists.similarities[ids]),
      num_images=len(given.lists.ids),
      num_known=config.num_known,
      num_query_known=config.num_query_known,
      query_pairs=config.query_pairs,
      measure=config.measure,
    )
    values, _ = dissimilarity.dissimilarities(pairs, power=config.power)
    problems.append(np.asarray(values))
    if len(problems) == count:
      break
  return np.stack(problems)

"""Small collections for the pipeline, and how two of its results are compared."""

import dataclasses

import numpy as np

from l2g_jax.pipeline import l2g as pipeline
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures

NUM_QUERIES, NUM_IMAGES, SIZE, LENGTH, WIDTH = 3, 14, 8, 6, 8
CONFIG = L2GConfig(num_known=3, num_dimensions=WIDTH, max_iterations=20, rtol=1e-4, num_neighbors=3)
WEIGHTS = (0.0, 0.19, 1.0)


def ranked(similarities, length):
  ids = np.argsort(-similarities, axis=1, kind="stable")[:, :length]
  values = np.take_along_axis(similarities, ids, axis=1)
  return Ranked(np.where(values >= 0.0, ids, -1), np.maximum(values, 0.0).astype(np.float32))


def some_collection(seed, size=SIZE):
  """Images and queries of a few clusters, with noisy similarities and other noisy features."""
  rng = np.random.default_rng(seed)
  places = rng.standard_normal((4, 3))[rng.integers(0, 4, NUM_QUERIES + NUM_IMAGES)]
  places += 0.2 * rng.standard_normal(places.shape)
  similarities = np.exp(-np.sum((places[:, None] - places[None]) ** 2, axis=-1))
  similarities *= rng.uniform(0.5, 1.0, similarities.shape)
  features = places @ rng.standard_normal((3, WIDTH)) + rng.standard_normal((1, WIDTH))
  features = (features + 0.5 * rng.standard_normal(features.shape)).astype(np.float32)
  database = similarities[NUM_QUERIES:, NUM_QUERIES:] - 9.0 * np.eye(NUM_IMAGES)
  queries = similarities[:NUM_QUERIES, NUM_QUERIES:]
  queries = np.pad(queries, ((0, 0), (0, max(0, size - NUM_IMAGES))), constant_values=-1.0)
  return (
    ranked(queries, size),
    ranked(database, LENGTH),
    GlobalFeatures(features[:NUM_QUERIES], features[NUM_QUERIES:]),
  )


def only(arguments, rows):
  """The same collection for some of its queries."""
  candidates, lists, features = arguments
  candidates = Ranked(candidates.ids[rows], candidates.similarities[rows])
  return candidates, lists, GlobalFeatures(features.queries[rows], features.database)


def rank(candidates, lists, features, *, weights=WEIGHTS, config=CONFIG, **settings):
  """Ranks by several weights."""
  l2g = L2G(config=config, **settings)
  placed = l2g.place(lists, features.database)
  return l2g.rank(placed, candidates, features.queries, weights=weights)


def many_queries(seed, num_queries):
  """More queries than devices, some of them alike."""
  arguments = some_collection(seed)
  return only(arguments, np.arange(num_queries) % len(arguments[0].ids))


def check_same(results, others):
  for result, other in zip(results, others, strict=True):
    np.testing.assert_allclose(result.scores, other.scores, atol=5e-4)
    np.testing.assert_array_equal(result.rankings, other.rankings)
    for field in dataclasses.fields(pipeline.Diagnostics):
      many, one = (getattr(each.diagnostics, field.name) for each in (result, other))
      np.testing.assert_allclose(many, one, atol=1e-5)


def scores_of_seeds(mesh):
  """Scores `[seeds, W, queries, k]`."""
  results = [rank(*many_queries(seed, 5), mesh=mesh) for seed in (0, 1, 22)]
  return np.stack([[result.scores for result in weights] for weights in results])

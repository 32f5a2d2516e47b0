"""Problems that tests of several rooms share, and what their answers are by plain loops."""

import contextlib
from collections.abc import Iterator
from typing import get_args

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from l2g_jax.embedding import mds
from l2g_jax.ranked import Ranked

METHODS = get_args(mds.Method)
# Points of a problem of the embedding.
SIZE = 24
# Dimensions of the descriptors of `some_sets`.
WIDTH = 16


def distances_of(points):
  return np.sqrt(np.sum((points[:, None] - points[None]) ** 2, axis=-1))


def stress_of(points, delta, weights=None):
  weights = np.ones_like(delta) if weights is None else weights
  points, delta = np.asarray(points, np.float64), delta.astype(np.float64)
  return np.sum(np.triu(weights * (distances_of(points) - delta) ** 2, 1))


def clustered(seed, size=SIZE):
  """Dissimilarities like those of a shortlist: noisy clusters, no metric."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 5, size)
  delta = np.where(labels[:, None] == labels[None], 0.3, 0.9) + 0.1 * rng.random((size, size))
  delta = (delta + delta.T) / 2
  return np.where(np.eye(size, dtype=bool), 0.0, delta).astype(np.float32)


def some_weights(seed, size=SIZE, known=0.5):
  """Weights of which about half are 0; a ring keeps all points connected."""
  rng = np.random.default_rng(seed)
  weights = np.where(rng.random((size, size)) < known, rng.uniform(0.2, 2.0, (size, size)), 0.0)
  weights = np.triu(weights, 1)
  weights[np.arange(size - 1), np.arange(1, size)] = 1.0
  return (weights + weights.T).astype(np.float32)


def some_start(seed, size=SIZE, num_dimensions=4):
  return np.random.default_rng(seed).standard_normal((size, num_dimensions)).astype(np.float32)


def guttman_by_hand(delta, weights, points, num_iterations):
  """The weighted Guttman transform X <- V^+ B(X) X, dense, in double precision."""
  delta, weights = delta.astype(np.float64), weights * (1.0 - np.eye(len(delta)))
  inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
  for _ in range(num_iterations):
    distances = distances_of(points)
    factors = -weights * delta / np.where(distances > 0.0, distances, np.inf)
    factors -= np.diag(factors.sum(axis=1))
    points = inverse @ factors @ points
  return points


def unit_rows(rng, rows, columns, *, correlated=False):
  """Global features of unit norm."""
  features = rng.standard_normal((rows, columns), dtype=np.float32)
  if correlated:
    features += 1.0  # similarities above 0 keep the sums of weights away from 0
  return features / np.linalg.norm(features, axis=1, keepdims=True)


def rerank_by_hand(query, features, num_neighbors, beta, expansion="max", *, num_mean=0):
  """SuperGlobal's re-ranking by a loop over the rows, in double precision.

  With `max` the first `num_mean` dimensions are expanded by their mean all the same.
  """
  query, features = query.astype(np.float64), features.astype(np.float64)
  count = min(num_neighbors + 1, len(features))
  refined = np.empty_like(features)
  for row, feature in enumerate(features):
    similarities = features @ feature
    similarities[row] = 2.0  # itself comes first
    nearest = np.argsort(-similarities, kind="stable")[:count]
    weights = np.append(1.0, beta * np.maximum(similarities[nearest[1:]], 0.0))
    refined[row] = weights @ features[nearest] / weights.sum()
  first = refined @ query
  best = refined[np.argsort(-first, kind="stable")[:count]]
  num_mean = len(query) if expansion == "mean" else num_mean
  expanded = np.append(best[:, :num_mean].mean(axis=0), best[:, num_mean:].max(axis=0))
  return (first + refined @ expanded) / 2


def some_sets(seed, num_sets, most=12):
  """Sets of 0 to `most` descriptors of any norm; two of the sets are alike."""
  rng = np.random.default_rng(seed)
  counts = rng.integers(1, most + 1, num_sets)
  counts[0] = most
  sets = [
    (rng.uniform(0.1, 9.0) * rng.standard_normal((count, WIDTH))).astype(np.float32)
    for count in counts
  ]
  if num_sets > 4:
    sets[2] = sets[2][:0]
    sets[4] = sets[3]
  return sets


@contextlib.contextmanager
def counted_compilations() -> Iterator[list[str]]:
  """Lists the programs that are compiled meanwhile; one that is read from a cache counts too."""
  events = []

  def listen(event, duration_secs, **kwargs):
    if event == "/jax/core/compile/backend_compile_duration":
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield events
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def equations_of(jaxpr):
  """Yields every equation of a program, those of inner programs among them."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jaxprs_in_params(equation.params):
      yield from equations_of(inner)


def decomposed_sizes(jaxpr):
  """Yields the name and the operand's width of every matrix that a program decomposes."""
  decompositions = {"eig", "eigh", "svd", "qr", "geqrf", "householder_product", "lu", "schur"}
  for equation in equations_of(jaxpr):
    if equation.primitive.name in decompositions:
      yield equation.primitive.name, equation.invars[0].aval.shape[-1]


def some_graph(seed, *, num_queries=5, num_images=40, k=15, length=12):
  """Candidates `[Q, k]` and neighbour lists `[N, L]` of noisy clusters, no two directions alike.

  Similarities are those of local features, 0.3 at most; some lists are shorter than others.
  """
  rng = np.random.default_rng(seed)
  points = rng.integers(0, 6, (num_queries + num_images, 1)) + 0.5 * rng.random((1, 1))
  points = np.concatenate([points, rng.standard_normal((len(points), 2))], axis=1)
  similarities = 0.3 * np.exp(-distances_of(points)) * rng.uniform(0.5, 1.0, (len(points),) * 2)
  np.fill_diagonal(similarities, 0.0)

  def nearest(rows, size):
    ids = np.argsort(-rows, axis=1)[:, :size]
    missing = np.arange(size)[None] >= rng.integers(size // 2, size + 3, (len(rows), 1))
    values = np.where(missing, 0.0, np.take_along_axis(rows, ids, axis=1))
    return Ranked(np.where(missing, -1, ids).astype(np.int32), values.astype(np.float32))

  rows = similarities[:, num_queries:]
  return nearest(rows[:num_queries], k), nearest(rows[num_queries:], length)


def dense(ranked, num_images):
  """The similarities `[rows, N]` that lists hold, in double precision, 0 where they hold none."""
  matrix = np.zeros((len(ranked.ids), num_images))
  for row, (ids, values) in enumerate(zip(*ranked, strict=True)):
    matrix[row, ids[ids >= 0]] = values[ids >= 0]
  return matrix


def renumbered(ranked, numbers, *, rows=None):
  """Lists whose images have other numbers, and whose rows may stand in another order."""
  ids = np.where(ranked.ids >= 0, numbers[ranked.ids], -1).astype(np.int32)
  rows = np.arange(len(ids)) if rows is None else rows
  return Ranked(ids[rows], ranked.similarities[rows])

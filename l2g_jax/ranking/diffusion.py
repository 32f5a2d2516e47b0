"""Diffusion of similarity over the graph of mutual neighbours.

Sources: Iscen et al., Efficient Diffusion on Region Manifolds, CVPR 2017, for one vector an image;
Yang et al., Efficient Image Retrieval via Decoupling Diffusion into Online and Offline Processing,
AAAI 2019, for the columns.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax import settings
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import graph, links
from l2g_jax.ranking.blocks import blocks

# As published by Iscen et al.
NUM_NEIGHBORS = 50
NUM_QUERY_NEIGHBORS = 10
GAMMA = 3.0
ALPHA = 0.99
# At this alpha the condition is 199 at most, so that 105 iterations of conjugate gradients suffice.
TOLERANCE = 1e-5
MAX_ITERATIONS = 200

# At 1 the system is singular.
_MOST_ALPHA = 0.9999
# Right-hand sides that are solved at a time.
_COLUMNS_AT_A_TIME = 32


@dataclasses.dataclass(frozen=True)
class Diffused:
  """What diffusion gives to queries.

  Attributes:
    scores: `[Q, N]` float32, at least 0, for `rank_by_scores`; 0 where no path leads.
    converged: `[Q]` bool, whether the residual reached the tolerance.
    num_iterations: `[Q]` int32, of conjugate gradients.
  """

  scores: np.ndarray
  converged: np.ndarray
  num_iterations: np.ndarray


@dataclasses.dataclass(frozen=True)
class DiffusionColumns:
  """What diffusion gives to every image of a collection as a query, made offline.

  Attributes:
    images: `[N, L]`, the best images of each column, itself among them, with their scores.
    converged: `[N]` bool, whether the residual of a column reached the tolerance.
  """

  images: Ranked
  converged: np.ndarray


def diffuse(
  candidates: Ranked,
  lists: Ranked,
  *,
  num_neighbors: int = NUM_NEIGHBORS,
  num_query_neighbors: int = NUM_QUERY_NEIGHBORS,
  gamma: float = GAMMA,
  alpha: float = ALPHA,
  tolerance: float = TOLERANCE,
  max_iterations: int = MAX_ITERATIONS,
) -> Diffused:
  """Diffuses the similarities of queries to their best candidates over the collection.

  Images i and j are linked where each is among the first n of the other's list. The affinity is
  the smaller of the two stored similarities to the power gamma. With its matrix A, the diagonal of
  row sums D and S = D^-1/2 A D^-1/2, the scores f of a query solve

    (I - alpha S) f = (1 - alpha) y,

  where y_j = (s(q, j) / s)^gamma for the best candidates j, s being the best of them, and 0
  elsewhere. Neither y nor S depends on the scale of similarities.

  Args:
    candidates: `[Q, k]`, what the search found, best first; no image twice, -1 pads.
    lists: `[N, L]`, the nearest images of every image, itself left out.
    num_neighbors: n, at least 1; one compiled program each.
    num_query_neighbors: how many candidates the query is linked to, at least 1.
    gamma: at least 0; the larger, the less a weak link counts.
    alpha: from 0, where the scores are y, to 0.9999; the larger, the farther it spreads.
    tolerance: of the residual that the iterations carry along, relative to the norm of the
      right-hand side, above 0. Below 1e-6 single precision gains no more.
    max_iterations: of conjugate gradients, at least 1.

  Returns:
    The `Diffused`.

  Raises:
    InputError: see `graph.check_graph`; or a number is outside of its range.
  """
  num_query_neighbors = settings.integer("num_query_neighbors", num_query_neighbors, least=1)
  gamma = settings.real("gamma", gamma, least=0.0)
  graph.check_graph(candidates, lists)
  matrix = _linked(lists, num_neighbors, gamma)
  numbers = _checked(alpha, tolerance, max_iterations)
  num_queries, num_images = len(candidates.ids), len(lists.ids)
  scores = np.empty((num_queries, num_images), np.float32)
  converged = np.empty(num_queries, bool)
  num_iterations = np.empty(num_queries, np.int32)
  for rows, padded in blocks(num_queries, _COLUMNS_AT_A_TIME):
    sources = _sources(candidates, padded, num_query_neighbors, gamma)
    results = links.solve(matrix, *sources, *numbers)
    solution, converged[rows], num_iterations[rows] = (
      np.asarray(result)[: len(rows)] for result in results
    )
    scores[rows] = np.maximum(solution, 0.0)
  return Diffused(scores, converged, num_iterations)


def make_diffusion_columns(
  lists: Ranked,
  *,
  length: int,
  num_neighbors: int = NUM_NEIGHBORS,
  gamma: float = GAMMA,
  alpha: float = ALPHA,
  tolerance: float = TOLERANCE,
  max_iterations: int = MAX_ITERATIONS,
) -> DiffusionColumns:
  """Solves the system of `diffuse` for every image as y, and keeps the best of each column.

  Args:
    lists: `[N, L]`, see `diffuse`.
    length: how many images of each column are kept, from 1 to N; with N nothing is lost.
    num_neighbors: see `diffuse`, as all arguments below.
    gamma: of the links.
    alpha: how far it spreads.
    tolerance: of the residual.
    max_iterations: of conjugate gradients.

  Returns:
    The `DiffusionColumns`.

  Raises:
    InputError: see `diffuse`.
  """
  graph.check_lists(lists)
  num_images = len(lists.ids)
  length = settings.integer("length", length, least=1, most=num_images)
  matrix = _linked(lists, num_neighbors, settings.real("gamma", gamma, least=0.0))
  numbers = _checked(alpha, tolerance, max_iterations)
  ids = np.empty((num_images, length), np.int32)
  values = np.empty((num_images, length), np.float32)
  converged = np.empty(num_images, bool)
  for rows, padded in blocks(num_images, _COLUMNS_AT_A_TIME):
    ones = np.ones((len(padded), 1), np.float32)
    solution, reached, _ = links.solve(matrix, padded[:, None].astype(np.int32), ones, *numbers)
    best, places = (np.asarray(array)[: len(rows)] for array in jax.lax.top_k(solution, length))
    ids[rows] = np.where(best > 0.0, places, -1)
    values[rows] = np.maximum(best, 0.0)
    converged[rows] = np.asarray(reached)[: len(rows)]
  return DiffusionColumns(Ranked(ids, values), converged)


def diffuse_by_columns(
  candidates: Ranked,
  columns: Ranked,
  *,
  num_query_neighbors: int = NUM_QUERY_NEIGHBORS,
  gamma: float = GAMMA,
) -> np.ndarray:
  """Combines the columns of each query's best candidates to what `diffuse` gives, but for cuts.

  Args:
    candidates: `[Q, k]`, see `diffuse`.
    columns: `[N, L]`, the images of `make_diffusion_columns`.
    num_query_neighbors: see `diffuse`.
    gamma: see `diffuse`; here it weighs the query's candidates alone.

  Returns:
    Scores `[Q, N]` float32, at least 0, for `rank_by_scores`.

  Raises:
    InputError: see `diffuse`.
  """
  num_query_neighbors = settings.integer("num_query_neighbors", num_query_neighbors, least=1)
  gamma = settings.real("gamma", gamma, least=0.0)
  graph.check_graph(candidates, columns)
  (num_queries, k), (num_images, length) = candidates.ids.shape, columns.ids.shape
  scores = np.empty((num_queries, num_images), np.float32)
  size = graph.block_size(max(num_images, min(k, num_query_neighbors) * length))
  for rows, padded in blocks(num_queries, size):
    ids, weights = _sources(candidates, padded, num_query_neighbors, gamma)
    near_ids = np.where(ids[..., None] >= 0, columns.ids[ids], -1).astype(np.int32)
    near_values = columns.similarities[ids].astype(np.float32)
    blank = jnp.zeros((len(padded), num_images), jnp.float32)
    scores[rows] = np.asarray(_combine(blank, near_ids, near_values, weights))[: len(rows)]
  return scores


_combine = jax.jit(jax.vmap(graph.add_lists))


def _checked(alpha: float, tolerance: float, max_iterations: int):
  """Checks the numbers of the system, and returns them for the device."""
  alpha = settings.real("alpha", alpha, least=0.0, most=_MOST_ALPHA)
  tolerance = settings.real("tolerance", tolerance, above=0.0)
  max_iterations = settings.integer("max_iterations", max_iterations, least=1)
  return np.float32(alpha), np.float32(tolerance), np.int32(max_iterations)


def _linked(lists: Ranked, num_neighbors: int, gamma: float) -> links.Links:
  num_neighbors = settings.integer("num_neighbors", num_neighbors, least=1)
  ids, similarities = graph.in_units(lists, slice(None), num_neighbors, graph.unit_scale(lists))
  return links.link(ids, similarities, np.float32(gamma))


def _sources(
  candidates: Ranked, rows: np.ndarray, count: int, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the ids and values `[b, count]` of y; values are 0 where ids are -1."""
  ids, similarities = (np.asarray(array[rows, :count]) for array in candidates)
  similarities = np.where(ids >= 0, similarities, 0.0)
  best = np.max(similarities, axis=1, keepdims=True)
  ratios = similarities / np.where(best > 0.0, best, 1.0)
  values = np.where(similarities > 0.0, ratios**gamma, 0.0)
  return ids.astype(np.int32), values.astype(np.float32)

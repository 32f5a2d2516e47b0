"""Scores of a collection for queries, from the lists of the queries' words."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.asmk.aggregation import aggregate
from l2g_jax.ranking.asmk.descriptors import batches
from l2g_jax.ranking.asmk.index import AsmkIndex
from l2g_jax.runtime.threads import in_threads

T = TypeVar("T")

# Called without the typing context, which a type checker does not know.
_instruction: Any = intrinsic


def score(index: AsmkIndex, query: np.ndarray) -> np.ndarray:
  """Compares a query with all images of an index.

  With the words W of the query, their weights w, similarities s of the vectors of a word and norms
  n of query and image, which are sums of weights of words,
  K = sum over c in W of w_c [s_c >= threshold] s_c^alpha / sqrt(n_query n_image).

  Args:
    index: of N images.
    query: `[q, d]`; q may be 0.

  Returns:
    `[N]` float64, at least 0; 0 for images without descriptors, and for a query without any. A
    query by itself scores 1, if each of its descriptors goes to one word and no sum is zero.

  Raises:
    InputError: the shape does not fit, or a value is not finite.
  """
  return _map_scores(index, [query], lambda scores: scores)[0]


def rank(index: AsmkIndex, queries: Sequence[np.ndarray]) -> np.ndarray:
  """Ranks all images of an index for several queries.

  Args:
    index: of N images.
    queries: the descriptors `[q, d]` of each of Q queries.

  Returns:
    `[Q, N]` int32, best first, ties by the smaller id.

  Raises:
    InputError: see `score`; or there is no query.
  """
  order = lambda scores: np.argsort(-scores, kind="stable").astype(np.int32)
  return np.stack(_map_scores(index, queries, order))


def search(index: AsmkIndex, queries: Sequence[np.ndarray], k: int) -> Ranked:
  """Finds the best images of an index for several queries.

  Args:
    index: of N images.
    queries: the descriptors `[q, d]` of each of Q queries.
    k: images wanted, at least 1.

  Returns:
    The best images `[Q, k]`, ids int32 and scores float32, ties by the smaller id; images of score
    0 are left out.

  Raises:
    InputError: see `rank`; or k is below 1.
  """
  k = settings.integer("k", k, least=1)

  def best(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, values = np.full(k, -1, np.int32), np.zeros(k, np.float32)
    found = np.flatnonzero(scores)
    found = found[np.argsort(-scores[found], kind="stable")[:k]]
    ids[: len(found)], values[: len(found)] = found, scores[found]
    return ids, values

  ids, values = zip(*_map_scores(index, queries, best), strict=True)
  return Ranked(np.stack(ids), np.stack(values))


def _map_scores(
  index: AsmkIndex, queries: Sequence[np.ndarray], function: Callable[[np.ndarray], T]
) -> list[T]:
  """Returns what a function makes of the scores `[N]` of each query, one core a query."""
  if not len(queries):
    raise InputError("A search needs at least one query.")
  results = []
  for batch in batches(queries, index.codebook.centroids.shape[1], name="query"):
    found = aggregate(
      index.codebook,
      batch,
      multiple_assignment=index.config.multiple_assignment,
      binary=index.config.binary,
    )
    bounds = np.searchsorted(found.images, np.arange(len(batch) + 1))
    shares = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    results += in_threads(
      lambda share, found=found: function(
        _score_vectors(index, found.words[share], found.vectors[share])
      ),
      shares,
    )
  return results


def _score_vectors(index: AsmkIndex, words: np.ndarray, vectors: np.ndarray) -> np.ndarray:
  config = index.config
  totals = np.zeros(index.num_images)
  lists = (index.offsets, index.images, index.vectors)
  weights = index.weights[words]
  if config.binary:
    num_bits = 32 * vectors.shape[1]
    similarities = 1.0 - 2.0 * np.arange(num_bits + 1) / num_bits
    counted = np.maximum(similarities, 0.0) ** config.alpha
    table = np.where(similarities >= config.threshold, counted, 0.0)
    _add_binary(*lists, words, vectors, weights, table, totals)
  else:
    _add_float(*lists, words, vectors, weights, config.alpha, config.threshold, totals)
  norms = np.sqrt(index.norms * np.sum(weights))
  return np.divide(totals, norms, out=np.zeros_like(totals), where=norms > 0.0)


@_instruction
def _count_ones(typing_context, bits):
  """Counts the ones of a uint32."""

  def generate(_, builder, __, arguments):
    return builder.ctpop(arguments[0])

  return types.uint32(types.uint32), generate


@numba.njit(cache=True, nogil=True)
def _add_binary(offsets, images, vectors, words, queries, weights, table, totals):
  """Raises `totals`, `[N]`, by what `table` has for the distances of bits, times a weight."""
  for i in range(len(words)):
    for entry in range(offsets[words[i]], offsets[words[i] + 1]):
      distance = 0
      for place in range(vectors.shape[1]):
        distance += _count_ones(vectors[entry, place] ^ queries[i, place])
      totals[images[entry]] += weights[i] * table[distance]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _add_float(offsets, images, vectors, words, queries, weights, alpha, threshold, totals):
  """Raises `totals`, `[N]`, by powers of the inner products, times a weight."""
  for i in range(len(words)):
    for entry in range(offsets[words[i]], offsets[words[i] + 1]):
      similarity = 0.0
      for column in range(vectors.shape[1]):
        similarity += vectors[entry, column] * queries[i, column]
      if similarity >= threshold:
        totals[images[entry]] += weights[i] * max(similarity, 0.0) ** alpha

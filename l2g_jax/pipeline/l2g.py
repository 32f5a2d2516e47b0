"""Local-to-global re-ranking of a batch of queries, on the host: what is ranked, block by block.

Known similarities of each shortlist -> dissimilarities -> SMACOF embedding -> fusion with global
features -> SuperGlobal re-ranking -> a ranking of the collection (arXiv 2509.04351).
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jax.sharding import Mesh

from l2g_jax import settings
from l2g_jax.errors import InputError, SettingError
from l2g_jax.pipeline.block import Queries, rerank_block
from l2g_jax.pipeline.collection import (
  Collection,
  Neighbors,
  Tables,
  check_neighbors,
  place_collection,
  rows_for,
)
from l2g_jax.pipeline.config import L2GConfig, Numbers
from l2g_jax.ranking.fusion import check_dimensions
from l2g_jax.runtime import sharding
from l2g_jax.runtime.progress import Meter

# Of arXiv 2509.04351, for a strong global feature.
PAPER_WEIGHT = 0.19
# Of a device: bytes that can be counted.
_MOST_BYTES = (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class GlobalFeatures:
  """Global features of the queries and of the collection, in the order of their ids.

  Attributes:
    queries: `[Q, D]` floating; norms do not matter, a zero row stands for "none".
    database: `[N, D]` floating, may be memory-mapped.
  """

  queries: np.ndarray
  database: np.ndarray


@dataclasses.dataclass(frozen=True)
class Diagnostics:
  """How the embeddings of Q queries came about.

  Attributes:
    num_known: `[Q]` int, pairs of the problem whose similarity was known; at 0 the query kept the
      search's order.
    normalized_stress: `[Q]` float, stress-1 of the embedding.
    num_iterations: `[Q]` int, of SMACOF.
    converged: `[Q]` bool.
  """

  num_known: np.ndarray
  normalized_stress: np.ndarray
  num_iterations: np.ndarray
  converged: np.ndarray


@dataclasses.dataclass(frozen=True)
class L2GResult:
  """Rankings of a collection of N images for Q queries.

  Attributes:
    rankings: `[Q, N]` int32, every row a permutation: the re-ranked candidates, the rest of the
      search's, then the images it did not reach, by id.
    scores: `[Q, k]` float32 of the candidates in the search's order; the search's similarity
      where a query or a candidate was not re-ranked.
    diagnostics: one `Diagnostics`, whatever the weight.
  """

  rankings: np.ndarray
  scores: np.ndarray
  diagnostics: Diagnostics


@dataclasses.dataclass(frozen=True)
class L2G:
  """Local-to-global retrieval as one function over a batch of queries.

  Attributes:
    weight: w in [0, 1] of the embedding against the global feature; the default is the paper's.
    config: everything else.
    block_bytes: memory of a device that its share of a block may take, at least 1; None = by what
      is free.
    mesh: the devices over which queries are spread; None = all.

  Raises:
    SettingError: a number lies outside of its range.
  """

  weight: float = PAPER_WEIGHT
  config: L2GConfig = L2GConfig()
  block_bytes: int | None = None
  mesh: Mesh | None = None

  def __post_init__(self):
    object.__setattr__(self, "weight", check_weight(self.weight))
    if not isinstance(self.config, L2GConfig):
      raise SettingError("config", "an L2GConfig", self.config)
    if self.block_bytes is not None:
      number = settings.integer("block_bytes", self.block_bytes, least=1, most=_MOST_BYTES)
      object.__setattr__(self, "block_bytes", number)

  def __call__(
    self, candidates: Neighbors, neighbor_lists: Neighbors, features: GlobalFeatures
  ) -> L2GResult:
    """Ranks the collection for every query; see `rank_by_weights` for arguments and errors."""
    results = rank_by_weights(
      candidates,
      neighbor_lists,
      features,
      weights=[self.weight],
      config=self.config,
      block_bytes=self.block_bytes,
      mesh=self.mesh,
    )
    return results[0]


def rank_by_weights(
  candidates: Neighbors,
  neighbor_lists: Neighbors,
  features: GlobalFeatures,
  *,
  weights: Sequence[float],
  config: L2GConfig = L2GConfig(),
  block_bytes: int | None = None,
  mesh: Mesh | None = None,
  show_progress: bool = False,
) -> list[L2GResult]:
  """Ranks the collection for every query and weight; a query is embedded once for all weights.

  For more batches of queries than one, `place_collection` and `rank_collection` do the same in two
  steps, the first of which is done once.

  Args:
    candidates: of Q queries, k each.
    neighbor_lists: of the N database images, made offline by the same index.
    features: global features of the Q queries and the N images.
    weights: the weights w in [0, 1].
    config: settings of the method.
    block_bytes: memory of a device that its share of a block may take; None = by what is free.
    mesh: the devices over which queries are spread, of `sharding.make_mesh`; None = all, those of
      other hosts included.
    show_progress: whether to show a bar.

  Returns:
    One `L2GResult` a weight.

  Raises:
    InputError: no weight, or one outside [0, 1]; shapes that do not fit, or no query or candidate
      at all; fusion `sum` of vectors that differ in their dimensions; an id that is no integer, out
      of range, or twice among a query's candidates; similarities or features that are not finite,
      or similarities below 0.
  """
  # What is small is checked before a collection is looked through and copied.
  weights = _check(candidates, features.queries, weights, features.database.shape, config)
  return _rank(
    place_collection(neighbor_lists, features.database, mesh=mesh),
    candidates,
    features.queries,
    weights=weights,
    config=config,
    block_bytes=block_bytes,
    show_progress=show_progress,
  )


def rank_collection(
  collection: Collection,
  candidates: Neighbors,
  query_features: np.ndarray,
  *,
  weights: Sequence[float],
  config: L2GConfig = L2GConfig(),
  block_bytes: int | None = None,
  show_progress: bool = False,
) -> list[L2GResult]:
  """Ranks a collection that was placed before; otherwise as `rank_by_weights`.

  Queries are spread over devices, which changes nothing but the time. Where devices of several
  hosts are among them, every host calls with the same arguments and gets the whole result.

  Args:
    collection: of N images.
    candidates: of Q queries, k each.
    query_features: `[Q, D]` floating.
    weights: the weights w in [0, 1].
    config: settings of the method.
    block_bytes: memory of a device that its share of a block may take; None = by what is free.
    show_progress: whether to show a bar.

  Returns:
    One `L2GResult` a weight.

  Raises:
    InputError: as `rank_by_weights`.
  """
  weights = _check(candidates, query_features, weights, collection.features.shape, config)
  return _rank(
    collection,
    candidates,
    query_features,
    weights=weights,
    config=config,
    block_bytes=block_bytes,
    show_progress=show_progress,
  )


def _rank(
  collection: Collection,
  candidates: Neighbors,
  query_features: np.ndarray,
  *,
  weights: Sequence[float],
  config: L2GConfig,
  block_bytes: int | None,
  show_progress: bool,
) -> list[L2GResult]:
  """Ranks a collection by what was checked before."""
  num_images, dimension = collection.features.shape
  num_queries, size = candidates.ids.shape
  mesh = collection.mesh
  block_bytes = sharding.bytes_at_hand(mesh) if block_bytes is None else block_bytes
  list_length = collection.neighbor_lists.ids.shape[1]
  query_bytes = _query_bytes(size, list_length, dimension, num_images)
  block_size = _block_size(num_queries, mesh.size, max(1, block_bytes // query_bytes))
  spread_weights = sharding.replicate(np.asarray(weights, np.float32), mesh)
  numbers = Numbers(*(sharding.replicate(number, mesh) for number in config.numbers()))
  scores = np.empty((len(weights), num_queries, size), np.float32)
  orders = np.empty((len(weights), num_queries, size), np.int32)
  parts = []
  with Meter("re-ranking", total=num_queries, unit="queries", disabled=not show_progress) as meter:
    for rows in _blocks(num_queries, block_size):
      queries = _block_queries(rows, block_size, candidates, query_features)
      results = rerank_block(
        spread_weights,
        numbers,
        *_block_tables(collection, queries),
        mesh=mesh,
        num_images=num_images,
        choices=config.choices(size),
      )
      block_scores, order, *diagnostics = (
        sharding.fetch(column)[: len(rows)] for column in results
      )
      scores[:, rows], orders[:, rows] = np.swapaxes(block_scores, 0, 1), np.swapaxes(order, 0, 1)
      parts.append(diagnostics)
      meter.advance(len(rows))
  diagnostics = Diagnostics(*(np.concatenate(column) for column in zip(*parts, strict=True)))
  return [
    L2GResult(
      rankings=complete_rankings(candidates.ids, order, num_images),
      scores=values,
      diagnostics=diagnostics,
    )
    for values, order in zip(scores, orders, strict=True)
  ]


def complete_rankings(ids: np.ndarray, order: np.ndarray | None, num_images: int) -> np.ndarray:
  """Makes permutations of the collection from shortlists.

  Args:
    ids: `[Q, k]` integer, best first; -1 pads.
    order: `[Q, k]` places of the shortlist in another order; None keeps it.
    num_images: N.

  Returns:
    `[Q, N]` int32: the shortlist in its order, then what is missing, by id.
  """
  shortlists = ids if order is None else np.take_along_axis(ids, order, axis=1)
  rankings = np.empty((len(ids), num_images), np.int32)
  for row, shortlist in enumerate(shortlists):
    ranked = shortlist[shortlist >= 0]
    missing = np.ones(num_images, bool)
    missing[ranked] = False
    rankings[row, : len(ranked)] = ranked
    rankings[row, len(ranked) :] = np.flatnonzero(missing)
  return rankings


def check_weight(weight: float) -> float:
  """Returns a weight w as a float; SettingError where it does not lie in [0, 1]."""
  return settings.real("w", weight, least=0.0, most=1.0)


def check_global_shapes(queries: tuple[int, ...], database: tuple[int, ...]) -> None:
  """Refuses shapes of global features that are not `[Q, D]` and `[N, D]`."""
  if len(queries) != 2 or len(database) != 2 or queries[1] != database[1]:
    raise InputError(
      f"Global features must be [Q, D] and [N, D], not {list(queries)} and {list(database)}."
    )


def _check(
  candidates: Neighbors,
  query_features: np.ndarray,
  weights: Sequence[float],
  shape: tuple[int, ...],
  config: L2GConfig,
) -> list[float]:
  """Checks what belongs to queries, of a collection with features of a shape; returns weights."""
  weights = [check_weight(weight) for weight in weights]
  if not weights:
    raise InputError("Ranking needs a weight at least.")
  check_global_shapes(query_features.shape, shape)
  num_images, dimension = shape
  check_dimensions(config.fusion, config.num_dimensions, dimension)
  check_neighbors("candidates", candidates, len(query_features), num_images)
  if not candidates.ids.size:
    raise InputError(
      f"Ranking needs a query and a candidate at least, not candidates {candidates.ids.shape}."
    )
  for row, ids in enumerate(candidates.ids):
    present = ids[ids >= 0]
    if len(np.unique(present)) != len(present):
      raise InputError(f"The candidates of query {row} hold an image twice.")
  if not np.all(np.isfinite(query_features)):
    raise InputError("The queries' global features hold a value that is not finite.")
  return weights


def _query_bytes(size: int, list_length: int, dimension: int, num_images: int) -> int:
  """How much memory a device needs for a query, at most."""
  points = size + 1
  squares, lists = 12 * points**2, 4 * size * list_length
  return 4 * (squares + lists + num_images + 7 * points * (dimension + 256))


def _block_size(num_queries: int, num_devices: int, most: int) -> int:
  """How many queries a block has: as many on every device, and no more than needed in the last."""
  share = math.ceil(num_queries / num_devices)
  return num_devices * math.ceil(share / math.ceil(share / most))


def _blocks(num_queries: int, block_size: int) -> Iterator[np.ndarray]:
  for start in range(0, num_queries, block_size):
    yield np.arange(start, min(start + block_size, num_queries))


def _block_queries(rows, block_size: int, candidates: Neighbors, features) -> Queries[np.ndarray]:
  """Collects a block's rows from the host's arrays, padded with queries without candidates."""
  padded = np.resize(rows, block_size)
  ids = candidates.ids[padded].astype(np.int32)
  ids[len(rows) :] = -1
  return Queries(
    ids=ids,
    rows=np.maximum(ids, 0),
    similarities=candidates.similarities[padded].astype(np.float32),
    features=features[padded].astype(np.float32),
  )


def _block_tables(collection: Collection, queries: Queries[np.ndarray]):
  """Returns tables that every device has as a whole or tables of its queries, and the queries."""
  mesh = collection.mesh
  given = None
  if collection.resident is None:
    tables = rows_for(collection, queries.ids.ravel())
    given = Tables(*(sharding.split(array, mesh) for array in tables))
    # A device has the rows of its own queries, one query's after another's.
    rows = np.arange(queries.ids.size, dtype=np.int32).reshape(queries.ids.shape)
    queries = queries._replace(rows=rows % (queries.ids.size // mesh.size))
  placed = Queries(*(sharding.split(array, mesh) for array in queries))
  return collection.resident, (given, placed)

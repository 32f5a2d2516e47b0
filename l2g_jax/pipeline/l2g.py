"""Local-to-global re-ranking of queries: the one door to the method, block by block.

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
from l2g_jax.pipeline.collection import Collection, place_collection
from l2g_jax.pipeline.config import Choices, L2GConfig, Numbers
from l2g_jax.ranked import Ranked, check_ranked, complete_rankings
from l2g_jax.ranking.fusion import check_dimensions
from l2g_jax.ranking.global_features import GlobalFeatures, check_global_shapes
from l2g_jax.runtime import sharding
from l2g_jax.runtime.progress import Meter

# Of arXiv 2509.04351, for a strong global feature.
PAPER_WEIGHT = 0.19
# Of a device: bytes that can be counted.
_MOST_BYTES = (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class Diagnostics:
  """How the embeddings of Q queries came about.

  Attributes:
    num_known: `[Q]` int, pairs of the problem that are known to be similar; a query with none keeps
      the order of the search.
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
    rankings: `[Q, N]` int32, every row a permutation: the re-ranked candidates, the other
      candidates in the order of the search, then the images that it did not reach, by id.
    scores: `[Q, C]` float32 of the candidates in the order of the search; a query or candidate
      that was not re-ranked keeps its similarity.
    diagnostics: the same for every weight.
  """

  rankings: np.ndarray
  scores: np.ndarray
  diagnostics: Diagnostics


@dataclasses.dataclass(frozen=True)
class L2G:
  """Local-to-global retrieval: re-ranks what a search found for a batch of queries.

  Called, it does all in one step. For several batches of one collection, `place` it once and `rank`
  each batch.

  Attributes:
    weight: w in [0, 1] of the embedding against the global feature: 0 ranks by the global feature
      alone, 1 by the embedding alone. The default is that of arXiv 2509.04351, for a strong global
      feature; a weak one, as VLAD, needs more, to 0.9.
    config: the other settings of the method.
    block_bytes: memory of a device that its share of a block of queries may take, at least 1; None
      = by what is free. Smaller blocks take longer; the ranking is the same.
    mesh: the devices over which queries are spread, of `sharding.make_mesh`; None = all, those of
      other hosts included.

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
    self, candidates: Ranked, neighbor_lists: Ranked, features: GlobalFeatures
  ) -> L2GResult:
    """Ranks a collection of N images for Q queries: `place`, then `rank`.

    Args:
      candidates: `[Q, C]`, what the search found.
      neighbor_lists: `[N, L]`, made offline by the same index.
      features: global features of the queries and of the images.

    Raises:
      InputError: see `place` and `rank`.
    """
    collection = self.place(neighbor_lists, features.database)
    return self.rank(collection, candidates, features.queries)[0]

  def place(self, neighbor_lists: Ranked, database: np.ndarray) -> Collection:
    """Checks a collection and copies it to the devices, where it fits.

    Args:
      neighbor_lists: `[N, L]`, of the N images, made offline by the index of the search; may be
        memory-mapped.
      database: `[N, D]`, their global features, floating; may be memory-mapped.

    Raises:
      InputError: shapes do not fit, ids are not integers or out of range, similarities are below 0
        or not finite; or features are not finite, as far as they are put on the devices.
    """
    mesh = sharding.make_mesh() if self.mesh is None else self.mesh
    return place_collection(neighbor_lists, database, mesh=mesh)

  def rank(
    self,
    collection: Collection,
    candidates: Ranked,
    query_features: np.ndarray,
    *,
    weights: Sequence[float] | None = None,
    show_progress: bool = False,
  ) -> list[L2GResult]:
    """Ranks a collection for every query; a query is embedded once for all weights.

    Args:
      collection: of N images, by `place`.
      candidates: `[Q, C]`, what the search found, best first; the configuration says how many of
        them are embedded and how many re-ranked.
      query_features: `[Q, D]`, the global features of the queries.
      weights: several weights w in [0, 1], in place of `weight`.
      show_progress: whether to show a bar.

    Returns:
      One `L2GResult` a weight.

    Raises:
      InputError: there is no weight, or one outside [0, 1]; shapes do not fit, or there is no query
        or candidate at all; fusion `sum` gets vectors that differ in their dimensions; an id is not
        an integer, is out of range, or comes twice among a query's candidates; similarities or
        features are not finite, or similarities are below 0.
    """
    weights = [check_weight(weight) for weight in ([self.weight] if weights is None else weights)]
    if not weights:
      raise InputError("Ranking needs a weight at least.")
    check_global_shapes(query_features.shape, collection.features.shape)
    check_dimensions(self.config.fusion, self.config.num_dimensions, query_features.shape[1])
    _check_queries(candidates, query_features, collection.num_images)
    num_queries, size = candidates.ids.shape
    choices = self.config.choices(size)
    block_size = self._block_size(collection, num_queries, size, choices)
    mesh = collection.mesh
    whole = (
      sharding.replicate(np.asarray(weights, np.float32), mesh),
      Numbers(*(sharding.replicate(number, mesh) for number in self.config.numbers())),
    )
    scores = np.empty((len(weights), num_queries, size), np.float32)
    orders = np.empty((len(weights), num_queries, size), np.int32)
    parts = []
    with Meter(
      "re-ranking", total=num_queries, unit="queries", disabled=not show_progress
    ) as meter:
      for rows in _blocks(num_queries, block_size):
        queries = _block_queries(rows, block_size, candidates, query_features)
        results = rerank_block(
          *whole,
          Queries(*(sharding.split(column, mesh) for column in queries)),
          collection.tables_of(queries.ids, num_embedded=choices.num_embedded),
          mesh=mesh,
          id_bound=collection.id_bound,
          choices=choices,
        )
        block_scores, order, *diagnostics = (
          sharding.fetch(column)[: len(rows)] for column in results
        )
        scores[:, rows] = np.swapaxes(block_scores, 0, 1)
        orders[:, rows] = np.swapaxes(order, 0, 1)
        parts.append(diagnostics)
        meter.advance(len(rows))
    diagnostics = Diagnostics(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return [
      L2GResult(
        rankings=complete_rankings(candidates.ids, order, collection.num_images),
        scores=values,
        diagnostics=diagnostics,
      )
      for values, order in zip(scores, orders, strict=True)
    ]

  def _block_size(
    self, collection: Collection, num_queries: int, size: int, choices: Choices
  ) -> int:
    """Returns how many queries a block has, as memory allows."""
    block_bytes = self.block_bytes
    if block_bytes is None:
      block_bytes = sharding.bytes_at_hand(collection.mesh)
    query_bytes = _query_bytes(size, choices, collection)
    return even_block(num_queries, collection.mesh.size, max(1, block_bytes // query_bytes))


def check_weight(weight: float) -> float:
  """Returns a weight w as a float; SettingError where it does not lie in [0, 1]."""
  return settings.real("w", weight, least=0.0, most=1.0)


def even_block(num_queries: int, num_devices: int, most: int) -> int:
  """Returns the queries of a block: as many on every device, few of them padding in the last.

  Args:
    num_queries: of all blocks.
    num_devices: that share a block.
    most: queries of a block that a device can take.
  """
  share = math.ceil(num_queries / num_devices)
  return num_devices * math.ceil(share / math.ceil(share / most))


def _check_queries(candidates: Ranked, query_features: np.ndarray, num_images: int) -> None:
  check_ranked("candidates", candidates, len(query_features), num_images)
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


def _query_bytes(size: int, choices: Choices, collection: Collection) -> int:
  """Returns how much memory a device needs for a query of so many candidates, at most."""
  points, dimension = size + 1, collection.features.shape[1]
  # The embedding and the re-ranking follow one another.
  squares = max(12 * (choices.num_embedded + 1) ** 2, 6 * choices.num_reranked**2)
  lists = 4 * choices.num_embedded * collection.list_length
  return 4 * (squares + lists + collection.id_bound + 7 * points * (dimension + 256))


def _blocks(num_queries: int, block_size: int) -> Iterator[np.ndarray]:
  for start in range(0, num_queries, block_size):
    yield np.arange(start, min(start + block_size, num_queries))


def _block_queries(rows, block_size: int, candidates: Ranked, features) -> Queries[np.ndarray]:
  """Collects a block's rows from the host's arrays, padded with queries without candidates."""
  padded = np.resize(rows, block_size)
  ids = candidates.ids[padded].astype(np.int32)
  ids[len(rows) :] = -1
  return Queries(
    ids=ids,
    similarities=candidates.similarities[padded].astype(np.float32),
    features=features[padded].astype(np.float32),
  )

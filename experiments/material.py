"""What the systems are given: a data set that is ready, and the parts of it that they ask for."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from experiments.shortlists import Shortlists, update_digest
from l2g_jax.cli import evaluate
from l2g_jax.data.dataset import Dataset
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.ranking.neighbors import candidates_by_global, neighbors_by_global
from l2g_jax.retriever import Retriever, candidates, described
from l2g_jax.retriever import collection as collections
from l2g_jax.retriever.collection import Collection
from l2g_jax.retriever.described import DescribedImages
from l2g_jax.runtime.digests import new_digest

T = TypeVar("T")

# The searches with which systems begin, by the names of their stages.
Base = Literal["global search", "local search"]


class Material:
  """A data set with its searches, each made when it is first asked for.

  Attributes:
    dataset: with its ground truth.
    retriever: of the data set, as the flags say.
    num_queries: Q.
    num_images: N.
  """

  def __init__(
    self, dataset: Dataset, retriever: Retriever, open_paper: Callable[[], "Material"] | None = None
  ):
    """Takes a data set that is ready.

    Args:
      dataset: with its ground truth.
      retriever: of the data set.
      open_paper: makes the same ready by the paper's recipe; None = this is it.
    """
    self.dataset = dataset
    self.retriever = retriever
    self._open_paper = open_paper
    self.num_queries = len(dataset.ground_truth.queries)
    self.num_images = len(dataset.ground_truth.imlist)
    self._jobs = evaluate.query_jobs(dataset)
    self._kept: dict[str, Any] = {}

  def keep(self, key: str, make: Callable[[], T]) -> T:
    """Returns what was made under a key, or makes it; sweeps share what only takes time."""
    if key not in self._kept:
      self._kept[key] = make()
    return self._kept[key]

  @functools.cached_property
  def paper(self) -> "Material":
    """The same data set, searched as the paper's recipe says."""
    return self if self._open_paper is None else self._open_paper()

  @property
  def collection(self) -> Collection:
    """The indexes, the lists and the global features."""
    return self.retriever.collection

  @functools.cached_property
  def queries(self) -> collections.Queries:
    """The described queries."""
    return collections.describe_queries(self.collection, self._jobs, self.retriever.watch)

  @functools.cached_property
  def features(self) -> GlobalFeatures:
    """The global features of queries and images."""
    return GlobalFeatures(self.queries.global_features, self.collection.global_features)

  @functools.cached_property
  def found(self) -> Ranked:
    """The candidates `[Q, C]` of the local search."""
    with self.retriever.watch.measure("local search"):
      return candidates.search(
        self.collection, self.queries.descriptors, self.retriever.num_searched
      )

  @property
  def lists(self) -> Ranked:
    """The neighbour lists `[N, L]` by local features."""
    return self.collection.lists

  @functools.cached_property
  def by_global(self) -> np.ndarray:
    """The rankings `[Q, N]` by global features."""
    with self.retriever.watch.measure("global search"):
      return rank_by_global(self.features)

  @functools.cached_property
  def found_by_global(self) -> Ranked:
    """As many candidates as the local search has, by global features."""
    return candidates_by_global(self.features, num_candidates=self.found.ids.shape[1])

  @functools.cached_property
  def lists_by_global(self) -> Ranked:
    """As long neighbour lists as by local features, by global ones."""
    return neighbors_by_global(self.features.database, num_neighbors=self.lists.ids.shape[1])

  @functools.cached_property
  def images(self) -> DescribedImages:
    """The local features of the images, with their key points."""
    return described.describe_images(self.collection, self.retriever.images.jobs, on_error="raise")

  @functools.cached_property
  def described_queries(self) -> DescribedImages:
    """The local features of the queries, with their key points."""
    return described.describe_queries(self.collection, self._jobs)

  def search_seconds(self, base: Base | None) -> float:
    """Returns the seconds a query of one of the two searches; 0 of None."""
    if base is None:
      return 0.0
    _ = self.by_global if base == "global search" else self.found
    return self.retriever.watch.seconds[base] / self.num_queries

  @property
  def global_bytes(self) -> float:
    """Bytes an image of the global features."""
    return self.features.database.nbytes / self.num_images

  @functools.cached_property
  def index_bytes(self) -> float:
    """Bytes an image of the index files, without the lists."""
    total = 0
    for kind in self.collection.kinds:
      for path in pathlib.Path(kind.index.directory).rglob("*.npy"):
        if not path.relative_to(kind.index.directory).parts[0].startswith("neighbors-"):
          total += path.stat().st_size
    return total / self.num_images

  @property
  def list_bytes(self) -> float:
    """Bytes an image of its neighbour list."""
    return sum(array.nbytes for array in self.lists) / self.num_images

  @functools.cached_property
  def feature_bytes(self) -> float:
    """Bytes an image of kept key points: descriptors of 16 bits, x and y of 32."""
    total = 0
    for store in self.images.stores:
      total += int(store.counts().sum()) * (2 * store.dimension + 8)
    return total / self.num_images

  def complete(self, ids: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """Returns rankings `[Q, N]` that begin with these ids; see `complete_rankings`."""
    return complete_rankings(ids, order, self.num_images)

  @functools.cached_property
  def shortlists(self) -> Shortlists:
    """What the method takes for all queries."""
    return Shortlists(self.found, self.lists, self.features, self.dataset.ground_truth)

  @functools.cached_property
  def key(self) -> str:
    """Identifies all that the systems are given, by content, and the settings of the method."""
    digest = new_digest()
    digest.update(repr((self.retriever.config, self.retriever.weight)).encode())
    update_digest(digest, self.shortlists)
    return digest.hexdigest()[:16]

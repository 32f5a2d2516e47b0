"""The systems that match local features: spatial verification, ASMK, and L2G."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparison.material import Material
from experiments.comparison.system import ONCE, QUERIES, Outcome, System
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import asmk, spatial
from l2g_jax.retriever import pair_similarity
from l2g_jax.retriever.collection import Descriptors
from l2g_jax.retriever.pair_similarity import PairSimilarity
from l2g_jax.runtime.progress import track
from l2g_jax.runtime.stopwatch import Stopwatch

# Of a codebook: words for a collection of any size, and a sample to learn them from.
_SAMPLE_PER_WORD = 64


def verified(similarity: PairSimilarity, *, min_inliers: int = spatial.MIN_INLIERS) -> System:
  """Spatial verification of the best candidates, by the number of inliers."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      found = given.keep(
        f"{similarity.name} {similarity.depth}",
        lambda: pair_similarity.compare_candidates(
          similarity, given.found, given.described_queries, given.images
        ),
      )
      rankings = np.stack(
        [
          _by_inliers(Ranked(*own), Ranked(*counted), min_inliers)
          for own, counted in zip(
            zip(*given.found, strict=True), zip(*found, strict=True), strict=True
          )
        ]
      )
    return Outcome(given.complete(rankings), given.index_bytes + given.feature_bytes)

  settings = {**similarity.settings, "depth": similarity.depth, "min_inliers": min_inliers}
  return System("chamfer+spatial", "local search", run, settings)


def _by_inliers(found: Ranked, counted: Ranked, min_inliers: int) -> np.ndarray:
  """Returns a query's candidates `[C]` by inliers; few count as none and leave the order."""
  inliers = dict(zip(counted.ids.tolist(), counted.similarities.tolist(), strict=True))
  values = np.array([inliers.get(number, 0.0) for number in found.ids.tolist()])
  values[values < min_inliers] = 0.0
  return found.ids[np.lexsort((-found.similarities, -values, found.ids < 0))]


def asmk_by(config: asmk.AsmkConfig, *, num_words: int, seed: int = 0) -> System:
  """ASMK with a codebook learned from the collection itself; several kinds add their scores."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(ONCE):
      indexes = _asmk_indexes(given, config, num_words, seed)
    with watch.measure(QUERIES):
      found = _search_asmk(indexes, given.queries.descriptors, given.num_images, title="ASMK")
    return Outcome(given.complete(found.ids), _bytes_of(indexes))

  settings = {**dataclasses.asdict(config), "num_words": num_words, "seed": seed}
  return System("asmk" if config.binary else "asmk float", None, run, settings)


def l2g_by_asmk(config: asmk.AsmkConfig, *, num_words: int, seed: int = 0) -> System:
  """The method with ASMK in place of the local search, for queries and for lists."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    k = given.found.ids.shape[1]
    with watch.measure(ONCE):
      indexes = _asmk_indexes(given, config, num_words, seed)
      kinds = range(len(indexes))
      images = zip(*(given.descriptors(kind) for kind in kinds), strict=True)
      near = _search_asmk(indexes, [*images], k + 1, title="lists by ASMK")
      lists = _without_self(near)
    with watch.measure(QUERIES):
      found = _search_asmk(indexes, given.queries.descriptors, k, title="ASMK")
    return _l2g(given, watch, found, lists, _bytes_of(indexes))

  settings = {**dataclasses.asdict(config), "num_words": num_words, "seed": seed}
  return System("l2g by asmk" if config.binary else "l2g by asmk float", None, run, settings)


def _search_asmk(
  indexes: Sequence[asmk.AsmkIndex], queries: Sequence[Descriptors], k: int, *, title: str
) -> Ranked:
  """Finds the best images of each query `[Q, min(k, N)]` by the sum of all kinds' scores."""
  k = min(k, indexes[0].num_images)
  ids = np.empty((len(queries), k), np.int32)
  similarities = np.empty((len(queries), k), np.float32)
  for row, query in enumerate(track(queries, title, unit="images")):
    parts = [asmk.score(*part) for part in zip(indexes, query, strict=True)]
    scores = np.sum(parts, axis=0)
    ids[row] = np.argsort(-scores, kind="stable")[:k]
    similarities[row] = scores[ids[row]]
  return Ranked(ids, similarities)


def _without_self(lists: Ranked) -> Ranked:
  """Returns lists `[N, L]` of images without the images themselves."""
  own = lists.ids == np.arange(len(lists.ids))[:, None]
  # One that its own list does not reach loses the last place.
  own[~own.any(axis=1), -1] = True
  kept = ~own
  shape = (len(own), own.shape[1] - 1)
  return Ranked(lists.ids[kept].reshape(shape), lists.similarities[kept].reshape(shape))


def _bytes_of(indexes: Sequence[asmk.AsmkIndex]) -> float:
  return sum(index.nbytes / index.num_images for index in indexes)


def _asmk_indexes(
  given: Material, config: asmk.AsmkConfig, num_words: int, seed: int
) -> list[asmk.AsmkIndex]:
  kinds = range(len(given.collection.kinds))
  return [_asmk_index(given, kind, config, num_words, seed) for kind in kinds]


def _asmk_index(
  given: Material, kind: int, config: asmk.AsmkConfig, num_words: int, seed: int
) -> asmk.AsmkIndex:
  """Returns the index of a kind; what does not depend on the search is shared by a sweep."""

  def train() -> asmk.Codebook:
    stacked = np.concatenate([*given.descriptors(kind)])
    chosen = np.random.default_rng(seed).permutation(len(stacked))[: _SAMPLE_PER_WORD * num_words]
    return asmk.train_codebook(stacked[np.sort(chosen)], num_words, seed=seed)

  def build() -> asmk.AsmkIndex:
    codebook = given.keep(f"codebook {kind} {num_words} {seed}", train)
    return asmk.build_index(codebook, given.descriptors(kind), config)

  made_with = f"{config.binary} {config.use_idf}"
  index = given.keep(f"asmk {kind} {num_words} {seed} {made_with}", build)
  return dataclasses.replace(index, config=config)


def l2g() -> System:
  """The method as the flags say."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    return _l2g(given, watch, given.found, given.lists, given.index_bytes)

  return System("l2g", "local search", run)


def paper() -> System:
  """The method as the paper has it, as far as that is known."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    given = given.paper
    return _l2g(given, watch, given.found, given.lists, given.index_bytes)

  return System("l2g, paper's recipe", "local search", run)


def l2g_by(similarity: PairSimilarity) -> System:
  """The method with another similarity in place of Chamfer's."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    queries, images = given.described_queries, given.images
    with watch.measure(ONCE):
      lists = pair_similarity.open_or_make_lists(similarity, given.collection, images)
    with watch.measure(QUERIES):
      found = pair_similarity.compare_candidates(similarity, given.found, queries, images)
    return _l2g(given, watch, found, lists, given.index_bytes + given.feature_bytes)

  settings: Mapping[str, Any] = {
    **similarity.settings,
    "depth": similarity.depth,
    "list_depth": similarity.list_depth,
  }
  return System(f"l2g by {similarity.name}", "local search", run, settings)


def _l2g(
  given: Material, watch: Stopwatch, found: Ranked, lists: Ranked, search_bytes: float
) -> Outcome:
  method = given.retriever.method
  placed = method.place(lists, given.features.database)
  with watch.measure(QUERIES):
    (result,) = method.rank(placed, found, given.features.queries, show_progress=True)
  list_bytes = sum(array.nbytes for array in lists) / given.num_images
  num_bytes = search_bytes + list_bytes + given.global_bytes
  return Outcome(result.rankings, num_bytes, method.weight)

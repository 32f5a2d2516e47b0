"""The systems that match local features: spatial verification, ASMK, and L2G."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.comparison.material import Material
from experiments.comparison.system import ONCE, QUERIES, Outcome, System
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import asmk, spatial
from l2g_jax.retriever import pair_similarity
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
    scores = np.zeros((given.num_queries, given.num_images))
    num_bytes = 0.0
    for number in range(len(given.collection.kinds)):
      with watch.measure(ONCE):
        index = _asmk_index(given, number, config, num_words, seed)
      with watch.measure(QUERIES):
        for row, query in enumerate(track(given.queries.descriptors, "ASMK", unit="queries")):
          scores[row] += asmk.score(index, query[number])
      num_bytes += index.nbytes / given.num_images
    return Outcome(np.argsort(-scores, axis=1, kind="stable").astype(np.int32), num_bytes)

  settings = {**dataclasses.asdict(config), "num_words": num_words, "seed": seed}
  return System("asmk" if config.binary else "asmk float", None, run, settings)


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

"""The systems that match local features: spatial verification, ASMK, and L2G."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.comparison.system import ONCE, QUERIES, Outcome, System
from experiments.material import Material
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import spatial
from l2g_jax.retriever import asmk_search, pair_similarity
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.pair_similarity import PairSimilarity
from l2g_jax.runtime.stopwatch import Stopwatch


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


def asmk_by(options: AsmkSearch) -> System:
  """ASMK with a codebook learned from the collection itself; several kinds add their scores."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(ONCE):
      searched = asmk_search.open_or_build(options, given.collection, given.images)
    with watch.measure(QUERIES):
      found = searched.search(given.queries.descriptors, given.num_images)
    return Outcome(given.complete(found.ids), searched.bytes_an_image)

  name = "asmk" if options.config.binary else "asmk float"
  return System(name, None, run, dataclasses.asdict(options))


def l2g_by_asmk(options: AsmkSearch) -> System:
  """The method with ASMK in place of the local search, for queries and for lists."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(ONCE):
      searched = asmk_search.open_or_build(options, given.collection, given.images)
      lists = asmk_search.open_or_make_lists(searched, given.collection, given.images)
    with watch.measure(QUERIES):
      found = searched.search(given.queries.descriptors, given.found.ids.shape[1])
    return _l2g(given, watch, found, lists, searched.bytes_an_image)

  name = "l2g by asmk" if options.config.binary else "l2g by asmk float"
  return System(name, None, run, dataclasses.asdict(options))


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

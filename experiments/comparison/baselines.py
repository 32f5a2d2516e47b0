"""The baselines by global features or by neighbour lists: expansion, diffusion, reciprocity."""

from typing import Any, Literal

from experiments.comparison.system import ONCE, QUERIES, Outcome, System
from experiments.material import Base, Material
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import diffusion, expansion, global_search, reciprocal
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.graph import rank_by_scores
from l2g_jax.runtime.stopwatch import Stopwatch

# By which similarities a baseline ranks.
Source = Literal["global", "chamfer"]
_BASES: dict[Source, Base] = {"global": "global search", "chamfer": "local search"}


def by_global() -> System:
  """Ranks by global features alone."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    return Outcome(given.by_global, given.global_bytes)

  return System("global", "global search", run)


def global_rerank(**settings: Any) -> System:
  """SuperGlobal's re-ranking of global features; see `rerank_by_global`."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      rankings = global_search.rerank_by_global(given.features, given.by_global, **settings)
    return Outcome(rankings, given.global_bytes)

  return System("global+rerank", "global search", run, settings)


def chamfer() -> System:
  """Ranks by the local search alone."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    return Outcome(given.complete(given.found.ids), given.index_bytes)

  return System("chamfer", "local search", run)


def expanded(source: Source, *, augmented: bool, **settings: Any) -> System:
  """Alpha query expansion, and with `augmented` that of the database too; see `expansion`."""
  name = f"{source}+dba+aqe" if augmented else f"{source}+aqe"

  def run_global(given: Material, watch: Stopwatch) -> Outcome:
    features = given.features
    if augmented:
      lists = given.lists_by_global
      with watch.measure(ONCE):
        database = expansion.augment_database(features.database, lists, **settings)
      features = GlobalFeatures(features.queries, database)
    with watch.measure(QUERIES):
      rankings = global_search.rank_by_global(features) if augmented else given.by_global
      queries = expansion.expand_queries(features, rankings, **settings)
      rankings = global_search.rank_by_global(GlobalFeatures(queries, features.database))
    return Outcome(rankings, given.global_bytes)

  def run_local(given: Material, watch: Stopwatch) -> Outcome:
    with watch.measure(QUERIES):
      scores = expansion.expand_similarities(
        given.found,
        given.lists,
        num_augmented=settings.get("num_neighbors", expansion.NUM_NEIGHBORS) if augmented else 0,
        **settings,
      )
      rankings = rank_by_scores(given.found, scores)
    return Outcome(rankings, given.index_bytes + given.list_bytes)

  return System(name, _BASES[source], run_global if source == "global" else run_local, settings)


def diffused(source: Source, **settings: Any) -> System:
  """Diffusion on the graph of mutual neighbours, solved for each query; see `diffusion`."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    found, lists, num_bytes = _graph(given, source)
    with watch.measure(QUERIES):
      diffused = diffusion.diffuse(found, lists, **settings)
      rankings = rank_by_scores(found, diffused.scores)
    return Outcome(rankings, num_bytes)

  return System(f"{source}+diffusion", _BASES[source], run, settings)


def diffused_offline(source: Source, *, length: int = 1000, **settings: Any) -> System:
  """The same with the columns of the inverse made offline; see `make_diffusion_columns`."""
  offline = {name: value for name, value in settings.items() if name != "num_query_neighbors"}

  def run(given: Material, watch: Stopwatch) -> Outcome:
    found, lists, _ = _graph(given, source)
    with watch.measure(ONCE):
      columns = diffusion.make_diffusion_columns(
        lists, length=min(length, given.num_images), **offline
      )
    online = {name: settings[name] for name in ("num_query_neighbors", "gamma") if name in settings}
    with watch.measure(QUERIES):
      scores = diffusion.diffuse_by_columns(found, columns.images, **online)
      rankings = rank_by_scores(found, scores)
    search_bytes = given.global_bytes if source == "global" else given.index_bytes
    column_bytes = sum(array.nbytes for array in columns.images) / given.num_images
    return Outcome(rankings, search_bytes + column_bytes)

  settings = {"length": length, **settings}
  return System(f"{source}+diffusion offline", _BASES[source], run, settings)


def reciprocated(source: Source, **settings: Any) -> System:
  """K-reciprocal re-ranking of the candidates; see `reciprocal`."""

  def run(given: Material, watch: Stopwatch) -> Outcome:
    num_reranked = given.found.ids.shape[1]
    if source == "global":
      with watch.measure(QUERIES):
        rankings = reciprocal.rerank_global_by_reciprocal(
          given.features, given.by_global, num_reranked=num_reranked, **settings
        )
      return Outcome(rankings, given.global_bytes)
    with watch.measure(QUERIES):
      rankings = reciprocal.rank_by_reciprocal(given.found, given.lists, **settings)
    return Outcome(rankings, given.index_bytes + given.list_bytes)

  return System(f"{source}+k-reciprocal", _BASES[source], run, settings)


def _graph(given: Material, source: Source) -> tuple[Ranked, Ranked, float]:
  """Returns candidates, lists, and the bytes an image of both."""
  if source == "global":
    return given.found_by_global, given.lists_by_global, given.global_bytes + given.list_bytes
  return given.found, given.lists, given.index_bytes + given.list_bytes

"""An index and its peers on one collection, at the same evaluations."""

import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.similarities import peers, trees
from experiments.similarities.sources import Source
from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkConfig, LandmarkIndex, storage
from l2g_jax.landmarks.scale import Range, range_of
from l2g_jax.runtime import files

# Of the nearest, how many are counted.
DEPTHS = (10, 100)
_PEERS: Sequence[Callable[[peers.Profiles], peers.Scored]] = (
  peers.raw_profiles,
  peers.landmark_scaling,
  peers.nystrom,
  peers.fastmap,
)
# A graph is made where N is at most this, with so many neighbours: the most that keep the budget.
MOST_GRAPH = 20_000
_GRAPHS = (5, 10, 15, 20, 30)
# Items that are compared to further landmarks at a time.
_ROWS = 512


def truth_of(source: Source, folder: pathlib.Path) -> np.ndarray:
  """Returns the similarity of every query to every item, `[Q, N]`, kept in a folder."""
  path = folder / "truth.npy"
  if not path.is_file():
    found = np.concatenate(
      [
        source.compare(np.asarray([source.num_items + row]), np.arange(source.num_items))
        for row in range(source.num_queries)
      ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
      np.save(file, found)
  return np.load(path)


def measure(
  source: Source,
  data: pathlib.Path,
  folder: pathlib.Path,
  config: LandmarkConfig,
  budgets: Sequence[int],
  refine: int,
) -> dict[str, Any]:
  """Measures the index and every peer; a JSON object.

  Args:
    source: the collection.
    data: a folder for what does not depend on the index.
    folder: where the index is kept.
    config: of the index.
    budgets: evaluations a query.
    refine: neighbours by which items are placed again; 0 = they are not.
  """
  truth = truth_of(source, data)
  number, size = source.num_items, min(config.num_landmarks, source.num_items)

  def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # Those of queries are known: the seconds of a search are then those beside the similarity.
    if first.min() >= number:
      return truth[np.ix_(first - number, second)]
    return source.compare(first, second)

  start = time.perf_counter()
  queries = np.arange(number, number + source.num_queries)
  index = LandmarkIndex.build(folder / "index", np.arange(number), similarity, config)
  built = time.perf_counter() - start
  if refine:
    index.refine(refine)
  rows, sweeps = [], []
  for budget in budgets:
    start = time.perf_counter()
    found = index.search(queries, k=DEPTHS[-1], num_evaluations=budget)
    seconds = (time.perf_counter() - start) / len(queries)
    scored = [ids[ids >= 0] for ids in found.ids]
    figures = _figures(source, truth, scored)
    rows.append({"method": "landmark index", "evaluations": budget, **figures, "seconds": seconds})
  frame, state = index.frame, index.state
  chosen = (
    f"m={frame.anchors.shape[1]}, p={frame.power:g}, {frame.weighting}, mixing {frame.mixing:.2g}"
  )
  for row in rows:
    row |= {"settings": chosen, "an item": state.evaluations / number}
  given, landmarks = _profiles(folder / "index", state, truth)
  # Peers may spend what the index spends on an item: on further landmarks.
  choices = [(given, landmarks)]
  if config.num_neighbors and size + config.num_neighbors < max(budgets):
    choices.append(_with_more(source, given, landmarks, truth, config))
  for method in _PEERS:
    best: dict[int, dict[str, Any]] = {}
    for profiles, chosen in choices:
      for name, text, scores in method(profiles):
        for budget in budgets:
          if budget <= len(chosen):
            continue
          ids = _shortlists(scores, chosen, budget)
          row = {"method": name, "settings": f"{text}, {len(chosen)} landmarks"}
          row |= {"evaluations": budget, **_figures(source, truth, ids), "an item": len(chosen)}
          sweeps.append(row)
          if budget not in best or row["recall 10"] > best[budget]["recall 10"]:
            best[budget] = row
    rows += best.values()
  rows += _own(source, truth, budgets, config.seed)
  rows += _graph(source, truth, budgets, size + config.num_neighbors, config.seed)
  everything = [np.arange(number)] * source.num_queries
  rows.append(
    {"method": "brute force", "settings": "", "evaluations": number, "an item": 0.0}
    | _figures(source, truth, everything)
  )
  return {
    "source": source.name,
    "items": number,
    "landmarks": size,
    "rows": rows,
    "sweeps": sweeps,
    "stress": state.stress,
    "build seconds": built,
    "intrinsic dimension": intrinsic_dimension(given),
    "asymmetry": _asymmetry(folder / "index"),
  }


def intrinsic_dimension(given: peers.Profiles) -> float:
  """Returns mean^2 / (2 variance) of the dissimilarities of landmarks (Chavez and others, 2001)."""
  apart = 1.0 - given.landmarks[np.triu_indices(len(given.landmarks), 1)]
  return float(apart.mean() ** 2 / max(2.0 * apart.var(), 1e-12))


def _own(source: Source, truth: np.ndarray, budgets: Sequence[int], seed: int) -> Iterator[Any]:
  """Yields the rows of peers that choose pairs themselves, and of chance."""
  number, rng = source.num_items, np.random.default_rng(seed)
  high = float(truth.max())
  root, count = trees.vantage_tree(source, high, seed=seed)
  for budget in budgets:
    ids = [trees.search_tree(root, values, high, budget) for values in truth]
    row = {"method": "vantage-point tree", "settings": "best first", "evaluations": budget}
    yield {**row, **_figures(source, truth, ids), "an item": count / number}
  for budget in budgets:
    ids = [rng.choice(number, min(number, budget), replace=False) for _ in truth]
    row = {"method": "chance", "settings": "", "evaluations": budget, "an item": 0.0}
    yield {**row, **_figures(source, truth, ids)}


def _graph(
  source: Source, truth: np.ndarray, budgets: Sequence[int], most: int, seed: int
) -> Iterator[Any]:
  """Yields the rows of pynndescent, whose graph may cost about `most` evaluations an item."""
  number = source.num_items
  if source.metric is None or source.rows is None or number > MOST_GRAPH:
    return
  best = None
  try:
    for size in _GRAPHS:
      graph, count = trees.descent_graph(
        source.rows[:number], source.metric, num_neighbors=size, seed=seed
      )
      if best is not None and count > most * number:
        break
      best = trees.both_ways(graph), size, count / number
  except InputError as error:
    print(error)
  if best is None:
    return
  for budget in budgets:
    ids = [trees.search_graph(best[0], values, budget, seed=seed) for values in truth]
    row = {"method": "pynndescent", "settings": f"{best[1]} neighbours", "evaluations": budget}
    yield {**row, **_figures(source, truth, ids), "an item": best[2]}


def _with_more(
  source: Source,
  given: peers.Profiles,
  landmarks: np.ndarray,
  truth: np.ndarray,
  config: LandmarkConfig,
) -> tuple[peers.Profiles, np.ndarray]:
  """Adds as many landmarks as the index compares each item to others."""
  rest = np.setdiff1d(np.arange(source.num_items), landmarks)
  rng = np.random.default_rng([config.seed, 3])
  more = np.sort(rng.choice(rest, config.num_neighbors, replace=False))
  found = np.concatenate(
    [
      source.compare(np.arange(start, min(start + _ROWS, source.num_items)), more)
      for start in range(0, source.num_items, _ROWS)
    ]
  )
  limits = range_of(found[more])
  shares = np.concatenate([given.items, limits.shares(found)], axis=1)
  everything = np.concatenate([landmarks, more])
  own = shares[everything]
  queries = np.concatenate([given.queries, limits.shares(truth[:, more])], axis=1)
  return peers.Profiles(0.5 * (own + own.T), shares, queries), everything


def _profiles(
  root: pathlib.Path, state: storage.State, truth: np.ndarray
) -> tuple[peers.Profiles, np.ndarray]:
  """Returns the profiles of an index, and the positions of its landmarks."""
  kept = storage.read_landmarks(root)
  assert kept is not None
  landmarks = kept[0]
  parts = [storage.read_profile(root, part) for part in range(len(state.parts))]
  limits: Range = landmarks.range
  own = limits.shares(landmarks.similarities)
  items = np.concatenate([part for part in parts if part is not None]).astype(np.float32)
  queries = limits.shares(truth[:, landmarks.ids])
  return peers.Profiles(0.5 * (own + own.T), items, queries), landmarks.ids


def _asymmetry(root: pathlib.Path) -> float:
  """Returns the mean difference of both directions between landmarks, as a share of their range."""
  kept = storage.read_landmarks(root)
  assert kept is not None
  shares = kept[0].range.shares(kept[0].similarities)
  return float(np.abs(shares - shares.T).mean())


def _shortlists(scores: np.ndarray, landmarks: np.ndarray, budget: int) -> Sequence[np.ndarray]:
  """Returns what each query evaluates: the landmarks, then the best of the others."""
  scores = scores.copy()
  scores[:, landmarks] = -np.inf
  count = min(budget, scores.shape[1]) - len(landmarks)
  if count <= 0:
    return [landmarks] * len(scores)
  best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
  return [np.concatenate([landmarks, ids]) for ids in best]


def _figures(source: Source, truth: np.ndarray, scored: Sequence[np.ndarray]) -> dict[str, Any]:
  """Returns recall of the true nearest, and mAP in percent, of what was scored for each query.

  An item as similar as the last of the true ones counts as true.
  """
  figures: dict[str, Any] = {}
  for depth in DEPTHS:
    least = -np.partition(-truth, depth - 1, axis=1)[:, depth - 1]
    hits = [
      min(depth, int(np.sum(values[ids] >= bound)))
      for values, ids, bound in zip(truth, scored, least, strict=True)
    ]
    figures[f"recall {depth}"] = float(np.mean(hits)) / depth
  if source.relevant is not None:
    precisions = [
      _average_precision(values, ids, relevant)
      for values, ids, relevant in zip(truth, scored, source.relevant, strict=True)
      if len(relevant)
    ]
    figures["mAP"] = 100.0 * float(np.mean(precisions))
  return figures


def _average_precision(values: np.ndarray, ids: np.ndarray, relevant: np.ndarray) -> float:
  """Returns the mean precision at relevant items; those not among the best 100 scored have none."""
  order = ids[np.lexsort((ids, -values[ids]))][: DEPTHS[-1]]
  hits = np.isin(order, relevant)
  return float(np.sum(np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)) / len(relevant))

"""Peers that evaluate pairs of their own: a vantage-point tree, and a graph by pynndescent."""

import dataclasses
import heapq

import numpy as np

from experiments.similarities.metrics import Metric, counted
from experiments.similarities.sources import Source, module

_LEAF = 32
# Where the search of a graph begins.
_ENTRIES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
  """A node of a vantage-point tree.

  Attributes:
    items: of a leaf, else the vantage point alone.
    radius: the median dissimilarity to the vantage point.
    inside: the nearer half; None = the node is a leaf.
    outside: the farther half.
  """

  items: np.ndarray
  radius: float = 0.0
  inside: "Node | None" = None
  outside: "Node | None" = None


def vantage_tree(source: Source, high: float, *, seed: int) -> tuple[Node, int]:
  """Builds a tree on high - s (Yianilos, 1993); returns how many pairs it evaluated too."""
  rng = np.random.default_rng(seed)
  count = 0

  def make(ids: np.ndarray) -> Node:
    nonlocal count
    if len(ids) <= _LEAF:
      return Node(ids)
    vantage = int(rng.integers(len(ids)))
    rest = np.delete(ids, vantage)
    apart = high - source.compare(rest, ids[vantage : vantage + 1])[:, 0]
    count += len(rest)
    order = np.argsort(apart, kind="stable")
    half = len(rest) // 2
    near, far = rest[order[:half]], rest[order[half:]]
    return Node(ids[vantage : vantage + 1], float(apart[order[half]]), make(near), make(far))

  return make(np.arange(source.num_items)), count


def search_tree(root: Node, similarities: np.ndarray, high: float, most: int) -> np.ndarray:
  """Returns the first `most` items that a best-first search of a tree evaluates.

  Args:
    root: of the tree.
    similarities: `[N]`, of the query to items; read where the search evaluates one.
    high: the similarity of dissimilarity 0.
    most: pairs to evaluate.
  """
  queue = [(0.0, 0, root)]
  found: list[int] = []
  number = 0
  while queue and len(found) < most:
    bound, _, node = heapq.heappop(queue)
    found.extend(node.items.tolist())
    if node.inside is not None and node.outside is not None:
      apart = high - float(similarities[node.items[0]])
      for child, less in (
        (node.inside, apart - node.radius),
        (node.outside, node.radius - apart),
      ):
        number += 1
        heapq.heappush(queue, (max(bound, less), number, child))
  return np.asarray(found[:most])


def descent_graph(
  rows: np.ndarray, metric: Metric, *, num_neighbors: int, seed: int
) -> tuple[np.ndarray, int]:
  """Makes a graph by pynndescent.

  Args:
    rows: `[N, w]` float32.
    metric: of two rows.
    num_neighbors: k.
    seed: of the random choices.

  Returns:
    Neighbours `[N, k]`, and how many pairs were evaluated.
  """
  neighbors = module("pynndescent", "pynndescent")
  index = neighbors.NNDescent(
    np.pad(rows, ((0, 0), (0, 1))),
    metric=counted(metric),
    n_neighbors=num_neighbors,
    random_state=seed,
    n_jobs=1,
  )
  return index.neighbor_graph[0], int(index._raw_data[:, -1].astype(np.float64).sum())


def both_ways(graph: np.ndarray) -> list[np.ndarray]:
  """Returns the neighbours of each item in either direction."""
  sources = np.repeat(np.arange(len(graph)), graph.shape[1])
  ends = graph.ravel()
  starts, others = np.concatenate([sources, ends]), np.concatenate([ends, sources])
  order = np.argsort(starts, kind="stable")
  bounds = np.searchsorted(starts[order], np.arange(len(graph) + 1))
  return [np.unique(others[order[bounds[i] : bounds[i + 1]]]) for i in range(len(graph))]


def search_graph(
  neighbors: list[np.ndarray], similarities: np.ndarray, most: int, *, seed: int
) -> np.ndarray:
  """Returns the first `most` items that a best-first walk on a graph evaluates."""
  rng = np.random.default_rng(seed)
  seen = np.zeros(len(neighbors), bool)
  found: list[int] = []
  queue: list[tuple[float, int]] = []

  def visit(items: np.ndarray) -> None:
    for item in items.tolist():
      if not seen[item] and len(found) < most:
        seen[item] = True
        found.append(item)
        heapq.heappush(queue, (-float(similarities[item]), item))

  visit(rng.choice(len(neighbors), min(len(neighbors), _ENTRIES), replace=False))
  while len(found) < most:
    if queue:
      visit(neighbors[heapq.heappop(queue)[1]])
    else:
      visit(rng.permutation(len(neighbors)))
  return np.asarray(found)

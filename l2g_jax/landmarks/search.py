"""A query placed by the landmarks, and the items around it scored by the true similarity."""

import dataclasses

import jax
import numpy as np

from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.frame import Frame, place_again, place_among, vectors
from l2g_jax.landmarks.nearest import nearest
from l2g_jax.landmarks.scale import Range

# Queries placed at a time.
_QUERIES = 16
# After each such share of its shortlist a query is placed anew, by what was evaluated meanwhile.
_ROUNDS = 10
_LEAST_STEP = 4


@dataclasses.dataclass(frozen=True)
class Found:
  """The most similar items of several queries.

  Attributes:
    ids: `[Q, k]` int64, positions in the collection, best first; -1 pads.
    similarities: `[Q, k]` float32, true ones, of the query to each; 0 pads.
    evaluations: `[Q]` int64, pairs that were evaluated for each query.
  """

  ids: np.ndarray
  similarities: np.ndarray
  evaluations: np.ndarray


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Space:
  """All that a search reads.

  Attributes:
    landmarks: `[L]` int64, positions of the landmarks.
    range: of the similarity.
    frame: the landmarks in space.
    points: `[N, m]` float32, on the host.
    vectors: `[N, .]` float32, on the device: what nearest items are sought by, see `vectors`.
    alive: `[N]` bool, False = removed.
  """

  landmarks: np.ndarray
  range: Range
  frame: Frame
  points: np.ndarray
  vectors: jax.Array
  alive: np.ndarray


def search(
  space: Space,
  items: Items,
  queries: Items,
  compare: Comparison,
  *,
  k: int,
  num_scored: int,
) -> Found:
  """Finds the most similar items of each query.

  Args:
    space: where the items are.
    items: N items.
    queries: Q queries.
    compare: evaluates pairs.
    k: of the result.
    num_scored: items that are scored beside the landmarks, which are scored already.

  Returns:
    What was `Found`.
  """
  ids = np.full((len(queries), k), -1, np.int64)
  similarities = np.zeros((len(queries), k), np.float32)
  others = space.alive.copy()
  others[space.landmarks] = False
  num_scored = min(num_scored, int(others.sum()))
  landmarks = select(items, space.landmarks)
  for start in range(0, len(queries), _QUERIES):
    block = queries[start : start + _QUERIES]
    known = compare(block, landmarks, second_ids=space.landmarks, first_query=start)
    scored, found = _score(space, items, block, compare, known, others, num_scored, start)
    alive = space.alive[space.landmarks]
    for row in range(len(block)):
      some = np.concatenate([space.landmarks[alive], scored[row]])
      values = np.concatenate([known[row, alive], found[row]])
      order = np.lexsort((some, -values))[:k]
      ids[start + row, : len(order)] = some[order]
      similarities[start + row, : len(order)] = values[order]
  evaluations = np.full(len(queries), len(space.landmarks) + num_scored, np.int64)
  return Found(ids, similarities, evaluations)


def _score(
  space: Space,
  items: Items,
  queries: Items,
  compare: Comparison,
  known: np.ndarray,
  others: np.ndarray,
  num_scored: int,
  first_query: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Scores what is nearest to each query, and places the query again as scores come in.

  Returns:
    ids `[B, num_scored]` and similarities `[B, num_scored]`.
  """
  shares = space.range.shares(known)
  size = len(queries)
  scored = np.zeros((size, num_scored), np.int64)
  found = np.zeros((size, num_scored), np.float32)
  if not num_scored:
    return scored, found
  points = place_among(space.frame, shares).points
  # Where all are scored, no order is better than another.
  rounds = 1 if num_scored == int(others.sum()) else _ROUNDS
  step = max(_LEAST_STEP, -(-num_scored // rounds))
  seen = np.tile(~others, (size, 1))
  for start in range(0, num_scored, step):
    stop = min(start + step, num_scored)
    if start:
      count = np.broadcast_to(np.arange(num_scored) < start, scored.shape)
      points = place_again(
        space.frame,
        points,
        shares,
        space.points[scored],
        space.range.shares(found),
        count,
      )
    new = nearest(vectors(space.frame, points, shares), space.vectors, stop - start, seen)
    scored[:, start:stop] = new
    np.put_along_axis(seen, new, True, axis=1)
    for row in range(size):
      found[row, start:stop] = compare(
        queries[row : row + 1],
        select(items, new[row]),
        second_ids=new[row],
        first_query=first_query + row,
      )[0]
  return scored, found

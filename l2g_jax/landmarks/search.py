"""A query placed by the landmarks, and items scored: those around it, and those they lead to."""

import dataclasses

import numpy as np

from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.frame import place_again, place_among, vectors
from l2g_jax.landmarks.graph import follow, spread
from l2g_jax.landmarks.nearest import nearest
from l2g_jax.landmarks.space import Space

# Queries placed at a time.
_QUERIES = 16
# After each such share of what it scores a query is placed anew.
_ROUNDS = 20
_LEAST_STEP = 4
# Items near in space, of which some are chosen, in multiples of them.
_SPARE = 4
# The space and the links bring at least this share of a round each.
_LEAST_SHARE = 0.1
# What counts for the next round: items among the best k, or so many, with rounds before at half.
_BEST = 10
_DECAY = 0.5


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
  num_scored = min(num_scored, int(space.others.sum()))
  chosen = space.landmarks.ids
  landmarks, alive = select(items, chosen), space.alive[chosen]
  for start in range(0, len(queries), _QUERIES):
    block = queries[start : start + _QUERIES]
    known = compare(block, landmarks, second_ids=chosen, first_query=start)
    scored, found = _score(space, items, block, compare, known, k, num_scored, start)
    for row in range(len(block)):
      some = np.concatenate([chosen[alive], scored[row]])
      values = np.concatenate([known[row, alive], found[row]])
      order = np.lexsort((some, -values))[:k]
      ids[start + row, : len(order)] = some[order]
      similarities[start + row, : len(order)] = values[order]
  evaluations = np.full(len(queries), len(chosen) + num_scored, np.int64)
  return Found(ids, similarities, evaluations)


def _score(
  space: Space,
  items: Items,
  queries: Items,
  compare: Comparison,
  known: np.ndarray,
  k: int,
  num_scored: int,
  first_query: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Scores what is nearest to each query and what the best lead to, in rounds.

  After each round the query is placed again, and whichever of both brought more of the best gives
  more of the next. What a poor one leads to waits.

  Returns:
    ids `[B, num_scored]` and similarities `[B, num_scored]`.
  """
  shares = space.range.shares(known)
  size, chosen = len(queries), space.landmarks.ids
  scored = np.zeros((size, num_scored), np.int64)
  found = np.zeros((size, num_scored), np.float32)
  if not num_scored:
    return scored, found
  points = place_among(space.frame, shares).points
  # Where all are scored, no order is better than another.
  rounds = 1 if num_scored == int(space.others.sum()) else _ROUNDS
  step = max(_LEAST_STEP, -(-num_scored // rounds))
  seen = np.tile(~space.others, (size, 1))
  tallies = [_Tally() for _ in range(size)]
  for start in range(0, num_scored, step):
    stop = min(start + step, num_scored)
    if start:
      done = np.broadcast_to(np.arange(num_scored) < start, scored.shape)
      points = place_again(
        space.frame,
        points,
        shares,
        space.points[scored],
        space.range.shares(found),
        done,
      )
    count = min(_SPARE * (stop - start), int(space.others.sum()) - start)
    near = nearest(vectors(space.frame, points, shares), space.vectors, count, seen)
    for row, tally in enumerate(tallies):
      ids = np.concatenate([chosen, scored[row, :start]])
      values = np.concatenate([known[row], found[row, :start]])
      best = ids[np.lexsort((ids, -values))]
      linked = follow(space.links, best, seen[row], tally.count(stop - start))
      best = best[: max(k, _BEST)]
      worse = scored[row, :start][~np.isin(scored[row, :start], best)]
      rest = near[row][~np.isin(near[row], linked)]
      rest = spread(space.links, rest, worse, stop - start - len(linked))
      new = np.concatenate([linked, rest])
      scored[row, start:stop] = new
      seen[row, new] = True
      found[row, start:stop] = compare(
        queries[row : row + 1],
        select(items, new),
        second_ids=new,
        first_query=first_query + row,
      )[0]
      tally.take(found[row, :stop], start, len(linked), max(k, _BEST))
  return scored, found


class _Tally:
  """How many of the best items came by links, and how many by the space."""

  def __init__(self):
    self._hits, self._counts = np.zeros(2), np.zeros(2)

  def count(self, step: int) -> int:
    """Returns how many of the next `step` items should come by links."""
    rates = (self._hits + 1.0) / (self._counts + 2.0)
    return round(step * float(np.clip(rates[0] / rates.sum(), _LEAST_SHARE, 1.0 - _LEAST_SHARE)))

  def take(self, values: np.ndarray, start: int, num_linked: int, best: int) -> None:
    """Counts which new ones are among the best.

    Args:
      values: similarities of all that were scored.
      start: the first new one; those by links come first.
      num_linked: new ones by links.
      best: how many are the best.
    """
    least = np.sort(values)[-best:][0]
    hits = values[start:] >= least
    new = np.asarray([num_linked, len(hits) - num_linked])
    self._hits = _DECAY * self._hits + [hits[:num_linked].sum(), hits[num_linked:].sum()]
    self._counts = _DECAY * self._counts + new

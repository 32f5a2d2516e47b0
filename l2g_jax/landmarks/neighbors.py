"""Items compared to those that seem near, in rounds: by the space first, then by each other's."""

import numpy as np

from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.graph import Near, follow
from l2g_jax.landmarks.space import Space

# Landmarks that stand in the list of an item before it is compared to others.
_LANDMARKS = 8
# Items that are looked for at a time.
_BLOCK = 256


def plan(num_neighbors: int) -> tuple[int, ...]:
  """Returns how many items each item is compared to in each round."""
  half, quarter = num_neighbors // 2, num_neighbors // 4
  return tuple(count for count in (num_neighbors - half, half - quarter, quarter) if count)


def near_landmarks(shares: np.ndarray, landmarks: np.ndarray) -> Near:
  """Lists the landmarks to which items are most alike.

  Args:
    shares: `[n, L]` in [0, 1], how alike items are to landmarks.
    landmarks: `[L]`, their positions.
  """
  return Near.best(np.broadcast_to(landmarks, shares.shape), shares, _LANDMARKS)


def compare_part(
  space: Space,
  near: Near,
  items: Items,
  compare: Comparison,
  span: tuple[int, int],
  count: int,
  candidates: np.ndarray | None = None,
) -> Near:
  """Compares the items of a part to some that they were not compared to.

  Args:
    space: of the items, as the last round left it.
    near: what items were compared to so far, this round included.
    items: N items.
    compare: evaluates pairs.
    span: the first item, and that behind the last one.
    count: of further items for each item, at most; landmarks, which all were compared to, and
      removed items get none.
    candidates: `[n, c]`, items to choose from, best first, -1 pads; None = those that the links
      lead to.

  Returns:
    The lists of the part.
  """
  size = span[1] - span[0]
  ids = np.full((size, count), -1, np.int64)
  shares = np.full((size, count), -1.0, np.float32)
  for start in range(span[0], span[1], _BLOCK):
    stop = min(start + _BLOCK, span[1])
    seen = _compared(space, near, start, stop)
    rows = np.arange(start, stop)
    for row in rows[space.others[rows]]:
      mask = seen[row - start]
      if candidates is None:
        links = space.links[row]
        found = follow(space.links, links[links >= 0], mask, count)
      else:
        found = candidates[row - span[0]]
        found = found[(found >= 0) & ~mask[found]][:count]
      if not len(found):
        continue
      # The same pair is not compared from the other side.
      seen[found[(found >= start) & (found < stop)] - start, row] = True
      values = compare(
        select(items, row[None]), select(items, found), first_ids=row[None], second_ids=found
      )
      ids[row - span[0], : len(found)] = found
      shares[row - span[0], : len(found)] = space.range.shares(values)[0]
  return near.rows(*span).with_more(ids, shares)


def _compared(space: Space, near: Near, start: int, stop: int) -> np.ndarray:
  """Returns which items need no comparison with items from `start` to `stop`, `[n, N]` bool."""
  rows = np.arange(stop - start)
  seen = np.tile(~space.others, (len(rows), 1))
  seen[rows, rows + start] = True
  own = near.ids[start:stop]
  named = np.nonzero(own >= 0)
  seen[named[0], own[named]] = True
  lists, named, _ = near.naming(start, stop)
  seen[named - start, lists] = True
  return seen

"""What each item was compared to, and walks along the most alike."""

import dataclasses

import numpy as np

# Items that one item leads to, in both directions.
_LINKS = 32
# Of its list, an item gives so many.
_GIVEN = 32
# What an item leads to first is held to be like it.
_LIKE = 8
# Items that a walk goes on from at first.
_FOLLOWED = 64


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Near:
  """Items that items were compared to.

  Attributes:
    ids: `[n, R]` int32, positions, most alike first; -1 pads.
    shares: `[n, R]` float16 in [0, 1], how alike they are; -1 pads.
  """

  ids: np.ndarray
  shares: np.ndarray

  @classmethod
  def best(cls, ids: np.ndarray, shares: np.ndarray, most: int | None = None) -> "Near":
    """Sorts lists `[n, R]` by shares, of which a negative one pads, and keeps the first ones."""
    order = np.argsort(-shares, axis=1, kind="stable")[:, :most]
    return cls(
      np.take_along_axis(ids, order, axis=1).astype(np.int32),
      np.take_along_axis(shares, order, axis=1).astype(np.float16),
    )

  def with_more(self, ids: np.ndarray, shares: np.ndarray) -> "Near":
    """Returns lists that hold further items `[n, more]` as well, without columns of padding."""
    joined = Near.best(
      np.concatenate([self.ids, ids], axis=1), np.concatenate([self.shares, shares], axis=1)
    )
    used = int(np.sum(np.any(joined.ids >= 0, axis=0)))
    return Near(joined.ids[:, :used], joined.shares[:, :used])

  def with_room(self, more: int) -> "Near":
    """Returns a copy with as many further entries in each list, all padding."""
    room = ((0, 0), (0, more))
    return Near(
      np.pad(self.ids, room, constant_values=-1), np.pad(self.shares, room, constant_values=-1)
    )

  def put(self, start: int, lists: "Near") -> None:
    """Replaces the lists of the items from `start`."""
    rows, columns = slice(start, start + len(lists.ids)), slice(0, lists.ids.shape[1])
    self.ids[rows, columns], self.shares[rows, columns] = lists.ids, lists.shares

  def rows(self, start: int, stop: int) -> "Near":
    """Returns the lists of some items."""
    return Near(self.ids[start:stop], self.shares[start:stop])

  def naming(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the positions of lists that name items from `start` to `stop`, which, and shares."""
    rows, columns = np.nonzero((self.ids >= start) & (self.ids < stop))
    return rows, self.ids[rows, columns], self.shares[rows, columns]


def join(lists: list[Near]) -> Near:
  """Returns the lists of all parts, filled up to one length."""
  width = max(some.ids.shape[1] for some in lists)

  def filled(values: np.ndarray) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=-1)

  return Near(
    np.concatenate([filled(some.ids) for some in lists]),
    np.concatenate([filled(some.shares) for some in lists]),
  )


def links_of(near: Near, wanted: np.ndarray) -> np.ndarray:
  """Links items to those most alike, in either direction of a comparison.

  Args:
    near: of all N items.
    wanted: `[N]` bool, items that may be led to.

  Returns:
    `[N, K]` int32, most alike first; -1 pads.
  """
  number = len(near.ids)
  ids, shares = near.ids[:, :_GIVEN], near.shares[:, :_GIVEN]
  rows = np.broadcast_to(np.arange(number)[:, None], ids.shape)[ids >= 0]
  ends, values = ids[ids >= 0].astype(np.int64), shares[ids >= 0]
  starts, ends = np.concatenate([rows, ends]), np.concatenate([ends, rows])
  values = np.concatenate([values, values])
  # A pair that was compared both ways counts once.
  _, first = np.unique(starts * number + ends, return_index=True)
  first = first[wanted[ends[first]]]
  starts, ends, values = starts[first], ends[first], values[first]
  # Sorted by starts and ends: a stable sort keeps ties by position.
  order = np.argsort(-values, kind="stable")
  order = order[np.argsort(starts[order], kind="stable")]
  starts, ends = starts[order], ends[order]
  ranks = np.arange(len(starts)) - np.searchsorted(starts, starts)
  links = np.full((number, _LINKS), -1, np.int32)
  kept = ranks < _LINKS
  links[starts[kept], ranks[kept]] = ends[kept]
  return links


def follow(links: np.ndarray, best: np.ndarray, seen: np.ndarray, count: int) -> np.ndarray:
  """Goes on from the best items to those that they lead to.

  What stands early in the list of an early item comes first, by the sum of both ranks.

  Args:
    links: `[N, K]`, see `links_of`.
    best: items, best first.
    seen: `[N]` bool, items that are not wanted.
    count: of the result, at most.

  Returns:
    Up to `count` items, each once.
  """
  followed = _FOLLOWED
  while True:
    found = links[best[:followed]]
    ranks = np.add.outer(np.arange(len(found)), np.arange(found.shape[1]))
    new = (found >= 0) & ~seen[found]
    found = found[new][np.argsort(ranks[new], kind="stable")]
    _, first = np.unique(found, return_index=True)
    if len(first) >= count or followed >= len(best):
      return found[np.sort(first)[:count]]
    followed *= 4


def spread(links: np.ndarray, ids: np.ndarray, poor: np.ndarray, count: int) -> np.ndarray:
  """Chooses the first items that are not like poor ones, nor like each other.

  Args:
    links: `[N, K]`, see `links_of`.
    ids: items, best first.
    poor: items that turned out poor.
    count: of the result, at most; filled up with items that were left out, in their order.

  Returns:
    Up to `count` items.
  """
  like = set(links[poor, :_LIKE].ravel().tolist())
  chosen: list[int] = []
  left: list[int] = []
  for item in ids.tolist():
    if len(chosen) >= count:
      break
    if item in like:
      left.append(item)
    else:
      chosen.append(item)
      like.update(links[item, :_LIKE].tolist())
  return np.asarray([*chosen, *left][:count], np.int64)

"""Neighbour lists carried from one state of an index to another, in proportion to the change.

The list of an image that stays needs no search: images that were removed leave it, the others move
up, and images that were added enter it where their similarity, which is computed exactly, puts
them. It then differs from a list that is made anew in two ways: it lacks as many images at its end
as left it, and an image that was added is missed where it was not compared, see `Repair.start`.

Measured on 700 images, of which 75 were removed a few at a time and 75 added: of the first 15
neighbours 99.99 % were those of lists made anew, of the first 64 98.1 %. Both kinds of lists hold
the same share of the exact neighbours, 95 %, since beyond the rescoring depth they are the scan's.
When added images were compared only with the 300 that they found, 99.6 % of them stood in the lists
where they belong among the first 15, 98 % among the first 64, 79 % among 300.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from l2g_jax.cann.scoring import Origins

# The share of changed images up to which lists are repaired. Beyond it, the added images are
# compared with so many others that making all lists anew takes no longer.
MOST_CHANGED = 0.125
# The share of a list's last entries that may be lost before its image is searched again.
MOST_LOST = 0.125
# Images that are compared with others together.
_OWNERS = 16
# Up to so many pairs, some seconds on two cores, all images that stay are compared with all new.
EXACT_PAIRS = 20_000
# Otherwise a new image is compared with those that it finds, at least so many.
LEAST_REACH = 512


# Computes the exact similarities `[images, ids]` of images of an index as queries.
Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rows:
  """Lists of some images.

  Attributes:
    ids: `[n, k]` int32, best first, ties by the smaller; -1 pads.
    similarities: `[n, k]` float32; 0 pads.
    lost: `[n]` int32, how many of a list's last places are unknown, of images that were removed.
  """

  ids: np.ndarray
  similarities: np.ndarray
  lost: np.ndarray

  def __getitem__(self, rows: slice | np.ndarray) -> "Rows":
    """Returns the lists of some of the images."""
    arrays = (self.ids, self.similarities, self.lost)
    return Rows(*(np.asarray(array[rows]) for array in arrays))


@dataclasses.dataclass(frozen=True)
class Change:
  """Which images one state of an index has in common with another.

  Attributes:
    rows: `[N]` int64, where each image of the new state was in the old; -1 = it is new.
    positions: `[N_old]` int64, where each image of the old state is now; -1 = it was removed.
  """

  rows: np.ndarray
  positions: np.ndarray

  @property
  def added(self) -> np.ndarray:
    """Returns the images of the new state that the old lacks, ascending."""
    return np.flatnonzero(self.rows < 0)

  @property
  def size(self) -> int:
    """Returns how many images were added or removed."""
    return int(np.sum(self.rows < 0) + np.sum(self.positions < 0))

  @property
  def is_small(self) -> bool:
    """Returns whether repairing lists takes less than making them anew."""
    return self.size <= MOST_CHANGED * len(self.rows)


def compare(before: Origins, after: Origins) -> Change:
  """Finds the images of one state of an index in another; an origin is one image's alone."""
  lengths: dict[str, int] = {}
  for checksum, first, count in [*before, *after]:
    lengths[checksum] = max(lengths.get(checksum, 0), first + count)
  starts = dict(zip(lengths, np.cumsum([0, *lengths.values()]).tolist(), strict=False))

  def places(runs: Origins) -> np.ndarray:
    blocks = [starts[checksum] + np.arange(first, first + n) for checksum, first, n in runs]
    return np.concatenate([np.zeros(0, np.int64), *blocks])

  def numbered(places: np.ndarray) -> np.ndarray:
    numbers = np.full(sum(lengths.values()), -1)
    numbers[places] = np.arange(len(places))
    return numbers

  old, new = places(before), places(after)
  return Change(rows=numbered(old)[new], positions=numbered(new)[old])


@dataclasses.dataclass(frozen=True)
class Repair:
  """Lists of an old state on their way to a new one.

  Attributes:
    compare: of the index in the new state.
    old: the lists of the old state, `[N_old, k_old]`.
    change: between the two.
    k: neighbours of an image in the new lists.
    found: the images that were added, as `owners` find them, `[m]`, sorted by owner; None = every
      image is compared with all that were added.
  """

  compare: Compare
  old: Rows
  change: Change
  k: int
  found: tuple[np.ndarray, np.ndarray] | None

  @classmethod
  def start(
    cls, compare: Compare, old: Rows, change: Change, k: int, added: Iterable[Rows]
  ) -> "Repair":
    """Decides which images are compared with those that were added.

    All of them where that is some seconds' work; else those that an added image's own search found.
    The two directions of a similarity differ, so that some are missed.

    Args:
      compare: of the index in the new state.
      old: the lists of the old state.
      change: between the two.
      k: neighbours of an image in the new lists.
      added: the lists of the images that were added, of `reach(k)` neighbours each.
    """
    numbers = change.added
    # Copies, since parts may be more than a process may open files.
    lists = [np.array(rows.ids) for rows in added]
    found = None
    if len(numbers) * (len(change.rows) - len(numbers)) > EXACT_PAIRS:
      owners = np.concatenate([ids.ravel() for ids in lists])
      images = np.repeat(numbers, [ids.shape[1] for ids in lists for _ in ids])
      order = np.argsort(owners, kind="stable")
      found = owners[order], images[order]
    return cls(compare, old, change, k, found)

  def lists(self, images: Sequence[int] | np.ndarray) -> tuple[Rows, np.ndarray]:
    """Repairs the lists of some images.

    Args:
      images: `[n]` of the new state.

    Returns:
      Their `Rows`, and `[n]` whether a list holds: it does not where the image was added, or where
      too much was lost, so that it must be searched.
    """
    images = np.asarray(images, np.int64)
    before = self.change.rows[images]
    old = self.old[np.maximum(before, 0)]
    positions = np.where(old.ids >= 0, self.change.positions[old.ids], -1)
    removed = (old.ids >= 0) & (positions < 0)
    lost = self._lost(old, np.sum(removed, axis=1))
    holds = (before >= 0) & (lost <= MOST_LOST * self.k)
    rows = empty_rows(len(images), self.k)
    for row, (more, exact) in self._compare(images, np.flatnonzero(holds)):
      stays = positions[row] >= 0
      ids = np.concatenate([positions[row, stays], more])
      values = np.concatenate([old.similarities[row, stays], exact])
      ids, values = ids[values > 0.0], values[values > 0.0]
      order = np.lexsort((ids, -values))[: self.k]
      rows.ids[row, : len(order)] = ids[order]
      rows.similarities[row, : len(order)] = values[order]
      rows.lost[row] = lost[row]
    return rows, holds

  def _compare(
    self, images: np.ndarray, rows: np.ndarray
  ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Yields, of some rows, the new images that a row's image is compared with, and how similar."""
    size = _OWNERS if self.found is None else 1
    for start in range(0, len(rows), size):
      some = rows[start : start + size]
      more = self._candidates(int(images[some[0]]))
      # To weigh the descriptors of an image takes longer than all else here.
      none = np.zeros((len(some), 0), np.float32)
      exact = self.compare(images[some], more) if len(more) else none
      yield from ((row, (more, values)) for row, values in zip(some.tolist(), exact, strict=True))

  def _lost(self, old: Rows, num_removed: np.ndarray) -> np.ndarray:
    """Returns how many of the last places of each list are unknown."""
    num_old, length = len(self.change.positions), old.ids.shape[1]
    # A list that ends before its length, or holds all images, has no images behind it.
    goes_on = (length < num_old - 1) & ((old.ids[:, -1] >= 0) | (old.lost > 0))
    lost = np.maximum(old.lost + num_removed - (length - self.k), 0)
    return np.where(goes_on, lost, 0).astype(np.int32)

  def _candidates(self, image: int) -> np.ndarray:
    """Returns the images that were added with which an image is compared."""
    if self.found is None:
      return self.change.added
    owners, images = self.found
    return images[slice(*np.searchsorted(owners, [image, image + 1]))]


def reach(k: int) -> int:
  """Returns how many images an image that was added is searched for, for lists of k."""
  return max(k, LEAST_REACH)


def serves(length: int, num_images: int, k: int) -> bool:
  """Returns whether lists of some length, of so many images, hold all that lists of k do."""
  return length >= min(k, num_images - 1)


def empty_rows(count: int, k: int) -> Rows:
  """Returns lists without images."""
  return Rows(
    ids=np.full((count, k), -1, np.int32),
    similarities=np.zeros((count, k), np.float32),
    lost=np.zeros(count, np.int32),
  )

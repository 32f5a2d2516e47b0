"""Ranked images: what a search finds, what a stored list holds, what a re-ranking is given."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from l2g_jax.errors import InputError

# Values that are checked at a time, so that no copy of a part is large.
CHECKED_VALUES = 1 << 22


@dataclasses.dataclass(frozen=True)
class Ranked:
  """The most similar images of one query `[k]`, or of several `[Q, k]`.

  The arrays may be memory-mapped, and are never copied here. Unpacks as `ids, similarities`.

  Attributes:
    ids: integer, positions in the collection, best first; -1 pads.
    similarities: floating, of the images to the query; 0 pads.
  """

  ids: np.ndarray
  similarities: np.ndarray

  def __iter__(self) -> Iterator[np.ndarray]:
    return iter((self.ids, self.similarities))


def check_ranked(name: str, ranked: Ranked, num_rows: int, num_images: int) -> None:
  """Refuses ranked images that do not fit a collection; reads them a few megabytes at a time.

  Args:
    name: what an error calls them, in the plural.
    ranked: `[num_rows, k]`.
    num_rows: how many rows they must have.
    num_images: N, the size of the collection that the ids belong to.

  Raises:
    InputError: the shapes do not fit, the ids are not integers from -1 to N - 1, or a similarity is
      below 0 or not finite.
  """
  ids, similarities = ranked
  if ids.ndim != 2 or ids.shape != similarities.shape or len(ids) != num_rows:
    raise InputError(
      f"The {name} must be ids and similarities [{num_rows}, k], not {ids.shape} and "
      f"{similarities.shape}."
    )
  if not np.issubdtype(ids.dtype, np.integer):
    raise InputError(f"The ids of the {name} must be integers, not {ids.dtype}.")
  step = max(1, CHECKED_VALUES // max(1, ids.shape[1]))
  for start in range(0, num_rows, step):
    some_ids, values = (array[start : start + step] for array in ranked)
    if some_ids.size and not (some_ids.min() >= -1 and some_ids.max() < num_images):
      raise InputError(f"The {name} hold an id outside -1 .. {num_images - 1}.")
    if not (np.all(np.isfinite(values)) and np.all(values >= 0.0)):
      raise InputError(f"The {name} hold a similarity that is below 0 or not finite.")


def complete_rankings(ids: np.ndarray, order: np.ndarray | None, num_images: int) -> np.ndarray:
  """Completes shortlists to permutations of the collection.

  Args:
    ids: `[Q, k]` integer, best first; -1 pads.
    order: `[Q, k]`, columns of the shortlist in a new order; None keeps the order.
    num_images: N.

  Returns:
    `[Q, N]` int32: the shortlist in its new order, then the other images by id.
  """
  shortlists = ids if order is None else np.take_along_axis(ids, order, axis=1)
  rankings = np.empty((len(ids), num_images), np.int32)
  for row, shortlist in enumerate(shortlists):
    ranked = shortlist[shortlist >= 0]
    missing = np.ones(num_images, bool)
    missing[ranked] = False
    rankings[row, : len(ranked)] = ranked
    rankings[row, len(ranked) :] = np.flatnonzero(missing)
  return rankings

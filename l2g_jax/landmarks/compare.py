"""The similarity that a user writes: called in batches, counted and checked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from l2g_jax.errors import InputError

# A list or an array, or whatever has a length, and an item at each position.
Items = Any
# Of items `[a]` and `[b]` to `[a, b]`.
Similarity = Callable[[Items, Items], Any]


def select(items: Items, ids: np.ndarray) -> Items:
  """Returns items by their positions: an array of an array, else a list."""
  if isinstance(items, np.ndarray):
    return items[ids]
  return [items[i] for i in ids.tolist()]


def appended(items: Items, new: Items) -> Items:
  """Returns items and new ones behind them: an array of two arrays, else a list."""
  if isinstance(items, np.ndarray) and isinstance(new, np.ndarray):
    return np.concatenate([items, new])
  return [*items, *new]


class Comparison:
  """Calls a similarity, and counts its evaluations.

  Attributes:
    evaluations: pairs that were evaluated so far.
  """

  def __init__(self, similarity: Similarity, batch_pairs: int):
    """Takes a similarity.

    Args:
      similarity: of two sequences of a and b items; returns real numbers `[a, b]`, larger where
        items are more alike. Items in the role of the query come first.
      batch_pairs: pairs of one call, about.
    """
    self._similarity, self._batch = similarity, batch_pairs
    self.evaluations = 0

  def __call__(
    self,
    first: Items,
    second: Items,
    *,
    first_ids: np.ndarray | None = None,
    second_ids: np.ndarray,
    first_query: int = 0,
  ) -> np.ndarray:
    """Evaluates all pairs.

    Args:
      first: a items in the role of the query.
      second: b items.
      first_ids: `[a]`, positions of the first, for errors; None = they are queries.
      second_ids: `[b]`, positions of the second.
      first_query: the number of the first query.

    Returns:
      `[a, b]` float32.

    Raises:
      InputError: the function returned another shape, no real numbers, or NaN or infinity.
    """
    columns = max(1, min(len(second), self._batch))
    rows = max(1, self._batch // columns)
    found = np.empty((len(first), len(second)), np.float32)
    for top in range(0, len(first), rows):
      for left in range(0, len(second), columns):
        some, others = first[top : top + rows], second[left : left + columns]
        values = np.asarray(self._similarity(some, others))
        self.evaluations += len(some) * len(others)
        if values.shape != (len(some), len(others)) or values.dtype.kind not in "biuf":
          raise InputError(
            f"The similarity of {len(some)} and {len(others)} items must be real numbers"
            f" {(len(some), len(others))}, not {values.dtype} {values.shape}."
          )
        with np.errstate(over="ignore"):
          found[top : top + rows, left : left + columns] = values
        bad = np.argwhere(~np.isfinite(found[top : top + rows, left : left + columns]))
        if len(bad):
          row, column = top + bad[0, 0], left + bad[0, 1]
          name = f"query {first_query + row}" if first_ids is None else f"item {first_ids[row]}"
          raise InputError(
            f"The similarity of {name} to item {second_ids[column]} is {values[tuple(bad[0])]}: it"
            " must be a finite number, such as the least one where they have nothing in common."
          )
    return found

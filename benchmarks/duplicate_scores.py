"""Recall by kind of change, and precision, of pairs that a method says are of one picture."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from benchmarks.common import Row
from benchmarks.made_duplicates import KINDS, Kind, Made

Names = frozenset[str]


@dataclasses.dataclass(frozen=True)
class Truth:
  """Which pairs are of one picture.

  Attributes:
    kinds: how one of a pair was made of the other.
    sources: of made pictures, what they show: of pairs that share some, and are not in `kinds`,
      nobody can say whether they count.
  """

  kinds: Mapping[Names, Kind]
  sources: Mapping[str, frozenset[str]]

  @classmethod
  def of(cls, made: Made) -> "Truth":
    """Returns the truth of a made folder."""
    kinds: dict[Names, Kind] = {
      frozenset(pair): kind for kind in KINDS for pair in made.pairs[kind]
    }
    return cls(kinds, {name: frozenset(own) for name, own in made.sources.items()})

  def is_wrong(self, pair: Names) -> bool:
    """Tells whether two pictures share nothing."""
    if pair in self.kinds:
      return False
    first, second = (self.sources.get(name, frozenset([name])) for name in pair)
    return not first & second


def score(truth: Truth, found: Collection[Names]) -> Row:
  """Returns recalls and precision of pairs, in percent."""
  found = {pair for pair in found if len(pair) == 2}
  row: Row = {}
  for kind in KINDS:
    wanted = [pair for pair, own in truth.kinds.items() if own == kind]
    if wanted:
      row[kind] = 100.0 * sum(pair in found for pair in wanted) / len(wanted)
  right = sum(pair in truth.kinds for pair in found)
  wrong = sum(truth.is_wrong(pair) for pair in found)
  row["all"] = 100.0 * right / max(len(truth.kinds), 1)
  row["precision"] = 100.0 * right / max(right + wrong, 1)
  row["wrong"] = wrong
  return row


def score_distances(
  truth: Truth, names: Sequence[str], distances: np.ndarray, *, precision: float
) -> Row:
  """Returns the scores at the threshold of the highest recall at a precision.

  Args:
    truth: the pairs.
    names: of N pictures.
    distances: `[N, N]`; the smaller of the two of a pair counts.
    precision: in [0, 1]; where no threshold reaches it, the one of the best F1 is taken.

  Returns:
    The scores, with `threshold`.
  """
  first, second = np.triu_indices(len(names), 1)
  values = np.minimum(distances, distances.T)[first, second]
  numbers = {name: number for number, name in enumerate(names)}
  label = np.zeros(distances.shape, np.int8)
  shown = _shown(truth, names)
  # Pairs that share a source and are not in the truth count neither way.
  label[(shown @ shown.T) > 0] = -1
  for pair in truth.kinds:
    a, b = (numbers[name] for name in pair)
    label[a, b] = label[b, a] = 1
  labels = label[first, second]
  thresholds = np.unique(values[labels == 1])
  order = np.argsort(values, kind="stable")
  values, labels = values[order], labels[order]
  ends = np.searchsorted(values, thresholds, side="right")
  right = np.cumsum(labels == 1)[ends - 1]
  wrong = np.cumsum(labels == 0)[ends - 1]
  precisions = right / np.maximum(right + wrong, 1)
  recalls = right / max(len(truth.kinds), 1)
  f1 = 2.0 * precisions * recalls / np.maximum(precisions + recalls, 1e-12)
  exact = precisions >= precision
  best = int(np.argmax(np.where(exact, recalls, -1.0))) if np.any(exact) else int(np.argmax(f1))
  count = int(ends[best])
  found = order[:count]
  row = score(
    truth,
    {
      frozenset((names[int(a)], names[int(b)]))
      for a, b in zip(first[found], second[found], strict=True)
    },
  )
  return {**row, "threshold": float(thresholds[best])}


def _shown(truth: Truth, names: Sequence[str]) -> np.ndarray:
  """Returns which pictures `[N, S]` float32 show which sources."""
  sources = {name: truth.sources.get(name, frozenset([name])) for name in names}
  columns = {own: number for number, own in enumerate(sorted(frozenset().union(*sources.values())))}
  shown = np.zeros((len(names), len(columns)), np.float32)
  for row, name in enumerate(names):
    shown[row, [columns[own] for own in sources[name]]] = 1.0
  return shown

"""Evaluation by the revisited protocol: AP, mAP and mean precision at k, Easy, Medium and Hard.

Easy counts easy images as positive and ignores hard and junk ones; Medium counts easy and hard ones
and ignores junk; Hard counts hard ones and ignores easy and junk ones.

Source: Radenovic et al., Revisiting Oxford and Paris, CVPR 2018, and its public evaluation code.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError

Rule = Literal["trapezoid", "rectangle"]

# Labels that count as positive, and labels that are taken out of a ranking, by protocol.
PROTOCOLS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
  "easy": (("easy",), ("junk", "hard")),
  "medium": (("easy", "hard"), ("junk",)),
  "hard": (("hard",), ("junk", "easy")),
}


class Judgements(Protocol):
  """The part of a ground truth that evaluation reads; `data.GroundTruth` fits."""

  @property
  def imlist(self) -> Sequence[str]: ...  # noqa: D102
  @property
  def queries(self) -> Sequence["Judgement"]: ...  # noqa: D102


class Judgement(Protocol):
  """The images of one query, as ids."""

  @property
  def easy(self) -> np.ndarray: ...  # noqa: D102
  @property
  def hard(self) -> np.ndarray: ...  # noqa: D102
  @property
  def junk(self) -> np.ndarray: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class ProtocolReport:
  """Figures of one protocol, all in [0, 1].

  Attributes:
    map: the mean average precision over queries that have positives; NaN if none has.
    mean_precision: by k, the mean precision at k over the same queries.
    average_precisions: `[Q]`, NaN for queries without positives.
    precisions: by k, `[Q]`, NaN likewise.
  """

  map: float
  mean_precision: Mapping[int, float]
  average_precisions: np.ndarray
  precisions: Mapping[int, np.ndarray]


def evaluate(
  rankings: np.ndarray,
  ground_truth: Judgements,
  kappas: Sequence[int] = (1, 5, 10),
  *,
  truncated: bool = False,
) -> dict[str, ProtocolReport]:
  """Evaluates rankings by the revisited protocol.

  Args:
    rankings: `[Q, N]` integer, database ids, best first; every row a permutation of 0 .. N-1.
    ground_truth: the names of the N images and the judgements of the Q queries.
    kappas: the k of precision at k, at least 1 each.
    truncated: whether rows may leave images out. Such images count as not found; a query without
      any positive found has an AP and precisions of 0.

  Returns:
    A `ProtocolReport` for each of `easy`, `medium` and `hard`.

  Raises:
    InputError: the rows are not as many as the queries, a row is not a permutation, or a k is below
      1.
  """
  rankings = np.asarray(rankings)
  kappas = [settings.integer("kappas", k, least=1) for k in kappas]
  _check(rankings, len(ground_truth.imlist), len(ground_truth.queries), truncated)
  report = {}
  for name, (positive, ignored) in PROTOCOLS.items():
    aps = np.full(len(rankings), np.nan)
    precisions = {k: np.full(len(rankings), np.nan) for k in kappas}
    for row, (ranking, query) in enumerate(zip(rankings, ground_truth.queries, strict=True)):
      positives = np.concatenate([getattr(query, label) for label in positive])
      junk = np.concatenate([getattr(query, label) for label in ignored])
      if not len(positives):
        continue
      positions = positive_places(ranking, positives, junk)
      aps[row] = average_precision(positions, len(positives))
      for k in kappas:
        precisions[k][row] = precision_at(positions, k)
    report[name] = ProtocolReport(
      map=_mean(aps),
      mean_precision={k: _mean(values) for k, values in precisions.items()},
      average_precisions=aps,
      precisions=precisions,
    )
  return report


def positive_places(ranking: np.ndarray, positives: np.ndarray, junk: np.ndarray) -> np.ndarray:
  """Returns the 0-based positions of the positives in a ranking without its junk.

  Args:
    ranking: `[N]` ids, best first.
    positives: ids, any order.
    junk: ids, any order.

  Returns:
    Ascending positions, one for each positive that is found.
  """
  kept = ranking[~np.isin(ranking, junk)]
  return np.flatnonzero(np.isin(kept, positives))


def average_precision(places: np.ndarray, num_positives: int, *, rule: Rule = "trapezoid") -> float:
  """Returns the area under the precision-recall curve.

  Args:
    places: ascending 0-based positions of the positives that were found.
    num_positives: the number of positives, found or not; at least 1.
    rule: `trapezoid`, the mean of the precisions before and at each positive, as in the revisited
      protocol; or `rectangle`, the precision at each positive.

  Returns:
    AP in [0, 1].
  """
  rule = settings.choice("rule", rule, get_args(Rule))
  num_positives = settings.integer("num_positives", num_positives, least=1)
  found = np.arange(len(places))
  at = (found + 1) / (places + 1)
  if rule == "trapezoid":
    before = np.where(places == 0, 1.0, found / np.maximum(places, 1))
    at = (before + at) / 2
  return float(np.sum(at) / num_positives)


def precision_at(places: np.ndarray, k: int) -> float:
  """Returns the precision among the first k, or up to the last positive if that comes earlier.

  Args:
    places: ascending 0-based positions of the positives that were found.
    k: at least 1.

  Returns:
    Precision in [0, 1]; 0 where no positive was found.
  """
  k = settings.integer("k", k, least=1)
  if not len(places):
    return 0.0
  depth = min(int(places[-1]) + 1, k)
  return float(np.sum(places < depth) / depth)


def _mean(values: np.ndarray) -> float:
  present = values[~np.isnan(values)]
  return float(np.mean(present)) if len(present) else float("nan")


def _check(rankings: np.ndarray, num_images: int, num_queries: int, truncated: bool) -> None:
  if rankings.ndim != 2 or len(rankings) != num_queries:
    raise InputError(f"Rankings must be [{num_queries}, N], not {rankings.shape}.")
  if not np.issubdtype(rankings.dtype, np.integer):
    raise InputError(f"Rankings must be integer ids, not {rankings.dtype}.")
  if rankings.shape[1] != num_images and not truncated:
    raise InputError(f"Rankings must hold all {num_images} images, not {rankings.shape[1]}.")
  for row, ranking in enumerate(rankings):
    if ranking.size and not (ranking.min() >= 0 and ranking.max() < num_images):
      raise InputError(f"The ranking of query {row} holds an id outside 0 .. {num_images - 1}.")
    if len(np.unique(ranking)) != len(ranking):
      raise InputError(f"The ranking of query {row} holds an image twice.")

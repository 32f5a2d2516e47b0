"""What the embedding is told of a query's positives, and of the negatives that overtake them.

The query lies where the images do that it is known to be like, a few; these hold it. An image comes
near the query by its own ties to them. A tie is the strength of a known pair, in [0, 1].
"""

import dataclasses

import numpy as np

from l2g_jax.report.run import EMBEDDING, Run

# More than the images that hold a query by default; with all pairs known, the strongest.
_MOST_HOLDERS = 5
# Nearest of an image, by which its surroundings are told.
NUM_NEAREST = 5


@dataclasses.dataclass(frozen=True)
class Ties:
  """An embedded positive of a query.

  Attributes:
    image: its id.
    rank: in the search, from 1.
    before: negatives before it in the search.
    before_embedded: the same by the embedding alone.
    held: its strongest tie to the images that hold the query, or to the query itself.
    is_holder: whether it is one of them.
    num_closer: negatives in the shortlist whose strongest tie to them is above `held`.
    num_nearest: how many of its strongest ties are counted, at most `NUM_NEAREST`.
    num_nearest_negative: how many of these are to negatives.
    num_overtaking: embedded negatives behind it in the search that are before it when embedded.
    num_overtaking_closer: of these, those whose tie to the images that hold the query is stronger.
    num_overtaking_linked: of the others, those with a stronger tie at two removes: to an image that
      is tied to them. The weaker tie of the two counts.
  """

  image: int
  rank: int
  before: int
  before_embedded: int
  held: float
  is_holder: bool
  num_closer: int
  num_nearest: int
  num_nearest_negative: int
  num_overtaking: int
  num_overtaking_closer: int
  num_overtaking_linked: int

  @property
  def fall(self) -> int:
    """How many negatives more stand before it by the embedding alone; below 0 where it rose."""
    return self.before_embedded - self.before


@dataclasses.dataclass(frozen=True)
class QueryTies:
  """The images that hold a query, and its positives.

  Attributes:
    num_holders: how many images hold the query.
    num_negative: how many of them are negatives.
    positives: those that are embedded, in the order of the search.
  """

  num_holders: int
  num_negative: int
  positives: tuple[Ties, ...]


def find_ties(run: Run, q: int) -> QueryTies:
  """Returns what the embedding is told of the positives of query `q`."""
  strengths = run.strengths(q)
  ids = run.candidates.ids[q, : len(strengths) - 1]
  present = ids >= 0
  judgement = run.dataset.ground_truth.queries[q]
  wanted = np.concatenate([judgement.easy, judgement.hard])
  is_positive = np.isin(ids, wanted)
  is_negative = present & ~is_positive & ~np.isin(ids, judgement.junk)
  own, pairs = strengths[0, 1:], strengths[1:, 1:]
  # A stable sort: ties go to the better place of the search.
  holders = np.argsort(-own, kind="stable")[:_MOST_HOLDERS]
  holders = holders[own[holders] > 0]
  held = np.maximum(own, pairs[:, holders].max(axis=1, initial=0.0))
  linked = np.minimum(pairs, held).max(axis=1, initial=0.0)
  ranks, before = _places(run, run.search, q, ids)
  ranks_embedded, before_embedded = _places(run, EMBEDDING, q, ids)
  positives = []
  for row in np.flatnonzero(is_positive).tolist():
    order = np.argsort(-pairs[row], kind="stable")[:NUM_NEAREST]
    order = order[pairs[row, order] > 0]
    overtaking = is_negative & (ranks > ranks[row]) & (ranks_embedded < ranks_embedded[row])
    closer = held > held[row]
    positives.append(
      Ties(
        image=int(ids[row]),
        rank=int(ranks[row]),
        before=int(before[row]),
        before_embedded=int(before_embedded[row]),
        held=float(held[row]),
        is_holder=row in holders,
        num_closer=int(np.sum(is_negative & closer)),
        num_nearest=len(order),
        num_nearest_negative=int(np.sum(is_negative[order])),
        num_overtaking=int(np.sum(overtaking)),
        num_overtaking_closer=int(np.sum(overtaking & closer)),
        num_overtaking_linked=int(np.sum(overtaking & ~closer & (linked > linked[row]))),
      )
    )
  return QueryTies(len(holders), int(np.sum(is_negative[holders])), tuple(positives))


def negatives_before(run: Run, name: str, q: int) -> np.ndarray:
  """Returns how many negatives stand before each image `[N]` in a stage."""
  ranking = run.ranking(name, q)
  judgement = run.dataset.ground_truth.queries[q]
  others = np.concatenate([judgement.easy, judgement.hard, judgement.junk])
  is_negative = ~np.isin(ranking, others)
  before = np.empty(len(ranking), int)
  before[ranking] = np.cumsum(is_negative) - is_negative
  return before


def _places(run: Run, name: str, q: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the ranks of some images in a stage, and how many negatives stand before each."""
  return run.ranks(name, q)[ids], negatives_before(run, name, q)[ids]

"""Union of searches by several kinds of local features, whose scores are of different scales.

The first kind leads: it should be the one that finds the most, such as a learned feature. The
others add the matches that they are certain of: RootSIFT finds a turned cover that a learned
feature does not know again, and would only blur the order where it is not certain.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from l2g_jax.ranked import Ranked
from l2g_jax.ranking.certainty import CERTAINTY_RATIO

# Weight of a certain match of another kind against one of the first, in multiples of a background.
# From development data, as the certainty is.
CERTAIN_WEIGHT = 3.0
# Images whose similarities stand for the background of a list.
_SAMPLE = 16


def background_ids(ids: np.ndarray) -> np.ndarray:
  """Returns images that stand for the background of a list, at most 16 of its worse half.

  Args:
    ids: `[k]`, best first; -1 pads at the end.
  """
  found = ids[ids >= 0]
  worse = found[len(found) // 2 :]
  return worse[np.linspace(0, len(worse) - 1, min(_SAMPLE, len(worse))).astype(np.int64)]


def unite(lists: Sequence[Ranked], backgrounds: Sequence[ArrayLike], k: int) -> Ranked:
  """Unites ranked lists of the same queries by different features.

  Similarities s are counted in multiples r = s / b of the background b of their own list. The
  united similarity is r of the first kind plus 3 max(0, r - 10) of each other kind; 10 is the ratio
  from which a match is certain, see `certainty`. Where the first kind has no image, as of a query
  without such features, the next one leads. An image that the full list of the leading kind lacks
  counts as the last in it; one that a padded list lacks as 0.

  Args:
    lists: of each kind of features, `[Q, .]`, best first, over one collection.
    backgrounds: of each kind, `[Q]`, the mean similarity of unrelated images, such as those of
      `background_ids`. Where it is 0, the least similarity in the list stands for it.
    k: length of the united lists, at least 1.

  Returns:
    The best images `[Q, k]`; ties go to the smaller id. Similarities are multiples of a background,
    float32, not in [0, 1].
  """
  ids = np.concatenate([ranked.ids for ranked in lists], axis=1).astype(np.int32)
  least, parts = np.zeros((len(ids), 1)), []
  is_led = np.zeros((len(ids), 1), bool)
  for ranked, background in zip(lists, backgrounds, strict=True):
    ratios = _in_backgrounds(ranked, np.asarray(background, np.float64))
    leads = ~is_led & (ranked.ids[:, :1] >= 0)
    is_led |= leads
    last = np.where(leads & (ranked.ids[:, -1:] >= 0), ratios[:, -1:], 0.0)
    least += last
    certain = CERTAIN_WEIGHT * np.maximum(0.0, ratios - CERTAINTY_RATIO)
    parts.append(np.where(ranked.ids >= 0, np.where(leads, ratios - last, certain), 0.0))
  order = np.argsort(ids, axis=1, kind="stable")
  ids = np.take_along_axis(ids, order, axis=1)
  values = np.take_along_axis(np.concatenate(parts, axis=1), order, axis=1)
  is_first = np.ones(ids.shape, bool)
  is_first[:, 1:] = ids[:, 1:] != ids[:, :-1]
  totals = np.zeros(ids.shape)
  totals[is_first] = np.add.reduceat(values.ravel(), np.flatnonzero(is_first.ravel()))
  totals = np.where(is_first & (ids >= 0), least + totals, -1.0)
  best = np.argsort(-totals, axis=1, kind="stable")[:, :k]
  totals = np.take_along_axis(totals, best, axis=1)
  found = np.where(totals > 0.0, np.take_along_axis(ids, best, axis=1), -1)
  missing = [(0, 0), (0, max(0, k - found.shape[1]))]
  return Ranked(
    np.pad(found, missing, constant_values=-1),
    np.pad(np.maximum(totals, 0.0).astype(np.float32), missing),
  )


def _in_backgrounds(ranked: Ranked, background: np.ndarray) -> np.ndarray:
  """Returns similarities `[Q, .]` in multiples of the background `[Q]` of their list."""
  similarities = np.asarray(ranked.similarities, np.float64)
  positive = np.where(similarities > 0.0, similarities, np.inf)
  least = np.min(positive, axis=1, initial=np.inf)
  unit = np.where(background > 0.0, background, np.where(np.isfinite(least), least, 1.0))
  return similarities / unit[:, None]

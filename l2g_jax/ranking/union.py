"""Union of searches by several kinds of local features, whose scores are of different scales.

A kind that tells images of a query well apart gives its true matches many times the similarity of
unrelated images, and a kind that does not gives all of them about the same. So similarities are
counted in multiples of the background of their own list, and added: of one query the first kind
decides, of another the second, without a choice.
"""

from collections.abc import Sequence

import numpy as np

from l2g_jax.ranked import Ranked


def unite(lists: Sequence[Ranked], k: int) -> Ranked:
  """Unites ranked lists of the same queries by different features.

  The united similarity of an image is the mean over the lists of s / b, where b is the background:
  the mean similarity of the worse half of the images in that list, see `certainty`. An image that
  a full list lacks counts as similar as the last in it; one that a padded list lacks as 0. A list
  without any image, as of a query without such features, counts 0 for all.

  Args:
    lists: of each kind of features, `[Q, .]`, best first, over one collection.
    k: length of the united lists, at least 1.

  Returns:
    The best images `[Q, k]`; ties go to the smaller id. Similarities are multiples of a background,
    float32, not in [0, 1].
  """
  ids = np.concatenate([ranked.ids for ranked in lists], axis=1).astype(np.int32)
  least, excess = np.zeros((len(ids), 1), np.float64), []
  for ranked in lists:
    ratios = _in_backgrounds(ranked.similarities)
    last = np.where(ranked.ids[:, -1:] >= 0, ratios[:, -1:], 0.0)
    least += last
    excess.append(np.where(ranked.ids >= 0, ratios - last, 0.0))
  order = np.argsort(ids, axis=1, kind="stable")
  ids = np.take_along_axis(ids, order, axis=1)
  values = np.take_along_axis(np.concatenate(excess, axis=1), order, axis=1)
  is_first = np.ones(ids.shape, bool)
  is_first[:, 1:] = ids[:, 1:] != ids[:, :-1]
  totals = np.zeros(ids.shape)
  totals[is_first] = np.add.reduceat(values.ravel(), np.flatnonzero(is_first.ravel()))
  totals = np.where(is_first & (ids >= 0), (least + totals) / len(lists), -1.0)
  best = np.argsort(-totals, axis=1, kind="stable")[:, :k]
  totals = np.take_along_axis(totals, best, axis=1)
  found = np.where(totals > 0.0, np.take_along_axis(ids, best, axis=1), -1)
  totals = np.maximum(totals, 0.0).astype(np.float32)
  missing = [(0, 0), (0, k - found.shape[1])]
  return Ranked(
    np.pad(found, missing, constant_values=-1) if found.shape[1] < k else found,
    np.pad(totals, missing) if found.shape[1] < k else totals,
  )


def _in_backgrounds(similarities: np.ndarray) -> np.ndarray:
  """Divides the similarities `[Q, k]` of lists by the background of each; zeros stay zero."""
  values = np.asarray(similarities, np.float64)
  reached = values > 0.0
  counts = reached.sum(axis=1, keepdims=True)
  worse = reached & (np.arange(values.shape[1]) >= counts // 2)
  sums = np.where(worse, values, 0.0).sum(axis=1, keepdims=True)
  background = sums / np.maximum(worse.sum(axis=1, keepdims=True), 1)
  return values / np.where(background > 0.0, background, 1.0)

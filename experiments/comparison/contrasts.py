"""Contrasts of ranked lists: similarities in one unit, whatever the collection and its features."""

import numpy as np

from l2g_jax.embedding.dissimilarity import contrast, log_floor
from l2g_jax.ranked import Ranked


def contrasts_of(found: Ranked, lists: Ranked) -> tuple[Ranked, Ranked]:
  """Replaces similarities by their `contrast` in their own list.

  Args:
    found: `[Q, k]`, of queries.
    lists: `[N, L]`, of the images.

  Returns:
    Both with contrasts, at least 0; ids are as they were.
  """
  return _contrasts(found), _contrasts(lists)


def _contrasts(ranked: Ranked) -> Ranked:
  similarities = np.asarray(ranked.similarities, np.float32)
  values = contrast(similarities, log_floor(similarities))
  return Ranked(np.asarray(ranked.ids), np.asarray(values))

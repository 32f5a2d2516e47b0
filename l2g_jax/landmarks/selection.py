"""Which items are landmarks."""

import numpy as np

from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.config import Selection

# Candidates for each landmark, where similarities choose.
_CANDIDATES = 2


def choose_landmarks(
  items: Items, count: int, selection: Selection, compare: Comparison, *, seed: int
) -> np.ndarray:
  """Chooses landmarks.

  Args:
    items: N items.
    count: L, at most N.
    selection: see `LandmarkConfig`.
    compare: evaluates pairs where similarities choose.
    seed: of the random choices.

  Returns:
    `[L]` int64, ascending positions.
  """
  rng = np.random.default_rng(seed)
  if selection == "random":
    return np.sort(rng.choice(len(items), count, replace=False))
  pool = np.sort(rng.choice(len(items), min(len(items), _CANDIDATES * count), replace=False))
  candidates = select(items, pool)
  chosen = [int(rng.integers(len(pool)))]
  best = np.full(len(pool), -np.inf, np.float32)
  while len(chosen) < count:
    last = pool[chosen[-1:]]
    found = compare(candidates, select(items, last), first_ids=pool, second_ids=last)[:, 0]
    best = np.maximum(best, found)
    free = np.ones(len(pool), bool)
    free[chosen] = False
    if selection == "farthest":
      chosen.append(int(np.argmin(np.where(free, best, np.inf))))
    else:
      odds = np.where(free, (best.max() - best).astype(np.float64) ** 2, 0.0)
      # Candidates that are all alike have no odds.
      odds = odds if np.any(odds > 0.0) else free.astype(np.float64)
      chosen.append(int(rng.choice(len(pool), p=odds / odds.sum())))
  return np.sort(pool[chosen])

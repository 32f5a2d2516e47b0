"""Power, dimension and weighting of an index, chosen by items that are held out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.config import LandmarkConfig, Weighting
from l2g_jax.landmarks.frame import (
  Frame,
  Placed,
  make_frame,
  place_among,
  profile_directions,
  vectors,
)
from l2g_jax.landmarks.nearest import nearest

_HELD_OUT = 32
# Held-out items are compared to a pool: as large as this share of the evaluations of the build
# allows, within bounds.
_SHARE = 0.01
_POOL = (500, 8000)
_TRUE = 10
# Shortlists in which the true nearest are counted, in multiples of them.
_DEPTHS = (2, 5, 10)
_POWERS = (1.0, 0.6, 0.3, 0.15)
_DIMENSIONS = (16, 32, 64, 128)
_FIRST_DIMENSION = 32
# Of the landmarks: more dimensions fit what is chance.
_MOST_DIMENSIONS = 2 / 3
_PROFILE_WEIGHTS = (0.0, 0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class _Choice:
  power: float
  num_dimensions: int
  weighting: Weighting


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """Held-out items whose true nearest in a pool are known.

  Attributes:
    held: `[H, L]` in [0, 1], how alike they are to the landmarks.
    pool: `[P, L]`, likewise of the pool.
    true: `[H, P]` bool, the true nearest; ties at the last place count as true.
    count: of the true nearest that a search should find.
  """

  held: np.ndarray
  pool: np.ndarray
  true: np.ndarray
  count: int

  def best_mixing(self, frame: Frame, weights: Sequence[float]) -> tuple[float, float]:
    """Finds how much raw profiles should count.

    Args:
      frame: of the landmarks; its own `mixing` is of no effect.
      weights: of profiles, once the squared distances of both vary alike.

    Returns:
      The recall of the true nearest, mean over shortlists, and the `mixing` that reached it.
    """
    held, pool = (place_among(frame, shares) for shares in (self.held, self.pool))
    unit = self._unit(frame, held, pool) if any(weights) else 0.0
    depths = [min(len(self.pool), depth * self.count) for depth in _DEPTHS]
    best = (-1.0, 0.0)
    for weight in weights:
      mixed = dataclasses.replace(frame, mixing=weight * unit)
      found = nearest(
        vectors(mixed, held.points, self.held),
        jnp.asarray(vectors(mixed, pool.points, self.pool)),
        depths[-1],
      )
      hits = np.cumsum(np.take_along_axis(self.true, found, axis=1), axis=1)
      shares = [np.minimum(hits[:, depth - 1], self.count) for depth in depths]
      recall = float(np.mean(shares)) / self.count
      if recall > best[0]:
        best = (recall, mixed.mixing)
    return best

  def _unit(self, frame: Frame, held: Placed, pool: Placed) -> float:
    """Returns the mixing at which the squared distances of points and profiles vary alike."""
    own = _squared(held.points, pool.points).std()
    profiles = [profile_directions(frame, shares) for shares in (self.held, self.pool)]
    other = _squared(*profiles).std()
    return float(own / other) if other > 0.0 else 0.0


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  squares = [np.sum(some**2, axis=1) for some in (first, second)]
  return squares[0][:, None] + squares[1][None] - 2.0 * first @ second.T


def make_trial(
  items: Items, landmarks: np.ndarray, shares: np.ndarray, compare: Comparison, *, seed: int
) -> Trial | None:
  """Draws held-out items and a pool, and compares them.

  Args:
    items: N items.
    landmarks: `[L]`, their positions.
    shares: `[N, L]` in [0, 1], how alike items are to landmarks; may be spread over files, and is
      read by rows.
    compare: evaluates pairs.
    seed: of the draw.

  Returns:
    The `Trial`; None where there are too few items that are no landmarks.
  """
  others = np.setdiff1d(np.arange(len(items)), landmarks)
  if len(others) < _HELD_OUT + 2 * _TRUE:
    return None
  budget = int(_SHARE * len(landmarks) * len(items)) // _HELD_OUT
  size = min(len(others) - _HELD_OUT, int(np.clip(budget, *_POOL)))
  drawn = np.random.default_rng([seed, 1]).choice(others, _HELD_OUT + size, replace=False)
  held, pool = np.sort(drawn[:_HELD_OUT]), np.sort(drawn[_HELD_OUT:])
  found = compare(select(items, held), select(items, pool), first_ids=held, second_ids=pool)
  count = min(_TRUE, size)
  least = -np.sort(-found, axis=1)[:, count - 1 : count]
  return Trial(shares[held], shares[pool], found >= least, count)


def choose_frame(shares: np.ndarray, trial: Trial | None, config: LandmarkConfig) -> Frame:
  """Embeds landmarks with the settings under which held-out items find their true nearest.

  Each setting that is None is chosen in turn, the power first: by the recall of the true 10 nearest
  of a pool in shortlists of 20, 50 and 100. Of equal ones the first stays.

  Args:
    shares: `[L, L]` in [0, 1], how alike landmarks are.
    trial: of the held-out items; None = the first settings are taken.
    config: of the index.
  """
  most = max(1, int(len(shares) * _MOST_DIMENSIONS))
  dimensions = [size for size in _DIMENSIONS if size <= most] or [most]
  start = [size for size in dimensions if size <= _FIRST_DIMENSION] or dimensions
  choice = _Choice(
    config.power or _POWERS[0], config.num_dimensions or start[-1], config.weighting or "equal"
  )
  frame = _frame_of(shares, choice, config.seed)
  if trial is None:
    return frame
  weights = _PROFILE_WEIGHTS if config.profile_weight is None else (config.profile_weight,)
  options: dict[str, Sequence[Any]] = {
    "power": _POWERS,
    "num_dimensions": dimensions,
    "weighting": ("equal", "near"),
  }
  best, mixing = trial.best_mixing(frame, weights)
  for name, values in options.items():
    if getattr(config, name) is not None:
      continue
    for value in values:
      other = dataclasses.replace(choice, **{name: value})
      if other == choice:
        continue
      tried = _frame_of(shares, other, config.seed)
      recall, mixed = trial.best_mixing(tried, weights)
      if recall > best:
        choice, frame, best, mixing = other, tried, recall, mixed
  return dataclasses.replace(frame, mixing=mixing)


def _frame_of(shares: np.ndarray, choice: _Choice, seed: int) -> Frame:
  return make_frame(shares, seed=seed, **dataclasses.asdict(choice))

"""How the files of an index come to be: in steps, each of which is done once."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.landmarks import storage
from l2g_jax.landmarks.calibration import choose_frame, make_trial
from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.config import LandmarkConfig
from l2g_jax.landmarks.frame import Frame, place_among
from l2g_jax.landmarks.nearest import nearest, nearest_of_all
from l2g_jax.landmarks.neighbors import compare_part, near_landmarks, plan
from l2g_jax.landmarks.selection import choose_landmarks
from l2g_jax.landmarks.space import Space, kept_profile, read_space
from l2g_jax.landmarks.storage import Landmarks, State
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter

# Items and landmarks that are compared anew where files are used again.
_PROBED = 4
# Items near in space, in multiples of those wanted: some were compared from the other side.
_SPARE = 4
# The same function differs by rounding alone, in shares of the range.
_TOLERANCE = 5e-3


def build(root: pathlib.Path, items: Items, compare: Comparison, config: LandmarkConfig) -> State:
  """Builds an index, or goes on with one that was interrupted; the caller holds the lock.

  Raises:
    InputError: the folder holds an index of other settings, items or similarities.
  """
  files.remove_leftovers(root)
  landmarks = _landmarks(root, items, compare, config)
  parts = [
    min(config.part_size, len(items) - start) for start in range(0, len(items), config.part_size)
  ]
  total = landmarks.evaluations + len(items) * len(landmarks.ids)
  with Meter("Comparing items to landmarks", total=len(items)) as meter:
    for part, count in enumerate(parts):
      first = part * config.part_size
      if (kept := storage.read_profile(root, part)) is None:
        ids = np.arange(first, first + count)
        storage.write_profile(root, part, profile(items, ids, landmarks, compare))
      else:
        probe(items, first, kept[0], landmarks, compare)
      if storage.read_near(root, 0, part) is None:
        lists = near_landmarks(kept_profile(root, part), landmarks.ids)
        storage.write_near(root, 0, part, lists, 0)
      meter.advance(count)
  shares = _Rows([kept_profile(root, part) for part in range(len(parts))])
  frame, calibration = _frame(root, items, landmarks, shares, compare, config)
  stress = []
  for part in range(len(parts)):
    if (placed := storage.read_points(root, part)) is None:
      placed = place_among(frame, kept_profile(root, part))
      storage.write_points(root, part, placed)
    stress.append(placed.stress)
  state = State(
    config=config,
    parts=tuple(parts),
    num_built=len(items),
    stress=float(np.mean(np.concatenate(stress))),
    evaluations=total + calibration,
  )
  for count in plan(config.num_neighbors):
    state = _round(root, state, items, compare, count)
  storage.write_state(root, state)
  storage.remove_older(root, state)
  return state


def append(
  root: pathlib.Path, state: State, space: Space, items: Items, compare: Comparison
) -> State:
  """Places the items behind those of the index, whose space stays as it is, and compares them."""
  config, before = state.config, compare.evaluations
  number = len(state.parts)
  counts = [
    min(config.part_size, len(items) - start)
    for start in range(state.num_items, len(items), config.part_size)
  ]
  state = dataclasses.replace(state, parts=(*state.parts, *counts))
  for part, span in list(enumerate(state.spans))[number:]:
    shares = profile(items, np.arange(*span), space.landmarks, compare)
    storage.write_profile(root, part, shares)
    storage.write_points(root, part, place_among(space.frame, shares))
    storage.write_near(root, state.rounds, part, near_landmarks(shares, space.landmarks.ids), 0)
  for turn, count in enumerate(plan(config.num_neighbors) if state.rounds else ()):
    space = read_space(root, state)
    for part, span in list(enumerate(state.spans))[number:]:
      candidates = None
      if not turn:
        most = min(_SPARE * count, len(items))
        candidates = nearest(np.asarray(space.vectors[slice(*span)]), space.vectors, most)
      lists = compare_part(space, space.near, items, compare, span, count, candidates)
      storage.write_near(root, state.rounds, part, lists, 0)
  state = dataclasses.replace(state, evaluations=state.evaluations + compare.evaluations - before)
  storage.write_state(root, state)
  return state


def refine(
  root: pathlib.Path, state: State, items: Items, compare: Comparison, *, num_neighbors: int
) -> State:
  """Compares every item to further ones; goes on with a round that was interrupted."""
  state = _round(root, state, items, compare, num_neighbors)
  storage.write_state(root, state)
  storage.remove_older(root, state)
  return state


def _round(
  root: pathlib.Path, state: State, items: Items, compare: Comparison, count: int
) -> State:
  """Compares items of all parts to further ones, unless that was done; writes no state."""
  space, number, evaluations = read_space(root, state), state.rounds + 1, 0
  near, candidates = space.near.with_room(count), None
  if not state.rounds:
    candidates = nearest_of_all(space.vectors, _SPARE * count, seed=state.config.seed)
  with Meter(f"Comparing items to those near, round {number}", total=len(items)) as meter:
    for part, span in enumerate(state.spans):
      if (kept := storage.read_near(root, number, part)) is None:
        before = compare.evaluations
        some = None if candidates is None else candidates[slice(*span)]
        lists = compare_part(space, near, items, compare, span, count, some)
        kept = lists, compare.evaluations - before
        storage.write_near(root, number, part, *kept)
      near.put(span[0], kept[0])
      evaluations += kept[1]
      meter.advance(span[1] - span[0])
  return dataclasses.replace(state, rounds=number, evaluations=state.evaluations + evaluations)


def profile(items: Items, ids: np.ndarray, landmarks: Landmarks, compare: Comparison) -> np.ndarray:
  """Compares items to the landmarks.

  Args:
    items: the collection.
    ids: `[n]`, positions.
    landmarks: of the index.
    compare: evaluates pairs.

  Returns:
    `[n, L]` float32 in [0, 1], how alike they are.
  """
  found = compare(
    select(items, ids),
    select(items, landmarks.ids),
    first_ids=ids,
    second_ids=landmarks.ids,
  )
  return landmarks.range.shares(found)


def probe(
  items: Items, item: int, shares: np.ndarray, landmarks: Landmarks, compare: Comparison
) -> None:
  """Compares an item to a few landmarks anew.

  Args:
    items: the collection.
    item: a position.
    shares: `[L]` in [0, 1], how alike the item and the landmarks were.
    landmarks: of the index.
    compare: evaluates pairs.

  Raises:
    InputError: it is not as alike to them as it was.
  """
  ids, some = np.asarray([item]), landmarks.ids[:_PROBED]
  found = compare(select(items, ids), select(items, some), first_ids=ids, second_ids=some)
  difference = np.abs(landmarks.range.shares(found)[0] - shares[:_PROBED].astype(np.float32))
  if np.max(difference) > _TOLERANCE:
    raise InputError(
      f"Item {item} is not as similar to items {', '.join(map(str, some))} as when the index was"
      " made: give the same items in the same order and the same similarity, or another folder."
    )


class _Rows:
  """Rows of all parts, read where they are asked for."""

  def __init__(self, parts: Sequence[np.ndarray]):
    self._parts = parts
    self._starts = np.cumsum([0, *map(len, parts)])

  def __getitem__(self, ids: np.ndarray) -> np.ndarray:
    numbers = np.searchsorted(self._starts, ids, side="right") - 1
    rows = [
      self._parts[number][row]
      for number, row in zip(numbers, ids - self._starts[numbers], strict=True)
    ]
    return np.stack(rows).astype(np.float32)


def _landmarks(
  root: pathlib.Path, items: Items, compare: Comparison, config: LandmarkConfig
) -> Landmarks:
  """Chooses and compares landmarks, unless that was done."""
  if (kept := storage.read_landmarks(root)) is not None:
    landmarks, was, num_items = kept
    if (was, num_items) != (config, len(items)):
      raise InputError(
        f"{root} holds an index of {num_items} items that was built with {was}; give the same, or"
        " another folder."
      )
    shares = landmarks.range.shares(landmarks.similarities)
    probe(items, int(landmarks.ids[-1]), shares[-1], landmarks, compare)
    return landmarks
  count = min(config.num_landmarks, len(items))
  before = compare.evaluations
  ids = choose_landmarks(items, count, config.selection, compare, seed=config.seed)
  chosen = select(items, ids)
  similarities = compare(chosen, chosen, first_ids=ids, second_ids=ids)
  landmarks = Landmarks(ids, similarities, compare.evaluations - before)
  storage.write_landmarks(root, landmarks, config, len(items))
  return landmarks


def _frame(
  root: pathlib.Path,
  items: Items,
  landmarks: Landmarks,
  shares: Any,
  compare: Comparison,
  config: LandmarkConfig,
) -> tuple[Frame, int]:
  """Embeds the landmarks, unless that was done; returns how many evaluations it took too."""
  if (kept := storage.read_frame(root)) is not None:
    return kept
  before, trial = compare.evaluations, None
  chosen = (config.power, config.num_dimensions, config.weighting, config.profile_weight)
  if None in chosen or config.profile_weight:
    trial = make_trial(items, landmarks.ids, shares, compare, seed=config.seed)
  frame = choose_frame(landmarks.range.shares(landmarks.similarities), trial, config)
  storage.write_frame(root, frame, compare.evaluations - before)
  return frame, compare.evaluations - before

"""How the files of an index come to be: in steps, each of which is done once."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.landmarks import storage
from l2g_jax.landmarks.calibration import choose_frame, make_trial
from l2g_jax.landmarks.compare import Comparison, Items, select
from l2g_jax.landmarks.config import LandmarkConfig
from l2g_jax.landmarks.frame import Frame, place_again, place_among
from l2g_jax.landmarks.nearest import nearest
from l2g_jax.landmarks.selection import choose_landmarks
from l2g_jax.landmarks.storage import Landmarks, State
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter

# Items and landmarks that are compared anew where files are used again.
_PROBED = 4
# The same function differs by rounding alone, in shares of the range.
_TOLERANCE = 5e-3
# Items placed again at a time.
_REFINED = 64


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
        storage.write_profile(root, part, profile(items, ids, items, landmarks, compare))
      else:
        probe(items, first, kept[0], landmarks, compare)
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
  storage.write_state(root, state)
  return state


def append(
  root: pathlib.Path,
  state: State,
  landmarks: Landmarks,
  frame: Frame,
  items: Items,
  new: Items,
  compare: Comparison,
) -> State:
  """Places new items behind the others, whose space stays as it is."""
  parts = []
  for start in range(0, len(new), state.config.part_size):
    ids = np.arange(start, min(start + state.config.part_size, len(new)))
    number = len(state.parts) + len(parts)
    shares = profile(new, ids, items, landmarks, compare, first_id=state.num_items)
    storage.write_profile(root, number, shares)
    storage.write_points(root, number, place_among(frame, shares))
    parts.append(len(ids))
  state = dataclasses.replace(
    state,
    parts=(*state.parts, *parts),
    evaluations=state.evaluations + len(new) * len(landmarks.ids),
  )
  storage.write_state(root, state)
  return state


def refine(
  root: pathlib.Path,
  state: State,
  frame: Frame,
  items: Items,
  compare: Comparison,
  *,
  num_neighbors: int,
) -> State:
  """Places items again by the landmarks and their nearest; parts that were refined are left out.

  Neighbours are sought, and lie, where the landmarks alone placed them, so that the order of parts
  does not matter.
  """
  points = np.concatenate([_points(root, part) for part in range(len(state.parts))])
  device = jnp.asarray(points)
  removed = np.zeros(len(points), bool)
  removed[list(state.removed)] = True
  num_neighbors = min(num_neighbors, int(np.sum(~removed)) - 1)
  with Meter("Refining items", total=len(points)) as meter:
    for part, count in enumerate(state.parts):
      first = sum(state.parts[:part])
      if part not in state.refined and num_neighbors > 0:
        shares = kept_profile(root, part)
        refined = np.empty((count, points.shape[1]), np.float32)
        for start in range(0, count, _REFINED):
          ids = np.arange(first + start, first + min(start + _REFINED, count))
          mask = np.tile(removed, (len(ids), 1))
          mask[np.arange(len(ids)), ids] = True
          near = nearest(points[ids], device, num_neighbors, mask)
          found = [
            compare(
              select(items, ids[row : row + 1]),
              select(items, near[row]),
              first_ids=ids[row : row + 1],
              second_ids=near[row],
            )[0]
            for row in range(len(ids))
          ]
          refined[start : start + len(ids)] = place_again(
            frame,
            points[ids],
            shares[start : start + len(ids)].astype(np.float32),
            points[near],
            _range_of(root).shares(np.stack(found)),
            np.ones(near.shape, bool),
          )
        storage.write_refined(root, part, refined)
        state = dataclasses.replace(
          state,
          refined=tuple(sorted({*state.refined, part})),
          evaluations=state.evaluations + count * num_neighbors,
        )
        storage.write_state(root, state)
      meter.advance(count)
  return state


def profile(
  items: Items,
  ids: np.ndarray,
  collection: Items,
  landmarks: Landmarks,
  compare: Comparison,
  *,
  first_id: int = 0,
) -> np.ndarray:
  """Compares items to the landmarks.

  Args:
    items: some items.
    ids: `[n]`, positions among them.
    collection: that has the landmarks.
    landmarks: of the index.
    compare: evaluates pairs.
    first_id: the position in the collection of the first of `items`.

  Returns:
    `[n, L]` float32 in [0, 1], how alike they are.
  """
  found = compare(
    select(items, ids),
    select(collection, landmarks.ids),
    first_ids=ids + first_id,
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


def kept_profile(root: pathlib.Path, part: int) -> np.ndarray:
  """Returns the profiles of a part that must be there, `[n, L]` float16."""
  kept = storage.read_profile(root, part)
  if kept is None:
    raise InputError(f"{root} lacks the profiles of part {part}; remove it to have it made again.")
  return kept


def _points(root: pathlib.Path, part: int) -> np.ndarray:
  kept = storage.read_points(root, part)
  if kept is None:
    raise InputError(f"{root} lacks the points of part {part}; remove it to have it made again.")
  return kept.points


def _range_of(root: pathlib.Path) -> Any:
  kept = storage.read_landmarks(root)
  assert kept is not None
  return kept[0].range

"""All that a search reads: where items are, and what they were compared to."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.landmarks import storage
from l2g_jax.landmarks.frame import Frame, vectors
from l2g_jax.landmarks.graph import Near, join, links_of
from l2g_jax.landmarks.scale import Range
from l2g_jax.landmarks.storage import Landmarks, State


# Arrays are not compared.
@dataclasses.dataclass(frozen=True, eq=False)
class Space:
  """The items of an index.

  Attributes:
    landmarks: of the index.
    frame: the landmarks in space.
    points: `[N, m]` float32, on the host.
    stress: `[N]` float32, stress-1 of each item to the landmarks.
    vectors: `[N, .]` float32, on the device: what nearest items are sought by, see `vectors`.
    near: what items were compared to, the landmarks most alike to each included.
    rounds: in which items were compared to others.
    alive: `[N]` bool, False = removed.
  """

  landmarks: Landmarks
  frame: Frame
  points: np.ndarray
  stress: np.ndarray
  vectors: jax.Array
  near: Near
  rounds: int
  alive: np.ndarray

  @property
  def range(self) -> Range:
    """Of the similarity."""
    return self.landmarks.range

  @functools.cached_property
  def others(self) -> np.ndarray:
    """`[N]` bool, items that a search may score beside the landmarks."""
    others = self.alive.copy()
    others[self.landmarks.ids] = False
    return others

  @functools.cached_property
  def links(self) -> np.ndarray:
    """`[N, K]` int32, where each item leads, see `links_of`; from landmarks alone to nowhere."""
    near = self.near if self.rounds else Near(self.near.ids[:, :0], self.near.shares[:, :0])
    return links_of(near, self.others)


def read_space(root: pathlib.Path, state: State) -> Space:
  """Reads all parts.

  Raises:
    InputError: a file is missing or damaged.
  """
  kept, frame = storage.read_landmarks(root), storage.read_frame(root)
  if kept is None or frame is None:
    raise InputError(f"{root} lacks files of its index; remove it to have it made again.")
  placed, lists, sought = [], [], []
  for part in range(len(state.parts)):
    points = storage.read_points(root, part)
    near = storage.read_near(root, state.rounds, part)
    if points is None or near is None:
      raise InputError(f"{root} lacks files of part {part}; remove it to have it made again.")
    placed.append(points)
    lists.append(near[0])
    if frame[0].mixing:
      sought.append(vectors(frame[0], points.points, kept_profile(root, part)))
  points = np.concatenate([part.points for part in placed])
  alive = np.ones(len(points), bool)
  alive[list(state.removed)] = False
  return Space(
    landmarks=kept[0],
    frame=frame[0],
    points=points,
    stress=np.concatenate([part.stress for part in placed]),
    vectors=jnp.asarray(np.concatenate(sought) if sought else points),
    near=join(lists),
    rounds=state.rounds,
    alive=alive,
  )


def kept_profile(root: pathlib.Path, part: int) -> np.ndarray:
  """Returns the profiles of a part that must be there, `[n, L]` float16."""
  kept = storage.read_profile(root, part)
  if kept is None:
    raise InputError(f"{root} lacks the profiles of part {part}; remove it to have it made again.")
  return kept

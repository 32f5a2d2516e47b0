"""An index of any similarity, in a folder."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.landmarks import builder, storage
from l2g_jax.landmarks.compare import Comparison, Items, Similarity, appended
from l2g_jax.landmarks.config import LandmarkConfig
from l2g_jax.landmarks.search import Found, search
from l2g_jax.landmarks.space import kept_profile, read_space
from l2g_jax.landmarks.storage import State
from l2g_jax.runtime import files

# A query scores three times as many items as it has landmarks unless it is told otherwise: 512
# landmarks and 1536 items are 2 % of 100,000.
_SCORED = 3
# The space is worn once added items fit so much worse, or are more than those of the build.
_WORN_STRESS = 1.15
# A stress below it is a good fit, whatever that of the build was.
_GOOD_STRESS = 0.02


@dataclasses.dataclass(frozen=True)
class Growth:
  """How well added items fit the space of the build.

  Attributes:
    num_built: items of the build.
    num_added: items that came later.
    stress_built: mean stress-1 of the former.
    stress_added: mean stress-1 of the latter; None = there are none.
    advice: a sentence that says when to build anew; None = there is no need.
  """

  num_built: int
  num_added: int
  stress_built: float
  stress_added: float | None
  advice: str | None


class LandmarkIndex:
  """Items placed in space by their similarities to a few landmarks.

  The index keeps no items. It is given them as a sequence, such as a list or an array, in the same
  order each time; ids are positions. The similarity is a function of two sequences of a and b items
  that returns real numbers `[a, b]`, larger where items are more alike, of any range. It need not
  be symmetric, nor a metric: items in the role of the query come first.

  Several processes may search one index, and changes wait for one another.

  Attributes:
    state: what the index consists of; `state.evaluations` counts all but those of searches.
    frame: the landmarks in space, with the settings that were chosen.
    evaluations: pairs that this object has evaluated.
  """

  def __init__(self, directory: pathlib.Path, state: State, items: Items, compare: Comparison):
    """Opens the files; use `build` or `open`."""
    self._root, self._compare = directory, compare
    self._items: Items = items
    self._read(state)

  @classmethod
  def build(
    cls,
    directory: os.PathLike | str,
    items: Items,
    similarity: Similarity,
    config: LandmarkConfig | None = None,
  ) -> "LandmarkIndex":
    """Builds an index in a folder, goes on with an interrupted one, or opens it.

    N items cost N (L + R) evaluations, of L landmarks and R `num_neighbors`, and the choice of
    settings at most 1 % of N L more where this is above some millions.

    Args:
      directory: the folder.
      items: N items, at least 2.
      similarity: see the class.
      config: how to build it; None = the defaults.

    Raises:
      InputError: there are too few items, the folder holds another index, or the similarity returns
        what it must not.
    """
    root, config = pathlib.Path(directory), config or LandmarkConfig()
    if len(items) < 2:
      raise InputError(f"An index of landmarks needs at least 2 items, not {len(items)}.")
    compare = Comparison(similarity, config.batch_pairs)
    with _locked(root):
      state = storage.read_state(root)
      if state is None:
        return cls(root, builder.build(root, items, compare, config), items, compare)
    if state.config != config:
      raise InputError(
        f"{root} holds an index that was built with {state.config}, not with {config}; give the"
        " same, or another folder."
      )
    return cls.open(root, items, similarity)

  @classmethod
  def open(
    cls, directory: os.PathLike | str, items: Items, similarity: Similarity
  ) -> "LandmarkIndex":
    """Opens an index; a few evaluations tell whether items and similarity are those of the build.

    Args:
      directory: the folder.
      items: all N items, those that were added or removed included.
      similarity: see the class.

    Raises:
      InputError: there is no complete index, or it is one of other items or another similarity.
    """
    root = pathlib.Path(directory)
    state = storage.read_state(root)
    if state is None:
      raise InputError(f"{root} holds no complete index of landmarks; build it.")
    if len(items) != state.num_items:
      raise InputError(f"{root} is an index of {state.num_items} items, not of {len(items)}.")
    index = cls(root, state, items, Comparison(similarity, state.config.batch_pairs))
    index._probe()
    return index

  def __len__(self) -> int:
    """Returns how many items there are, without those that were removed."""
    return self.state.num_items - len(self.state.removed)

  def search(self, queries: Items, *, k: int = 10, num_evaluations: int | None = None) -> Found:
    """Finds the most similar items of each query.

    A query is compared to the landmarks and placed. Then items are scored by the true similarity,
    those nearest to it and those to which the best so far are most alike, a twentieth at a time:
    after each it is placed anew, by what was scored.

    Args:
      queries: Q queries, of the kind of the items; also some of the items themselves.
      k: of the result, at least 1.
      num_evaluations: pairs to evaluate for each query, at least L; None = 4 L. As many as there
        are items find the true ones exactly.

    Returns:
      What was `Found`.

    Raises:
      InputError: a setting is out of range, or the similarity returns what it must not.
    """
    k = settings.integer("k", k, least=1)
    size = len(self._space.landmarks.ids)
    wanted = (1 + _SCORED) * size if num_evaluations is None else num_evaluations
    wanted = settings.integer("num_evaluations", wanted, least=size)
    return search(
      self._space,
      self._items,
      queries,
      self._compare,
      k=k,
      num_scored=wanted - size,
    )

  def add(self, items: Items) -> None:
    """Adds items behind the others; each costs L + R evaluations, and the space stays as it is.

    Args:
      items: n new items, which have the ids N to N + n - 1.

    Raises:
      InputError: another process changed the index.
    """
    if not len(items):
      return
    with self._changing():
      everything = appended(self._items, items)
      state = builder.append(self._root, self.state, self._space, everything, self._compare)
      self._items = everything
      self._read(state)

  def remove(self, ids: Sequence[int] | np.ndarray) -> None:
    """Removes items from all results; ids of the others stay, and landmarks go on to place.

    Args:
      ids: positions; those that were removed before are left out.

    Raises:
      InputError: an id is no position, or another process changed the index.
    """
    with self._changing():
      most = self.state.num_items - 1
      some = {settings.integer("ids", i, least=0, most=most) for i in ids}
      removed = tuple(sorted(some | {*self.state.removed}))
      state = dataclasses.replace(self.state, removed=removed)
      storage.write_state(self._root, state)
      self._read(state)

  def refine(self, num_neighbors: int = 16) -> None:
    """Compares each item to further ones: those to which the most alike to it are alike.

    It costs up to `num_neighbors` evaluations an item, and makes searches find more. A refinement
    that was interrupted goes on.

    Args:
      num_neighbors: further items for each item, at least 1.

    Raises:
      InputError: another process changed the index, or the similarity returns what it must not.
    """
    num_neighbors = settings.integer("num_neighbors", num_neighbors, least=1)
    with self._changing():
      state = builder.refine(
        self._root, self.state, self._items, self._compare, num_neighbors=num_neighbors
      )
      self._read(state)

  def growth(self) -> Growth:
    """Tells how well added items fit the space, and when to build it anew."""
    built = self.state.num_built
    added, advice, stress = self.state.num_items - built, None, None
    if added:
      stress = float(np.mean(self._space.stress[built:]))
      if stress > max(_GOOD_STRESS, _WORN_STRESS * self.state.stress):
        advice = (
          f"Added items fit the space worse (stress {stress:.3f}, those of the build"
          f" {self.state.stress:.3f}): build the index anew, with landmarks among them."
        )
      elif added > built:
        advice = f"{added} items were added to {built}: build the index anew."
    return Growth(built, added, self.state.stress, stress, advice)

  @property
  def points(self) -> np.ndarray:
    """Of all items, `[N, m]` float32, removed ones included."""
    return self._space.points

  @property
  def evaluations(self) -> int:
    """Pairs that this object has evaluated."""
    return self._compare.evaluations

  @contextlib.contextmanager
  def _changing(self) -> Iterator[None]:
    with _locked(self._root):
      if storage.read_state(self._root) != self.state:
        raise InputError(f"Another process changed {self._root}; open it again.")
      files.remove_leftovers(self._root)
      yield

  def _read(self, state: State) -> None:
    """Reads the points of all parts."""
    self._space = read_space(self._root, state)
    self.state, self.frame = state, self._space.frame

  def _probe(self) -> None:
    """Compares a landmark and the last item anew."""
    kept, landmarks = kept_profile(self._root, len(self.state.parts) - 1), self._space.landmarks
    shares = landmarks.range.shares(landmarks.similarities[-1])
    for item, row in ((int(landmarks.ids[-1]), shares), (self.state.num_items - 1, kept[-1])):
      builder.probe(self._items, item, row, landmarks, self._compare)


def _locked(root: pathlib.Path) -> contextlib.AbstractContextManager[None]:
  return files.locked(root, refusal=None, notice=f"Another process is changing {root}; waiting.")

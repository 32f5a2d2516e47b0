"""What re-ranking knows of a collection: the stored lists and the global features of its images.

They are on the devices as a whole where they fit; otherwise the host hands out the rows that a
block of queries needs.
"""

import dataclasses
from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from l2g_jax.errors import InputError
from l2g_jax.runtime import sharding

# Values that are looked through at a time: no copy of a part is large.
_CHECKED_VALUES = 1 << 22


# Of the host or of the devices.
Array = TypeVar("Array", np.ndarray, jax.Array)


class Neighbors(Protocol):
  """Ranked images of several queries: `SearchResult` and `NeighborLists` of the index fit.

  Attributes:
    ids: `[rows, k]` integer, database images, best first; -1 pads.
    similarities: `[rows, k]` floating, at least 0.
  """

  @property
  def ids(self) -> np.ndarray: ...  # noqa: D102
  @property
  def similarities(self) -> np.ndarray: ...  # noqa: D102


class Tables(NamedTuple, Generic[Array]):
  """Images by row: all of a collection, or the candidates of a block of queries.

  Attributes:
    list_ids: `[rows, L]` int32, the stored list of every image, best first; -1 pads.
    list_similarities: `[rows, L]` float32.
    features: `[rows, D]` float32.
  """

  list_ids: Array
  list_similarities: Array
  features: Array


@dataclasses.dataclass(frozen=True)
class Collection:
  """A collection of N images that was checked, and put on the devices if it fits.

  Attributes:
    neighbor_lists: `[N, L]`.
    features: `[N, D]` floating.
    mesh: the devices over which queries are spread.
    resident: the whole collection on every device; None where the host hands out rows.
  """

  neighbor_lists: Neighbors
  features: np.ndarray
  mesh: Mesh
  resident: Tables[jax.Array] | None


def place_collection(
  neighbor_lists: Neighbors,
  features: np.ndarray,
  *,
  resident: bool | None = None,
  mesh: Mesh | None = None,
) -> Collection:
  """Checks a collection and puts it on the devices, once for any number of queries.

  Args:
    neighbor_lists: of the N images, made offline by the index of the search.
    features: `[N, D]` global features, floating; may be memory-mapped.
    resident: whether every device holds all of it; None = where it takes no more than half of the
      memory that work may take. On False the rows that a block needs are copied to the devices.
    mesh: the devices over which queries are spread, of `sharding.make_mesh`; None = all, those of
      other hosts included.

  Returns:
    The `Collection`.

  Raises:
    InputError: shapes that do not fit, ids that are no integers or out of range, similarities below
      0 or not finite; features that are not finite, as far as they are put on the devices.
  """
  mesh = sharding.make_mesh() if mesh is None else mesh
  if features.ndim != 2:
    raise InputError(f"Global features of a collection must be [N, D], not {features.shape}.")
  check_neighbors("neighbour lists", neighbor_lists, len(features), len(features))
  if resident is None:
    num_bytes = 4 * len(features) * (features.shape[1] + 2 * neighbor_lists.ids.shape[1])
    resident = num_bytes <= sharding.bytes_at_hand(mesh) // 2
  tables = None
  if resident:
    for part in row_parts(features.shape):
      _check_features(features[part])
    rows = _rows_of(neighbor_lists, features, slice(None))
    tables = Tables(*(sharding.replicate(array, mesh) for array in rows))
  return Collection(neighbor_lists, features, mesh, tables)


def rows_for(collection: Collection, ids: np.ndarray) -> Tables[np.ndarray]:
  """Hands out what candidates `[rows]` need, -1 for padding, on the host.

  Args:
    collection: of N images.
    ids: `[rows]` integer, -1 .. N - 1.

  Returns:
    Their `Tables`, the rows of padding arbitrary.

  Raises:
    InputError: a feature among them is not finite.
  """
  rows = _rows_of(collection.neighbor_lists, collection.features, np.maximum(ids, 0))
  _check_features(rows.features)
  return rows


def check_neighbors(what: str, neighbors: Neighbors, num_rows: int, num_images: int) -> None:
  """Refuses ids and similarities that are no ranked images.

  Args:
    what: the name that an error gives them.
    neighbors: `[num_rows, k]`.
    num_rows: rows they must have.
    num_images: N, the size of the collection that the ids belong to.

  Raises:
    InputError: shapes that do not fit, ids that are no integers or out of range, similarities below
      0 or not finite.
  """
  ids, similarities = neighbors.ids, neighbors.similarities
  if ids.ndim != 2 or ids.shape != similarities.shape or len(ids) != num_rows:
    raise InputError(
      f"The {what} must be ids and similarities [{num_rows}, k], not {ids.shape} and "
      f"{similarities.shape}."
    )
  if not np.issubdtype(ids.dtype, np.integer):
    raise InputError(f"The ids of the {what} must be integers, not {ids.dtype}.")
  for part in row_parts(ids.shape):
    some_ids, some_similarities = ids[part], similarities[part]
    if some_ids.size and not (some_ids.min() >= -1 and some_ids.max() < num_images):
      raise InputError(f"The {what} hold an id outside -1 .. {num_images - 1}.")
    if not (np.all(np.isfinite(some_similarities)) and np.all(some_similarities >= 0.0)):
      raise InputError(f"The {what} hold a similarity that is below 0 or not finite.")


def row_parts(shape: tuple[int, ...]) -> Iterator[slice]:
  """Yields the rows of a matrix, which may be memory-mapped, in parts of a few megabytes."""
  num_rows, num_columns = shape
  step = max(1, _CHECKED_VALUES // max(1, num_columns))
  for start in range(0, num_rows, step):
    yield slice(start, start + step)


def _rows_of(neighbor_lists: Neighbors, features: np.ndarray, rows) -> Tables[np.ndarray]:
  return Tables(
    list_ids=np.asarray(neighbor_lists.ids[rows], np.int32),
    list_similarities=np.asarray(neighbor_lists.similarities[rows], np.float32),
    features=np.asarray(features[rows], np.float32),
  )


def _check_features(features: np.ndarray) -> None:
  if not np.all(np.isfinite(features)):
    raise InputError("The database's global features hold a value that is not finite.")

"""What re-ranking knows of a collection: the stored lists and the global features of its images.

They are on the devices as a whole where they fit; otherwise the host hands out the rows that a
block of queries needs. Sizes are rounded up on the devices, so that a collection that gains or
loses a few images is served by the programs that were compiled before.
"""

import dataclasses
import functools
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked, check_ranked
from l2g_jax.runtime import sharding
from l2g_jax.runtime.arrays import row_parts

# Of sizes that are rounded up, the least step.
_STEP = 64

# Of the host or of the devices.
Array = TypeVar("Array", np.ndarray, jax.Array)


class Tables(NamedTuple, Generic[Array]):
  """Images by row: those of a collection `[N]`, or the C candidates of a block `[block, C]`.

  Attributes:
    list_ids: `[..., L]` int32, the stored list of every image, best first; -1 pads. Of candidates,
      those that are embedded have one, `[block, k, L]`.
    list_similarities: `[..., L]` float32.
    features: `[..., D]` float32.
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
    resident: all of it on every device, rows and lists padded to a rounded size; None where the
      host hands out rows.
  """

  neighbor_lists: Ranked
  features: np.ndarray
  mesh: Mesh
  resident: Tables[jax.Array] | None

  @property
  def num_images(self) -> int:
    """Returns N."""
    return len(self.features)

  @property
  def list_length(self) -> int:
    """Returns L as the devices have it, rounded up."""
    return rounded_up(self.neighbor_lists.ids.shape[1])

  @property
  def id_bound(self) -> int:
    """Returns a power of two above all ids: it changes only where a collection doubles."""
    return 1 << self.num_images.bit_length()

  def tables_of(self, candidates: np.ndarray, *, num_embedded: int) -> Tables[jax.Array]:
    """Hands out what a block of queries needs of its candidates.

    Args:
      candidates: `[block, C]` integer, from -1, which pads, to N - 1; the block is a multiple of
        the devices.
      num_embedded: k, how many of a query, the first, come with their lists.

    Returns:
      Their `Tables`, split over the devices; the rows of padding are arbitrary.

    Raises:
      InputError: a feature among them is not finite.
    """
    rows = np.maximum(candidates, 0)
    if self.resident is not None:
      split = sharding.split(rows.astype(np.int32), self.mesh)
      return _take(self.resident, split, num_embedded=num_embedded, mesh=self.mesh)
    tables = _host_tables(self.neighbor_lists, rows[:, :num_embedded], self.features, rows)
    _check_features(tables.features)
    tables = _pad_lists(tables, self.list_length)
    return Tables(*(sharding.split(table, self.mesh) for table in tables))


def place_collection(
  neighbor_lists: Ranked,
  features: np.ndarray,
  *,
  mesh: Mesh,
  resident: bool | None = None,
) -> Collection:
  """Checks a collection and puts it on the devices, once for any number of queries.

  On the devices rows and lists are padded, see `rounded_up`: by an eighth at most, or by 63.

  Args:
    neighbor_lists: `[N, L]`, of the N images, made offline by the index of the search.
    features: `[N, D]` global features, floating; may be memory-mapped.
    mesh: the devices over which queries are spread, of `sharding.make_mesh`.
    resident: whether every device holds all of it; None = where it takes no more than half of the
      memory that work may take. On False the rows that a block needs are copied to the devices.

  Returns:
    The `Collection`.

  Raises:
    InputError: shapes do not fit, ids are not integers or out of range, similarities are below 0 or
      not finite; or features are not finite, as far as they are put on the devices.
  """
  if features.ndim != 2:
    raise InputError(f"Global features of a collection must be [N, D], not {features.shape}.")
  check_ranked("neighbour lists", neighbor_lists, len(features), len(features))
  num_rows, length = rounded_up(len(features)), rounded_up(neighbor_lists.ids.shape[1])
  if resident is None:
    num_bytes = 4 * num_rows * (features.shape[1] + 2 * length)
    resident = num_bytes <= sharding.bytes_at_hand(mesh) // 2
  tables = None
  if resident:
    for part in row_parts(features.shape):
      _check_features(features[part])
    every = slice(None)
    padded = _pad_lists(_host_tables(neighbor_lists, every, features, every), length)
    missing = num_rows - len(features)
    tables = Tables(
      *(sharding.replicate(np.pad(table, [(0, missing), (0, 0)]), mesh) for table in padded)
    )
  return Collection(neighbor_lists, features, mesh, tables)


def rounded_up(size: int) -> int:
  """Returns a size as the devices have it, for all sizes of a range the same.

  The next multiple of an eighth of the power of two at or below the size, and of 64 at least.
  """
  step = max(_STEP, 1 << max(0, size.bit_length() - 4))
  return -(-size // step) * step


@functools.partial(jax.jit, static_argnames=("num_embedded", "mesh"))
def _take(
  tables: Tables[jax.Array], rows: jax.Array, *, num_embedded: int, mesh: Mesh
) -> Tables[jax.Array]:
  """Takes the rows of a block `[block, C]` from tables that every device has as a whole."""

  def take_share(tables, rows):
    listed = rows[:, :num_embedded]
    wanted = Tables(list_ids=listed, list_similarities=listed, features=rows)
    return jax.tree.map(
      lambda table, rows: jnp.take(table, rows, axis=0, mode="clip"), tables, wanted
    )

  return sharding.map_shares(take_share, mesh)(tables, rows)


def _host_tables(
  neighbor_lists: Ranked,
  listed: slice | np.ndarray,
  features: np.ndarray,
  rows: slice | np.ndarray,
) -> Tables[np.ndarray]:
  return Tables(
    list_ids=np.asarray(neighbor_lists.ids[listed], np.int32),
    list_similarities=np.asarray(neighbor_lists.similarities[listed], np.float32),
    features=np.asarray(features[rows], np.float32),
  )


def _pad_lists(tables: Tables[np.ndarray], length: int) -> Tables[np.ndarray]:
  """Pads the lists `[..., L]` of tables to a length."""
  missing = [(0, 0)] * (tables.list_ids.ndim - 1)
  missing.append((0, length - tables.list_ids.shape[-1]))
  return tables._replace(
    list_ids=np.pad(tables.list_ids, missing, constant_values=-1),
    list_similarities=np.pad(tables.list_similarities, missing),
  )


def _check_features(features: np.ndarray) -> None:
  if not np.all(np.isfinite(features)):
    raise InputError("The database's global features hold a value that is not finite.")

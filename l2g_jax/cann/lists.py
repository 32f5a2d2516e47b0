"""Neighbour lists: the nearest images of every image of an index, made once, offline."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import tqdm

from l2g_jax import files
from l2g_jax.errors import InputError

if TYPE_CHECKING:
  from l2g_jax.cann.index import CannIndex

_KIND = "l2g_jax.cann.neighbors"
_VERSION = 1
_IMAGES_PER_PART = 128
# Neighbours whose similarity is exact: more than a re-ranking takes as known.
DEPTH = 64


@dataclasses.dataclass(frozen=True)
class NeighborLists:
  """The k nearest other images of each of N images, by similarity of its descriptors to theirs.

  Unpacks as `ids, similarities`.

  Attributes:
    ids: `[N, k]` int32, best first, ties by the smaller; -1 pads.
    similarities: `[N, k]` float32 in [0, 1]; 0 pads.
    state: of the index that made them.
  """

  ids: np.ndarray
  similarities: np.ndarray
  state: str

  def __iter__(self) -> Iterator[np.ndarray]:
    return iter((self.ids, self.similarities))


def make_lists(
  index: "CannIndex",
  k: int,
  *,
  rescoring_depth: int,
  show_progress: bool = True,
) -> NeighborLists:
  """Searches every image of an index in the index, or opens what was made so before.

  Parts are written beside the index as they are done: a run that was interrupted goes on where it
  stood, and shards that are done are not made again. A change of the index sweeps them away.

  Args:
    index: the index.
    k: neighbours of an image; the image itself is left out.
    rescoring_depth: see `CannConfig`.
    show_progress: whether to show a bar.

  Raises:
    InputError: k is below 1.
  """
  parts = range(-(-len(index.names) // _IMAGES_PER_PART))
  arrays = list(_make_parts(index, k, parts, rescoring_depth, show_progress=show_progress))
  return NeighborLists(
    ids=np.concatenate([part["ids"] for part in arrays] or [np.zeros((0, k), np.int32)]),
    similarities=np.concatenate(
      [part["similarities"] for part in arrays] or [np.zeros((0, k), np.float32)]
    ),
    state=index.state,
  )


def make_shard(
  index: "CannIndex",
  k: int,
  *,
  rescoring_depth: int,
  shard_index: int,
  num_shards: int,
  show_progress: bool = True,
) -> int:
  """Makes one of several shares of what `make_lists` makes, to be opened by it.

  Args:
    index: the index; all shards share its directory.
    k: see `make_lists`.
    rescoring_depth: see `CannConfig`.
    shard_index: which share, from 0.
    num_shards: of how many.
    show_progress: whether to show a bar.

  Returns:
    How many parts of other shards are not there yet.

  Raises:
    InputError: k is below 1, or there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} is not one of 0 to {num_shards - 1}.")
  parts = range(-(-len(index.names) // _IMAGES_PER_PART))
  mine = parts[shard_index::num_shards]
  for _ in _make_parts(index, k, mine, rescoring_depth, show_progress=show_progress):
    pass
  root = _directory(index, k, rescoring_depth)
  return sum(_load_part(root, part, index.state) is None for part in parts)


def _make_parts(
  index: "CannIndex", k: int, parts: range, rescoring_depth: int, *, show_progress: bool
) -> Iterator[Mapping[str, np.ndarray]]:
  """Yields parts, each of which is searched where it is not there yet."""
  if k < 1:
    raise InputError(f"Neighbour lists need k of at least 1, not {k}.")
  root = _directory(index, k, rescoring_depth)
  images = [_images(part, len(index.names)) for part in parts]
  with tqdm.tqdm(
    total=sum(map(len, images)), desc="neighbour lists", unit="image", disable=not show_progress
  ) as bar:
    for part, members in zip(parts, images, strict=True):
      made = _load_part(root, part, index.state)
      if made is None:
        made = _search_part(index, members, k, rescoring_depth, bar)
        files.save_bundle(
          _part_path(root, part),
          kind=_KIND,
          version=_VERSION,
          arrays=made,
          metadata={"state": index.state},
        )
      else:
        bar.update(len(members))
      yield made


def _directory(index: "CannIndex", k: int, rescoring_depth: int) -> pathlib.Path:
  return index.directory / f"neighbors-{files.checksum_json([index.state, k, rescoring_depth])}"


def _part_path(root: pathlib.Path, part: int) -> pathlib.Path:
  return root / f"part-{part:06d}"


def _images(part: int, num_images: int) -> range:
  return range(part * _IMAGES_PER_PART, min((part + 1) * _IMAGES_PER_PART, num_images))


def check_current(lists: NeighborLists, index: "CannIndex") -> None:
  """Refuses lists that another state of the index made."""
  if lists.state != index.state:
    raise InputError("The neighbour lists belong to another state of the index; make them again.")


def _load_part(root: pathlib.Path, part: int, state: str) -> Mapping[str, np.ndarray] | None:
  try:
    bundle = files.load_bundle(_part_path(root, part), kind=_KIND, version=_VERSION)
  except InputError:
    return None
  return bundle.arrays if bundle.metadata["state"] == state else None


def _search_part(index, images, k, rescoring_depth, bar) -> dict[str, np.ndarray]:
  """Searches some images for their neighbours."""
  ids = np.empty((len(images), k), np.int32)
  similarities = np.empty((len(images), k), np.float32)
  for row, image in enumerate(images):
    # One more, since an image finds itself.
    found = index.search_codes([index.codes(image)], k + 1, rescoring_depth=rescoring_depth + 1)
    itself = found.ids[0] == image
    # Where it did not, its last neighbour gives way.
    itself[-1] |= not itself.any()
    ids[row] = found.ids[0, ~itself]
    similarities[row] = found.similarities[0, ~itself]
    bar.update()
  return {"ids": ids, "similarities": similarities}

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
_IMAGES_PER_SEARCH = 16


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
  rescoring_depth: int = 32,
  show_progress: bool = True,
) -> NeighborLists:
  """Searches every image of an index in the index, or opens what was made so before.

  Parts are written beside the index as they are done: a run that was interrupted goes on where it
  stood. A change of the index sweeps them away.

  Args:
    index: the index.
    k: neighbours of an image; the image itself is left out.
    rescoring_depth: see `CannConfig`; for the lists a smaller one serves than for queries.
    show_progress: whether to show a bar.

  Raises:
    InputError: k is below 1.
  """
  if k < 1:
    raise InputError(f"Neighbour lists need k of at least 1, not {k}.")
  name = files.checksum_json([index.state, k, rescoring_depth])
  root = index.directory / f"neighbors-{name}"
  starts = range(0, len(index.names), _IMAGES_PER_PART)
  arrays = []
  with tqdm.tqdm(
    total=len(index.names), desc="neighbour lists", unit="image", disable=not show_progress
  ) as bar:
    for start in starts:
      images = range(start, min(start + _IMAGES_PER_PART, len(index.names)))
      path = root / f"part-{start:08d}"
      part = _load_part(path, index.state)
      if part is None:
        part = _search_part(index, images, k, rescoring_depth, bar)
        files.save_bundle(
          path, kind=_KIND, version=_VERSION, arrays=part, metadata={"state": index.state}
        )
      else:
        bar.update(len(images))
      arrays.append(part)
  return NeighborLists(
    ids=np.concatenate([part["ids"] for part in arrays]),
    similarities=np.concatenate([part["similarities"] for part in arrays]),
    state=index.state,
  )


def check_current(lists: NeighborLists, index: "CannIndex") -> None:
  """Refuses lists that another state of the index made."""
  if lists.state != index.state:
    raise InputError("The neighbour lists belong to another state of the index; make them again.")


def _load_part(path: pathlib.Path, state: str) -> Mapping[str, np.ndarray] | None:
  try:
    bundle = files.load_bundle(path, kind=_KIND, version=_VERSION)
  except InputError:
    return None
  return bundle.arrays if bundle.metadata["state"] == state else None


def _search_part(index, images, k, rescoring_depth, bar) -> dict[str, np.ndarray]:
  """Searches some images, a few at a time."""
  ids, similarities = [], []
  for start in range(images.start, images.stop, _IMAGES_PER_SEARCH):
    group = np.arange(start, min(start + _IMAGES_PER_SEARCH, images.stop))
    # One more, since an image finds itself.
    found = index.search_codes(
      [index.codes(image) for image in group], k + 1, rescoring_depth=rescoring_depth + 1
    )
    itself = found.ids == group[:, None]
    # Where it did not, its last neighbour gives way.
    itself[:, -1] |= ~itself.any(axis=1)
    shape = (len(group), k)
    ids.append(found.ids[~itself].reshape(shape))
    similarities.append(found.similarities[~itself].reshape(shape))
    bar.update(len(group))
  return {"ids": np.concatenate(ids), "similarities": np.concatenate(similarities)}

"""Neighbour lists: the nearest images of every image of an index, made offline and kept.

Lists of an index that has changed are made of those that there are, see `repair`. How they lie on
disk says `generations`.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from l2g_jax.cann import generations, repair, storage
from l2g_jax.cann.config import CannConfig, whole_number
from l2g_jax.cann.generations import Generation, Job
from l2g_jax.cann.repair import Repair, Rows
from l2g_jax.cann.scoring import Origins
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter
from l2g_jax.similarity.codec import Codes

_IMAGES_PER_PART = 128
# Neighbours whose similarity is exact: more than a re-ranking takes as known.
DEPTH = 64
# An image is searched for one more, itself, and ids are int32.
_MOST_NEIGHBORS = 2**31 - 2
_LOCK = "neighbors-lock"

# Makes the lists of some images.
_Make = Callable[[Sequence[int]], Rows]


class Searchable(Protocol):
  """What neighbour lists ask of an index: `CannIndex` fits."""

  @property
  def directory(self) -> pathlib.Path: ...  # noqa: D102
  @property
  def state(self) -> str: ...  # noqa: D102
  @property
  def manifest_checksum(self) -> str: ...  # noqa: D102
  @property
  def config(self) -> CannConfig: ...  # noqa: D102
  @property
  def origins(self) -> Origins: ...  # noqa: D102
  def codes(self, image: int) -> Codes: ...  # noqa: D102
  def search_codes(  # noqa: D102
    self, queries: Sequence[Codes], k: int, *, rescoring_depth: int
  ) -> "Found": ...
  def similarities_from(self, images: np.ndarray, ids: np.ndarray) -> np.ndarray: ...  # noqa: D102
  def is_current(self) -> bool: ...  # noqa: D102


class Found(Protocol):
  """What a search returns."""

  @property
  def ids(self) -> np.ndarray: ...  # noqa: D102
  @property
  def similarities(self) -> np.ndarray: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class NeighborLists:
  """The k nearest other images of each of N images, by similarity of its descriptors to theirs.

  Unpacks as `ids, similarities`.

  Attributes:
    ids: `[N, k]` int32, best first, ties by the smaller; -1 pads. Memory-mapped.
    similarities: `[N, k]` float32 in [0, 1], descending; 0 pads. Memory-mapped.
    state: of the index that they belong to.
  """

  ids: np.ndarray
  similarities: np.ndarray
  state: str

  def __iter__(self) -> Iterator[np.ndarray]:
    return iter((self.ids, self.similarities))


def make_lists(
  index: Searchable,
  k: int,
  *,
  rescoring_depth: int,
  show_progress: bool = True,
  verify: bool = False,
) -> NeighborLists:
  """Opens the lists of an index; makes them where they are not there.

  Where there are lists of another state of the index that few images were added to or removed from
  since, they are repaired: lists of images that stay are kept, without the images that are gone,
  and with the new ones where they belong; after `compact` all are kept, as the scan of the old
  cells left them. They differ from lists made anew at their ends, see `repair`. Where more was
  changed, every image is searched.

  What is made is written in parts: a run that was interrupted goes on where it stood, and shards
  that are done are not made again. One process makes lists, others wait for it.

  Args:
    index: the index.
    k: neighbours of an image; the image itself is left out.
    rescoring_depth: see `CannConfig`.
    show_progress: whether to show a bar.
    verify: whether to compare the checksums of lists that are there, not only their sizes.

  Raises:
    InputError: k is no whole number of at least 1, or rescoring_depth none of at least 0.
  """
  job = _job(index, k, rescoring_depth)
  rows = generations.load_whole(job, verify=verify)
  if rows is None:
    notice = "Another process makes neighbour lists of this index; waiting for it."
    with files.locked(index.directory / _LOCK, refusal=None, notice=notice):
      rows = generations.load_whole(job, verify=verify)
      if rows is None:
        rows = _make_whole(index, job, show_progress=show_progress)
  _sweep(index, job)
  return NeighborLists(rows.ids, rows.similarities, index.state)


def make_shard(
  index: Searchable,
  k: int,
  *,
  rescoring_depth: int,
  shard_index: int,
  num_shards: int,
  show_progress: bool = True,
) -> int:
  """Searches one of several shares of the images, for `make_lists` to open.

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
    InputError: see `make_lists`; or there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} is not one of 0 to {num_shards - 1}.")
  job = _job(index, k, rescoring_depth)
  if generations.load_whole(job) is not None:
    return 0
  parts = _parts("part", range(job.num_images))
  with _meter(show_progress) as meter:
    make = functools.partial(_search, index, job, job.k, meter)
    mine = dict([*parts.items()][shard_index::num_shards])
    for _ in _make_parts(job, mine, make, meter):
      pass
  return sum(generations.load_part(job, name, images) is None for name, images in parts.items())


def check_current(lists: NeighborLists, index: Searchable) -> None:
  """Refuses lists that belong to another state of the index."""
  if lists.state != index.state:
    raise InputError("The neighbour lists belong to another state of the index; make them again.")


def _job(index: Searchable, k: int, rescoring_depth: int) -> Job:
  return Job(
    directory=index.directory,
    state=index.state,
    manifest_checksum=index.manifest_checksum,
    config=index.config.to_json(),
    origins=index.origins,
    k=whole_number("Neighbour lists need k", k, least=1, most=_MOST_NEIGHBORS),
    depth=whole_number("Neighbour lists need rescoring_depth", rescoring_depth, least=0),
  )


def _sweep(index: Searchable, job: Job) -> None:
  """Removes what is useless; it stays for another time while a process makes lists of any state."""
  useless = generations.find_useless(job, index_is_current=index.is_current())
  if useless:
    lock = files.locked(index.directory / _LOCK, refusal="Lists are being made.")
    # What can't be removed where nothing may be written does no harm.
    with contextlib.suppress(OSError, InputError), lock:
      for path in useless:
        storage.remove(path)


def _make_whole(index: Searchable, job: Job, *, show_progress: bool) -> Rows:
  """Makes what is missing of the lists, and joins it."""
  parts = _parts("part", range(job.num_images))
  source = generations.find_source(job)
  with _meter(show_progress) as meter:
    if source is None:
      make = functools.partial(_search, index, job, job.k, meter)
    else:
      make = _repairing(index, job, source, meter)
    for _ in _make_parts(job, parts, make, meter):
      pass
  generations.save_whole(job, [*parts])
  rows = generations.load_whole(job)
  if rows is None:
    raise FileNotFoundError(f"{job.root} vanished while neighbour lists were made.")
  return rows


def _repairing(index: Searchable, job: Job, source: Generation, meter: Meter) -> _Make:
  """Searches the images that are new in an index; returns what makes lists of those there were."""
  numbers = source.change.added
  search = functools.partial(_search, index, job, repair.reach(job.k), meter)
  added = _make_parts(job, _parts("added", numbers.tolist()), search, meter)
  repairing = Repair.start(index, source.rows, source.change, job.k, added)

  def make(images: Sequence[int]) -> Rows:
    rows, holds = repairing.lists(images)
    meter.advance(int(holds.sum()))
    for row in np.flatnonzero(~holds).tolist():
      part, place = divmod(int(np.searchsorted(numbers, images[row])), _IMAGES_PER_PART)
      own = None
      if source.change.rows[images[row]] < 0:
        own = generations.load_part(job, _name("added", part))
      if own is None:
        own, place = _search(index, job, job.k, meter, images[row : row + 1]), 0
      rows.ids[row] = own.ids[place, : job.k]
      rows.similarities[row] = own.similarities[place, : job.k]
    return rows

  return make


def _search(index: Searchable, job: Job, k: int, meter: Meter, images: Sequence[int]) -> Rows:
  """Searches some images of an index in it."""
  rows = repair.empty_rows(len(images), k)
  for row, image in enumerate(images):
    # One more, since an image finds itself.
    found = index.search_codes([index.codes(image)], k + 1, rescoring_depth=job.depth + 1)
    others = found.ids[0] != image
    rows.ids[row] = found.ids[0, others][:k]
    rows.similarities[row] = found.similarities[0, others][:k]
    meter.advance()
  return rows


def _make_parts(
  job: Job, parts: dict[str, Sequence[int]], make: _Make, meter: Meter
) -> Iterator[Rows]:
  """Yields parts, each of which is made where it is not there yet."""
  meter.update(total=(meter.total or 0) + sum(map(len, parts.values())))
  for name, images in parts.items():
    rows = generations.load_part(job, name, images, verify=True)
    if rows is None:
      rows = make(images)
      generations.save_part(job, name, images, rows)
    else:
      meter.advance(len(images))
    yield rows


def _parts(prefix: str, images: Sequence[int]) -> dict[str, Sequence[int]]:
  """Cuts images into parts, by name."""
  starts = range(0, len(images), _IMAGES_PER_PART)
  return {
    _name(prefix, part): images[start : start + _IMAGES_PER_PART]
    for part, start in enumerate(starts)
  }


def _name(prefix: str, part: int) -> str:
  return f"{prefix}-{part:06d}"


def _meter(show_progress: bool) -> Meter:
  return Meter("neighbour lists", total=0, unit="images", disabled=not show_progress)

"""Neighbour lists: the nearest images of every image of an index, made offline and kept.

Where the index has changed, the lists of its former state are repaired, see `repair`; `generations`
says how lists lie on disk. This module knows an index only by the functions in `Searches`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from l2g_jax.cann import generations, repair, storage
from l2g_jax.cann.generations import Generation, Job
from l2g_jax.cann.repair import Repair, Rows
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter

IMAGES_PER_PART = 128
# Images that are searched together, between two words on the progress.
IMAGES_PER_SEARCH = 64
# Neighbours whose similarity is exact: more than a re-ranking takes as known.
DEPTH = 64
_LOCK = "neighbors-lock"

# Makes the lists of some images.
_Make = Callable[[Sequence[int]], Rows]


@dataclasses.dataclass(frozen=True)
class Searches:
  """What lists are made with: functions of an index.

  Attributes:
    search: finds the images most similar to some images of the index, themselves among them: of
      their ids, k and the rescoring depth it makes a `Ranked` `[images, k]`.
    compare: computes exact similarities `[images, ids]` of images of the index.
    is_current: tells whether the index is as it was when it was opened.
  """

  search: Callable[[Sequence[int], int, int], Ranked]
  compare: repair.Compare
  is_current: Callable[[], bool]


def make_lists(
  job: Job, searches: Searches, *, show_progress: bool = True, verify: bool = False
) -> Ranked:
  """Opens the lists of an index; makes them where they are not there.

  If the index differs by few images from a state whose lists are there, those are repaired. Images
  that stay keep their lists, without the images that are gone, and with the new ones where they
  belong. After `compact` all lists are kept, as the scan of the old cells left them. Repaired lists
  differ from lists made anew only at their ends, see `repair`. If more has changed, every image is
  searched.

  Lists are written in parts, so that an interrupted run goes on where it stood, and finished shards
  are not made again. One process makes lists; others wait for it.

  Args:
    job: the lists that are wanted.
    searches: of the index.
    show_progress: whether to show a bar.
    verify: whether to compare the checksums of lists that are there, not only their sizes.

  Returns:
    The neighbours `[N, k]` of every image, without the image itself; memory-mapped.
  """
  rows = generations.load_whole(job, verify=verify)
  if rows is None:
    notice = "Another process makes neighbour lists of this index; waiting for it."
    with files.locked(job.directory / _LOCK, refusal=None, notice=notice):
      rows = generations.load_whole(job, verify=verify)
      if rows is None:
        rows = _make_whole(job, searches, show_progress=show_progress)
  _sweep(job, searches)
  return Ranked(rows.ids, rows.similarities)


def make_shard(
  job: Job,
  searches: Searches,
  *,
  shard_index: int,
  num_shards: int,
  show_progress: bool = True,
) -> int:
  """Searches one of several shares of the images, for `make_lists` to open.

  Args:
    job: the lists that are wanted; all shards share its directory.
    searches: of the index.
    shard_index: which share, from 0.
    num_shards: of how many.
    show_progress: whether to show a bar.

  Returns:
    How many parts of other shards are not there yet.

  Raises:
    InputError: there is no such shard.
  """
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} is not one of 0 to {num_shards - 1}.")
  if generations.load_whole(job) is not None:
    return 0
  parts = _parts("part", range(job.num_images))
  with _meter(show_progress) as meter:
    make = functools.partial(_search, job, searches, job.k, meter)
    mine = dict([*parts.items()][shard_index::num_shards])
    for _ in _make_parts(job, mine, make, meter):
      pass
  return sum(generations.load_part(job, name, images) is None for name, images in parts.items())


def _sweep(job: Job, searches: Searches) -> None:
  """Removes useless lists, unless a process is making lists; then they stay until another time."""
  useless = generations.find_useless(job, index_is_current=searches.is_current())
  if useless:
    lock = files.locked(job.directory / _LOCK, refusal="Lists are being made.")
    # Useless lists in a folder that may not be written to do no harm.
    with contextlib.suppress(OSError, InputError), lock:
      for path in useless:
        storage.remove(path)


def _make_whole(job: Job, searches: Searches, *, show_progress: bool) -> Rows:
  """Makes the parts that are missing, and joins all of them."""
  parts = _parts("part", range(job.num_images))
  source = generations.find_source(job)
  with _meter(show_progress) as meter:
    if source is None:
      make = functools.partial(_search, job, searches, job.k, meter)
    else:
      make = _repairing(job, searches, source, meter)
    for _ in _make_parts(job, parts, make, meter):
      pass
  generations.save_whole(job, [*parts])
  rows = generations.load_whole(job)
  if rows is None:
    raise FileNotFoundError(f"{job.root} vanished while neighbour lists were made.")
  return rows


def _repairing(job: Job, searches: Searches, source: Generation, meter: Meter) -> _Make:
  """Searches the images that are new in an index; returns a function that makes all lists."""
  numbers = source.change.added
  search = functools.partial(_search, job, searches, repair.reach(job.k), meter)
  added = _make_parts(job, _parts("added", numbers.tolist()), search, meter)
  repairing = Repair.start(searches.compare, source.rows, source.change, job.k, added)

  def make(images: Sequence[int]) -> Rows:
    rows, holds = repairing.lists(images)
    meter.advance(int(holds.sum()))
    for row in np.flatnonzero(~holds).tolist():
      part, own_row = divmod(int(np.searchsorted(numbers, images[row])), IMAGES_PER_PART)
      own = None
      if source.change.rows[images[row]] < 0:
        own = generations.load_part(job, _name("added", part))
      if own is None:
        own, own_row = _search(job, searches, job.k, meter, images[row : row + 1]), 0
      rows.ids[row] = own.ids[own_row, : job.k]
      rows.similarities[row] = own.similarities[own_row, : job.k]
    return rows

  return make


def _search(job: Job, searches: Searches, k: int, meter: Meter, images: Sequence[int]) -> Rows:
  """Searches some images of an index in it."""
  rows = repair.empty_rows(len(images), k)
  for start in range(0, len(images), IMAGES_PER_SEARCH):
    some = images[start : start + IMAGES_PER_SEARCH]
    # One more, since an image finds itself.
    found = searches.search(some, k + 1, job.depth + 1)
    for row, image in enumerate(some):
      others = found.ids[row] != image
      rows.ids[start + row] = found.ids[row, others][:k]
      rows.similarities[start + row] = found.similarities[row, others][:k]
    meter.advance(len(some))
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
  starts = range(0, len(images), IMAGES_PER_PART)
  return {
    _name(prefix, part): images[start : start + IMAGES_PER_PART]
    for part, start in enumerate(starts)
  }


def _name(prefix: str, part: int) -> str:
  return f"{prefix}-{part:06d}"


def _meter(show_progress: bool) -> Meter:
  return Meter("neighbour lists", total=0, unit="images", disabled=not show_progress)

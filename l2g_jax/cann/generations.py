"""The folders of neighbour lists beside an index: which are there, which may be removed.

`neighbors-STATE-K-DEPTH` names the state of the index and the settings. While lists are made it
holds parts, `part-000000` and on, of some images each; then `whole`, all of them as one bundle,
memory-mapped. Version 1 had the parts alone, in a folder named by a checksum of the three; they are
read, and become a whole.

Only folders with names of ours that are provably ours are removed, see `files.remove_ours`.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from l2g_jax.cann import repair, storage
from l2g_jax.cann.repair import Change, Rows
from l2g_jax.cann.scoring import Origins
from l2g_jax.errors import InputError
from l2g_jax.runtime import files

_PART_KIND = "l2g_jax.cann.neighbors"
_WHOLE_KIND = "l2g_jax.cann.neighbor_lists"
_VERSION = 1
_WHOLE = "whole"
_FOLDER = re.compile(r"neighbors-([0-9a-f]{32})-(\d+)-(\d+)")
_FOLDER_1 = re.compile(r"neighbors-[0-9a-f]{32}")
_PART = re.compile(r"(part|added)-\d{6}")


@dataclasses.dataclass(frozen=True)
class Job:
  """Lists that are wanted.

  Attributes:
    directory: of the index.
    state: of the index.
    manifest_checksum: of the index, which was its state in version 1.
    config: of the index, as JSON.
    origins: of its images.
    k: neighbours of an image.
    depth: of rescoring.
  """

  directory: pathlib.Path
  state: str
  manifest_checksum: str
  config: dict[str, Any]
  origins: Origins
  k: int
  depth: int

  @property
  def num_images(self) -> int:
    """Returns N."""
    return sum(count for _, _, count in self.origins)

  @property
  def root(self) -> pathlib.Path:
    """Returns the folder of the lists."""
    return self.directory / f"neighbors-{self.state}-{self.k}-{self.depth}"

  @property
  def root_1(self) -> pathlib.Path:
    """Returns the folder of the same lists in version 1."""
    key = files.checksum_json([self.manifest_checksum, self.k, self.depth])
    return self.directory / f"neighbors-{key}"


@dataclasses.dataclass(frozen=True)
class Generation:
  """The whole lists of a state of an index that is not wanted, and how it differs."""

  folder: pathlib.Path
  rows: Rows
  change: Change
  k: int
  depth: int


def load_whole(job: Job, *, verify: bool = False) -> Rows | None:
  """Opens lists by memory map; None where they are not there, or damaged."""
  bundle = _load(job.root / _WHOLE, _WHOLE_KIND, verify=verify)
  rows = None if bundle is None else _rows(bundle)
  fits = rows is not None and rows.ids.shape == (job.num_images, job.k)
  return rows if fits else None


def save_whole(job: Job, parts: Sequence[str]) -> None:
  """Joins parts, of which one is in memory at a time."""

  def blocks(field: str) -> Iterator[np.ndarray]:
    for name in parts:
      rows = load_part(job, name)
      if rows is None:
        raise FileNotFoundError(f"{job.root / name} vanished while neighbour lists were made.")
      yield getattr(rows, field)

  shape = job.num_images, job.k
  files.save_bundle(
    job.root / _WHOLE,
    kind=_WHOLE_KIND,
    version=_VERSION,
    arrays={
      "ids": files.Stream(shape, np.int32, blocks("ids")),
      "similarities": files.Stream(shape, np.float32, blocks("similarities")),
      "lost": files.Stream(shape[:1], np.int32, blocks("lost")),
    },
    metadata={"state": job.state, "config": job.config, "origins": job.origins},
  )


def load_part(
  job: Job, name: str, images: Sequence[int] | None = None, *, verify: bool = False
) -> Rows | None:
  """Opens a part; None where it is not there, damaged, or of other images than are expected."""
  for root, state in ((job.root, job.state), (job.root_1, job.manifest_checksum)):
    bundle = _load(root / name, _PART_KIND, verify=verify)
    if bundle is None or bundle.metadata["state"] != state:
      continue
    rows = _rows(bundle)
    known = bundle.arrays.get("images")
    if images is None or (
      len(rows.ids) == len(images) and (known is None or np.array_equal(known, images))
    ):
      return rows
  return None


def save_part(job: Job, name: str, images: Sequence[int], rows: Rows) -> None:
  """Saves a part."""
  files.save_bundle(
    job.root / name,
    kind=_PART_KIND,
    version=_VERSION,
    arrays={
      "images": np.asarray(images, np.int32),
      "ids": rows.ids,
      "similarities": rows.similarities,
      "lost": rows.lost,
    },
    metadata={"state": job.state},
  )


def find_source(job: Job) -> Generation | None:
  """Returns the lists that are repaired with the least work; None where there are none."""
  sources = [
    generation
    for generation in _generations(job)
    if generation.depth == job.depth
    and repair.serves(generation.k, len(generation.change.positions), job.k)
  ]
  return min(sources, key=lambda source: source.change.size, default=None)


def find_useless(job: Job, *, index_is_current: bool) -> list[pathlib.Path]:
  """Finds the files that whole lists make useless, also those that a killed run has left.

  These are the parts of whole lists, and the lists of other states of the index. Of those states
  one generation stays for a repair, for each depth and for each k above that of this state's lists,
  as long as the change is small. Lists of the same state stay; if the index has changed meanwhile,
  all lists stay.
  """
  useless = [job.root_1] if job.root_1.exists() else []
  current = {folder for folder in _folders(job.directory) if _is_current(folder, job)}
  for folder in current:
    if _load(folder / _WHOLE, _WHOLE_KIND) is not None:
      useless += [
        path for path in folder.iterdir() if _PART.fullmatch(path.name) or files.target_of(path)
      ]
  if not index_is_current:
    return useless
  longest = {job.depth: job.k}
  kept = {}
  for old in sorted(_generations(job), key=lambda old: old.change.size, reverse=True):
    if old.folder in current:
      longest[old.depth] = max(old.k, longest.get(old.depth, 0))
    else:
      kept[old.depth, old.k] = old.folder
  needed = {folder for (depth, k), folder in kept.items() if k > longest.get(depth, 0)}
  return [*useless, *({*_folders(job.directory)} - current - needed)]


def remove_all(directory: pathlib.Path) -> None:
  """Removes the lists of an index that is not there any more."""
  for folder in _folders(directory):
    storage.remove(folder)


def _generations(job: Job) -> Iterator[Generation]:
  """Yields all lists but those wanted that may be repaired."""
  for folder in _folders(job.directory):
    match = _FOLDER.fullmatch(folder.name)
    if match is None or folder == job.root:
      continue
    bundle = _load(folder / _WHOLE, _WHOLE_KIND)
    if bundle is None or bundle.metadata["config"] != job.config:
      continue
    change = repair.compare(bundle.metadata["origins"], job.origins)
    if change.is_small:
      yield Generation(folder, _rows(bundle), change, int(match[2]), int(match[3]))


def _folders(directory: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders of lists, by their names."""
  return sorted(
    path
    for path in directory.iterdir()
    if _FOLDER.fullmatch(path.name) or _FOLDER_1.fullmatch(path.name)
  )


def _is_current(folder: pathlib.Path, job: Job) -> bool:
  """Whether lists belong to the state that is wanted: by the name, or by any part of version 1."""
  match = _FOLDER.fullmatch(folder.name)
  if match:
    return match[1] == job.state
  bundles = (_load(path, _PART_KIND) for path in folder.glob("part-*"))
  states = (bundle.metadata["state"] for bundle in bundles if bundle is not None)
  return next(states, None) == job.manifest_checksum


def _load(path: pathlib.Path, kind: str, *, verify: bool = False) -> files.Bundle | None:
  try:
    return files.load_bundle(path, kind=kind, version=_VERSION, verify=verify)
  except InputError:
    # Not there, damaged, or removed by another process at any point.
    return None


def _rows(bundle: files.Bundle) -> Rows:
  ids = bundle.arrays["ids"]
  lost = bundle.arrays.get("lost", np.zeros(len(ids), np.int32))
  return Rows(ids, bundle.arrays["similarities"], lost)

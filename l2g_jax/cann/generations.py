"""The folders of neighbour lists beside an index: which there are, what they hold, which may go.

`neighbors-STATE-K-DEPTH` names the state of the index and the settings. While lists are made it
holds parts, `part-000000` and on, of some images each; then `whole`, all of them as one bundle,
memory-mapped. Version 1 had the parts alone, in a folder named by a checksum of the three; they are
read, and become a whole.

What is removed is ours by two names: the folder's, and the entry's in it.
"""

import contextlib
import dataclasses
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from l2g_jax import files
from l2g_jax.cann import repair, storage
from l2g_jax.cann.repair import Change, Rows
from l2g_jax.cann.scoring import Origins

_PART_KIND = "l2g_jax.cann.neighbors"
_WHOLE_KIND = "l2g_jax.cann.neighbor_lists"
_VERSION = 1
_WHOLE = "whole"
_FOLDER = re.compile(r"neighbors-([0-9a-f]{32})-(\d+)-(\d+)")
_FOLDER_1 = re.compile(r"neighbors-[0-9a-f]{32}")
# A bundle, or what a process that was killed has left of one.
_ENTRY = re.compile(r"(whole|(part|added)-\d{6})|\.(whole|(part|added)-\d{6})-\w+")


@dataclasses.dataclass(frozen=True)
class Job:
  """Lists that are wanted.

  Attributes:
    directory: of the index.
    state: of the index.
    config: of the index, as JSON.
    origins: of its images.
    k: neighbours of an image.
    depth: of rescoring.
  """

  directory: pathlib.Path
  state: str
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
    key = files.checksum_json([self.state, self.k, self.depth])
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
  for root in (job.root, job.root_1):
    bundle = _load(root / name, _PART_KIND, verify=verify)
    if bundle is None or bundle.metadata["state"] != job.state:
      continue
    rows = _rows(bundle)
    known = bundle.arrays.get("images")
    if images is None or (
      len(rows.ids) == len(images) and (known is None or np.array_equal(known, images))
    ):
      return rows
  return None


def save_part(job: Job, name: str, images: Sequence[int], rows: Rows) -> None:
  """Saves a part, unless another process was faster."""
  try:
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
  except OSError:
    if load_part(job, name, images) is None:
      raise


def find_source(job: Job) -> Generation | None:
  """Returns the lists that are repaired with the least work; None where there are none."""
  sources = [
    generation
    for generation in _generations(job)
    if generation.depth == job.depth
    and repair.serves(generation.k, len(generation.change.positions), job.k)
  ]
  return min(sources, key=lambda source: source.change.size, default=None)


def sweep(job: Job) -> None:
  """Removes what lists that are whole now make useless.

  That is their parts, and lists of other states of the index. Of these one generation stays for a
  repair, of each depth and of each k above that of the new lists, as long as it is small. Lists of
  the same state stay. All stays where the index has changed meanwhile.
  """
  _clear(job.root, kept=_WHOLE)
  _remove(job.root_1)
  if files.checksum_json(storage.read_manifest(job.directory)) != job.state:
    return
  kept = {}
  for generation in sorted(_generations(job), key=lambda old: old.change.size, reverse=True):
    if generation.depth != job.depth or generation.k > job.k:
      kept[generation.depth, generation.k] = generation.folder
  for folder in _folders(job.directory):
    match = _FOLDER.fullmatch(folder.name)
    current = match[1] == job.state if match else _state_1(folder) == job.state
    if not current and folder not in kept.values():
      _remove(folder)


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


def _state_1(folder: pathlib.Path) -> str | None:
  """Returns the state that lists of version 1 belong to, by any part of theirs."""
  bundles = (_load(path, _PART_KIND) for path in folder.glob("part-*"))
  return next((bundle.metadata["state"] for bundle in bundles if bundle is not None), None)


def _load(path: pathlib.Path, kind: str, *, verify: bool = False) -> files.Bundle | None:
  try:
    return files.load_bundle(path, kind=kind, version=_VERSION, verify=verify)
  except (ValueError, FileNotFoundError):
    # Damaged, or removed by another process at any point.
    return None


def _rows(bundle: files.Bundle) -> Rows:
  ids = bundle.arrays["ids"]
  lost = bundle.arrays.get("lost", np.zeros(len(ids), np.int32))
  return Rows(ids, bundle.arrays["similarities"], lost)


def _remove(folder: pathlib.Path) -> None:
  """Removes what is ours in a folder, and the folder if nothing else is in it."""
  _clear(folder)
  with contextlib.suppress(OSError):
    folder.rmdir()


def _clear(folder: pathlib.Path, *, kept: str | None = None) -> None:
  entries: Iterable[pathlib.Path] = folder.iterdir() if folder.is_dir() else ()
  for path in [*entries]:
    if path.name != kept and _ENTRY.fullmatch(path.name):
      shutil.rmtree(path, ignore_errors=True)

"""The images of a collection: a data set, or a folder of photographs that is followed."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from l2g_jax.data.dataset import Dataset
from l2g_jax.data.image_formats import endings
from l2g_jax.data.image_names import name_images, printable
from l2g_jax.data.photo_folders import find_photographs
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.runtime import files

_FILE = "photographs.json"
_KIND = "l2g_jax.photographs"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a collection, as they are now.

  Attributes:
    jobs: its images, by name.
    left_out: files and folders that are not among them, by reason.
  """

  jobs: Sequence[ImageJob]
  left_out: Mapping[str, Sequence[pathlib.Path]] = dataclasses.field(default_factory=dict)

  def path(self, name: str) -> pathlib.Path:
    """Returns the file of an image."""
    return next(job.path for job in self.jobs if job.name == name)


# Says which images of a folder a look takes in, given all of them, by name, and the names of those
# that the collection holds already.
Choose = Callable[[Sequence[ImageJob], Set[str]], Sequence[ImageJob]]


def list_dataset(dataset: Dataset) -> Listing:
  """Lists the database of a data set, in the order of its ground truth."""
  names = dataset.ground_truth.imlist
  return Listing([ImageJob(*job) for job in zip(names, dataset.database_paths, strict=True)])


@dataclasses.dataclass(frozen=True)
class Folder:
  """A folder of photographs, and the user's changes to it.

  Attributes:
    root: the folder.
    directory: where the changes are noted.
  """

  root: pathlib.Path
  directory: pathlib.Path

  def list(self) -> Listing:
    """Lists the photographs in the folder and below it, less the removed, and those added.

    A photograph is named by its path below the folder; one that was added from elsewhere by its
    absolute path.

    Raises:
      InputError: the folder is missing or can't be read, or no photograph is left.
    """
    changes = _read(self.directory)
    photographs = find_photographs(self.root)
    if changes == _Changes():
      jobs = zip(photographs.names, photographs.paths, strict=True)
      return Listing([ImageJob(*job) for job in jobs], photographs.left_out)
    found = {_key(path): path for path in photographs.paths}
    kept = {key: path for key, path in found.items() if key not in changes.removed}
    kept |= {key: pathlib.Path(key) for key in changes.added if key not in kept}
    names = name_images([self._below(path) for path in kept.values()])
    jobs = [ImageJob(*job) for job in zip(names, kept.values(), strict=True)]
    return Listing(sorted(jobs, key=lambda job: job.name), photographs.left_out)

  def add(self, photographs: Iterable[os.PathLike | str]) -> None:
    """Notes photographs that belong to the collection wherever they lie.

    Raises:
      InputError: one is missing, or of no format that can be read.
    """
    paths = [pathlib.Path(path) for path in photographs]
    for path in paths:
      if not files.is_file(path):
        raise InputError(f"There is no image at {printable(str(path))} to add.")
      if path.suffix.lower() not in endings():
        raise InputError(f"{printable(str(path))} is of no image format that can be read.")
    changes = _read(self.directory)
    keys = {_key(path) for path in paths}
    inside = {key for key in keys if pathlib.Path(key).is_relative_to(self.root.resolve())}
    _write(
      self.directory,
      _Changes(added=changes.added | (keys - inside), removed=changes.removed - keys),
    )

  def remove(self, jobs: Iterable[ImageJob]) -> None:
    """Notes photographs that do not belong to the collection wherever they lie."""
    changes = _read(self.directory)
    keys = {_key(job.path) for job in jobs}
    _write(
      self.directory,
      _Changes(added=changes.added - keys, removed=changes.removed | (keys - changes.added)),
    )

  def _below(self, path: pathlib.Path) -> str:
    """Returns a photograph's path below the folder, or its absolute path."""
    return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()


def folder_directory(work_dir: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Returns where everything made of a folder lies: the folder is known by its resolved path."""
  digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=4)
  return work_dir / f"folder-{digest.hexdigest()}"


@dataclasses.dataclass(frozen=True)
class _Changes:
  """A user's changes to a folder: files by their resolved paths."""

  added: frozenset[str] = frozenset()
  removed: frozenset[str] = frozenset()


def _key(path: pathlib.Path) -> str:
  return str(path.resolve())


def _read(directory: pathlib.Path) -> _Changes:
  path = directory / _FILE
  if not path.exists():
    return _Changes()
  content = files.read_manifest(path)
  if (content.get("kind"), content.get("version")) != (_KIND, _VERSION):
    raise InputError(f"{path} was written by another version; move it away to start anew.")
  return _Changes(frozenset(content["added"]), frozenset(content["removed"]))


def _write(directory: pathlib.Path, changes: _Changes) -> None:
  content = {"added": sorted(changes.added), "removed": sorted(changes.removed)}
  files.write_manifest(directory / _FILE, {"kind": _KIND, "version": _VERSION, **content})

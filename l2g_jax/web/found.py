"""The pictures that are in the folder now, by identifiers that say nothing of the disk."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

from l2g_jax.data.image_names import printable
from l2g_jax.features.extraction import ImageJob
from l2g_jax.retriever.listing import Listing

# What changes with the content of a file: size, times of change of content and entry, inode.
Stamp = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture that may be shown and searched for.

  Attributes:
    id: by which clients know it.
    name: as it is shown.
    path: its file.
    stamp: of the file when it was last looked at.
  """

  id: str
  name: str
  path: pathlib.Path
  stamp: Stamp

  @property
  def key(self) -> str:
    """A name for what is made of the picture, which changes where its file does."""
    text = "\0".join([os.fspath(self.path), *map(str, self.stamp)])
    return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class Found:
  """What is in the folder.

  Attributes:
    jobs: its photographs, by name.
    stamps: of those whose file is there, by name.
    left_out: other files, by reason.
  """

  jobs: Sequence[ImageJob] = ()
  stamps: Mapping[str, Stamp] = dataclasses.field(default_factory=dict)
  left_out: Mapping[str, Sequence[pathlib.Path]] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def pictures(self) -> Mapping[str, Picture]:
    """The photographs by identifier, in the order of their names."""
    return {
      (key := image_id(job.name)): Picture(
        key, printable(job.name), job.path, self.stamps[job.name]
      )
      for job in self.jobs
      if job.name in self.stamps
    }


def image_id(name: str) -> str:
  """Returns the identifier of an image: 16 hexadecimal digits of a checksum of its name."""
  return hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()


def stamp_of(path: os.PathLike | str) -> Stamp | None:
  """Returns what changes with the content of a file; None where there is none."""
  try:
    status = os.stat(path)
  except OSError:
    return None
  return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def look_at(listing: Listing) -> Found:
  """Returns what a listing names, with the stamps of the files."""
  stamps = ((job.name, stamp_of(job.path)) for job in listing.jobs)
  known = {name: stamp for name, stamp in stamps if stamp is not None}
  return Found(listing.jobs, known, listing.left_out)

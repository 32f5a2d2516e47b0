"""Unpacks archives, which could hold anything: all files of one or none."""

import gzip
import os
import pathlib
import tarfile
import zlib
from collections.abc import Mapping
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.runtime import files, progress
from l2g_jax.runtime.arrays import check_inflation

_CHUNK_BYTES = 1 << 20

# The size and checksum of a file.
State = Mapping[str, Any]


def state_of(path: pathlib.Path) -> State:
  """Returns the size and the checksum of a file."""
  return {"bytes": path.stat().st_size, "checksum": files.checksum_file(path)}


def unpack(
  archive: os.PathLike | str,
  folder: os.PathLike | str,
  *,
  flat: bool = True,
  show_progress: bool = False,
) -> dict[str, State]:
  """Unpacks the files of a `.tar.gz`, all of them or none.

  Args:
    archive: the archive.
    folder: the folder of its files; a file that is there already must be the same.
    flat: whether files leave their folders in the archive.
    show_progress: whether to show a bar.

  Returns:
    The size and checksum of every file, by its path below `folder`.

  Raises:
    InputError: the archive is truncated or damaged, holds a link, a device, a path that leads
      outside or a name twice, inflates beyond measure, or holds a file that is in `folder` with
      other content.
    OSError: the disk is full or can't be written.
  """
  archive, folder = pathlib.Path(archive), pathlib.Path(folder)
  staging = archive.with_name(f"{archive.name}.unpacked")
  try:
    with files.workplace(staging) as workplace:
      members = _extract(archive, workplace / staging.name, flat, show_progress)
      for name, state in members.items():
        move(workplace / staging.name / name, folder / name, state)
      _sync()
  except OSError as error:
    raise OSError(f"{archive} can't be unpacked; is the disk full? {error}") from error
  return members


def _sync() -> None:
  # All at once: thousands of small files would wait for the disk one by one. Windows can't.
  if hasattr(os, "sync"):
    os.sync()


def move(source: pathlib.Path, target: pathlib.Path, state: State) -> None:
  """Moves a file to its target; a file that is there already must be the same."""
  if os.path.lexists(target):
    if not target.is_file() or state_of(target) != state:
      raise InputError(f"{target} differs from what is published; move it away to have that.")
    source.unlink()
  else:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _extract(
  archive: pathlib.Path, staging: pathlib.Path, flat: bool, show_progress: bool
) -> dict[str, State]:
  members: dict[str, State] = {}
  size, inflated, name = archive.stat().st_size, 0, ""
  try:
    with (
      archive.open("rb") as file,
      gzip.open(file) as content,
      tarfile.open(fileobj=content, mode="r|") as tar,
      progress.Meter(
        f"unpacking {archive.name}",
        total=size,
        unit=progress.BYTES,
        disabled=not show_progress,
      ) as meter,
    ):
      for member in tar:
        if member.isdir():
          continue
        name = _member_name(member, staging, flat)
        # A file system may take two names for one.
        if name in members or os.path.lexists(staging / name):
          raise InputError(f"it holds {name!r} twice")
        inflated += member.size
        check_inflation(size, inflated)
        renamed = member.replace(name=name, deep=False)
        tar.extract(renamed, staging, set_attrs=False, filter="data")
        members[name] = state_of(staging / name)
        meter.update(done=file.tell())
      # The checksum stands at the end of the stream.
      while content.read(_CHUNK_BYTES):
        pass
  except InputError as error:
    raise InputError(f"{archive} is refused: {error}.") from None
  except (FileExistsError, NotADirectoryError):
    raise InputError(f"{archive} is refused: it holds {name!r} below a file.") from None
  except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise InputError(
      f"{archive} is truncated or damaged ({error}); remove it to have it fetched again."
    ) from error
  if not members:
    raise InputError(f"{archive} holds no files.")
  return members


def _member_name(member: tarfile.TarInfo, folder: pathlib.Path, flat: bool) -> str:
  """Returns where a member goes; InputError where it is no file that belongs in the folder."""
  # The filter admits links within the folder. One would give an image two names, and no checksum.
  if member.issym() or member.islnk():
    raise InputError(f"it holds {member.name!r}, a link")
  try:
    admitted = tarfile.data_filter(member, os.fspath(folder))
  except tarfile.SpecialFileError:
    raise InputError(f"it holds {member.name!r}, which is no plain file") from None
  except (tarfile.FilterError, ValueError):  # ValueError: no path has a zero byte
    admitted = None
  path = pathlib.PurePosixPath(member.name)
  # The filter takes off a slash in front and admits `..` that comes back: through a link that the
  # user has among the images, that leads elsewhere.
  if admitted is None or admitted.name != member.name or ".." in path.parts or not path.name:
    raise InputError(f"it holds {member.name!r}, which leads outside its folder")
  return path.name if flat else str(path)

"""Downloads of published files: resumed, checked, and remembered by checksum.

A file stays in `<data root>/<name>/downloads/` until it is complete and moves to its own folder. A
record there keeps the size and checksum of each file, and of each image in an archive. A file that
differs from its record later is refused by name.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2g_jax.data import archive, transfer
from l2g_jax.data.archive import State, state_of
from l2g_jax.data.dataset import load_dataset
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import track

_KIND = "l2g_jax.download"
_VERSION = 1
_DOWNLOADS = "downloads"
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Source:
  """A published data set or file, and its addresses.

  Attributes:
    name: the name of its folder below the data root.
    files: addresses of files that are used as they are.
    archives: addresses of `.tar.gz` files with images, which go into `jpg/`.
    check: takes the data root and raises InputError if anything is missing; None = no list says.
    flat: whether images leave their folders in the archives.
  """

  name: str
  files: Sequence[str]
  archives: Sequence[str] = ()
  check: Callable[[pathlib.Path], object] | None = None
  flat: bool = True


def check_list(data_root: os.PathLike | str, name: str, *, count: int) -> None:
  """Checks that every image of a published list is there.

  Args:
    data_root: the folder that holds the set's folder.
    name: the name of that folder, in which `<name>.txt` lists paths below `jpg/`.
    count: the length that the list must have.

  Raises:
    InputError: the list has another length, or images are missing; the message names them.
  """
  folder = pathlib.Path(data_root) / name
  names = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
  if len(names) != count:
    raise InputError(f"{folder / name}.txt lists {len(names)} images; {name} has {count}.")
  missing = [image for image in names if not files.is_file(folder / "jpg" / image)]
  if missing:
    shown = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
    raise InputError(f"{folder / 'jpg'} lacks {len(missing)} of {count} images: {shown}.")


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_PRAGUE = "http://cmp.felk.cvut.cz/revisitop/data/datasets"
_DISTRACTORS = "http://ptak.felk.cvut.cz/revisitop/revisitop1m"

SOURCES: Mapping[str, Source] = {
  source.name: source
  for source in (
    Source(
      "roxford5k",
      files=[f"{_PRAGUE}/roxford5k/gnd_roxford5k.pkl"],
      archives=[f"{_OXFORD}/oxbuildings/oxbuild_images-v1.tgz"],
      check=functools.partial(load_dataset, name="roxford5k"),
    ),
    Source(
      "rparis6k",
      files=[f"{_PRAGUE}/rparis6k/gnd_rparis6k.pkl"],
      archives=[f"{_OXFORD}/parisbuildings/paris_{part}-v1.tgz" for part in (1, 2)],
      check=functools.partial(load_dataset, name="rparis6k"),
    ),
    Source(
      "revisitop1m",
      files=[f"{_DISTRACTORS}/revisitop1m.txt"],
      archives=[f"{_DISTRACTORS}/jpg/revisitop1m.{part}.tar.gz" for part in range(1, 101)],
      check=functools.partial(check_list, name="revisitop1m", count=1_001_001),
      flat=False,
    ),
    Source(
      "weights",
      files=["http://download.europe.naverlabs.com/ComputerVision/FIRe/official/fire.pth"],
    ),
  )
}


def obtain(
  source: Source,
  data_root: os.PathLike | str,
  *,
  mirror: str | None = None,
  keep_archives: bool = False,
  verify: bool = True,
  show_progress: bool = False,
) -> pathlib.Path:
  """Brings the missing files of a source onto this machine, and checks that all are there.

  Args:
    source: the source.
    data_root: the folder that holds the source's folder.
    mirror: address of a folder with the same files; None = the published addresses.
    keep_archives: whether archives stay once their images are unpacked; archives that the user put
      there always stay.
    verify: whether to compare checksums of files that were there; sizes are always compared.
    show_progress: whether to show bars.

  Returns:
    The source's folder.

  Raises:
    InputError: a file was altered, here or there, is damaged or hostile, or is missing; the message
      names it.
    OSError: the server or the disk fails; the bytes that came are kept.
  """
  if mirror is not None and not re.match("https?://", mirror):
    raise InputError(f"A mirror's address begins with http:// or https://, not {mirror!r}.")
  folder = pathlib.Path(data_root) / source.name
  with files.locked(folder / _DOWNLOADS, refusal=f"Another process is downloading to {folder}."):
    for address in (*source.files, *source.archives):
      name = address.rpartition("/")[2]
      url = address if mirror is None else f"{mirror.rstrip('/')}/{name}"
      path = folder / _DOWNLOADS / name
      record = _read_record(path)
      target = folder / "jpg" if address in source.archives else folder
      if record and _is_intact(target, record["members"], verify, show_progress):
        continue
      fetched = not path.is_file()
      if fetched:
        transfer.fetch(url, path, show_progress=show_progress)
      state = state_of(path)
      _compare(state, record, path, url, fetched=fetched)
      if address in source.archives:
        members = archive.unpack(path, target, flat=source.flat, show_progress=show_progress)
        _write_record(path, url, state, members)
        # An archive that the user put here is theirs.
        if fetched and not keep_archives:
          path.unlink()
      else:
        # Recorded first: a file in the folder without a record is never ours.
        _write_record(path, url, state, {name: state})
        archive.move(path, target / name, state)
  if source.check is not None:
    source.check(pathlib.Path(data_root))
  return folder


def _record_path(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f"{path.name}.json")


def _read_record(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads the record of a download; None if it never succeeded."""
  record_path = _record_path(path)
  if not record_path.exists():
    return None
  record = files.read_manifest(record_path)
  if (record.get("kind"), record.get("version")) != (_KIND, _VERSION):
    raise InputError(f"{record_path} is no record of a download of version {_VERSION}.")
  return record


def _write_record(path: pathlib.Path, url: str, state: State, members: Mapping[str, State]) -> None:
  body = {"kind": _KIND, "version": _VERSION, "url": url, "content": state, "members": members}
  files.write_manifest(_record_path(path), body)


def _is_intact(
  folder: pathlib.Path, members: Mapping[str, State], verify: bool, show_progress: bool
) -> bool:
  """Whether all files are there; InputError if one was altered."""
  for name, state in track(
    members.items(), f"verifying {folder}", unit="files", disabled=not show_progress
  ):
    path = folder / name
    if not path.is_file():
      return False
    same = path.stat().st_size == state["bytes"]
    if not same or (verify and files.checksum_file(path) != state["checksum"]):
      raise InputError(f"{path} was altered; remove it to have it fetched again.")
  return True


def _compare(
  state: State, record: Mapping[str, Any] | None, path: pathlib.Path, url: str, *, fetched: bool
) -> None:
  """Compares a file with the record of the first time; InputError if they differ."""
  if record is None or state == record["content"]:
    return
  if fetched:
    path.unlink()
  remedy = "" if fetched else f"{path} to have it fetched, or "
  raise InputError(
    f"{url if fetched else path} has {state['bytes']} bytes with checksum {state['checksum']}, not"
    f" {record['content']['bytes']} with {record['content']['checksum']} as the first time;"
    f" remove {remedy}{_record_path(path)} to accept the new one."
  )

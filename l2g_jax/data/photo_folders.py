"""Photographs of a folder and all folders below it.

Links to folders are followed, and each folder is entered once. All other files are counted by the
reason why they are left out.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from l2g_jax.data.image_formats import endings, unread_kinds
from l2g_jax.data.image_names import name_images, printable
from l2g_jax.errors import InputError

# The text `Software` of PNGs in which this library shows other pictures.
SHEET_MARK = "l2g_jax contact sheet"
# A folder with this file belongs to a program, not to a user; see https://bford.info/cachedir.
_CACHE_TAG = "CACHEDIR.TAG"
_CACHE_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"

# Thumbnails, trash and records of NAS systems, operating systems and photo programs, in lower case.
_SYSTEM_NAMES = frozenset(
  [
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "__macosx",
    "desktop.ini",
    "lost+found",
    "system volume information",
    "thumbs.db",
  ]
)
_SYSTEM_ENDINGS = (".lrdata", ".lrcat")

# Sheets made before there was a mark: six tiles of 240 pixels across, gaps of 12, a frame around
# the query's tile, and two or three lines of text below each tile.
_OLD_WIDTH = 6 * 252 + 12
_OLD_HEIGHTS = frozenset(
  rows * (252 + 18 * lines) + 12 for rows in range(1, 200) for lines in (2, 3)
)
_OLD_PIXELS = ((0, 0), (7, 12), (7, 7), (257, 7))
_OLD_COLOURS = ((255, 255, 255), (215, 60, 30), (215, 60, 30), (215, 60, 30))

_HIDDEN = "hidden, or thumbnails and trash of other programs"
_SHEETS = "made by an earlier search (contact sheets)"
_CACHES = f"in working folders of programs ({_CACHE_TAG})"
_UNREADABLE = "folder(s) that can't be read (give yourself permission)"
_SPECIAL = "that are pipes, sockets or devices"
_AGAIN = "link(s) to folders that were searched already"
_OTHER = "of other kinds"


@dataclasses.dataclass(frozen=True)
class Photographs:
  """The photographs of a folder.

  Attributes:
    names: names in ascending order, see `image_names.name_images`.
    paths: their files.
    left_out: all other files and folders, by the reason, which names a remedy if there is one.
  """

  names: tuple[str, ...]
  paths: tuple[pathlib.Path, ...]
  left_out: Mapping[str, Sequence[pathlib.Path]]


def find_photographs(folder: os.PathLike | str) -> Photographs:
  """Finds the photographs in a folder and below it.

  Args:
    folder: the folder. Hidden files and folders, contact sheets and work folders of this library,
      and internal files of NAS and photo programs are left out.

  Raises:
    InputError: the folder is missing, can't be read or holds no photograph.
  """
  root = pathlib.Path(folder)
  left_out: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
  files = [path for path in files_below(root, left_out) if _keeps(path, left_out)]
  if not files:
    found = f" Left out: {describe_left_out(left_out)}." if left_out else ""
    raise InputError(f"{printable(str(root))} holds no image that can be read.{found}")
  names = name_images([path.relative_to(root).as_posix() for path in files])
  order = sorted(range(len(names)), key=names.__getitem__)
  return Photographs(
    names=tuple(names[i] for i in order),
    paths=tuple(files[i] for i in order),
    left_out=dict(left_out),
  )


def list_images(folder: os.PathLike | str) -> tuple[tuple[str, ...], tuple[pathlib.Path, ...]]:
  """Returns the names and paths of the photographs in a folder; see `find_photographs`."""
  photographs = find_photographs(folder)
  return photographs.names, photographs.paths


def describe_left_out(left_out: Mapping[str, Sequence[pathlib.Path]]) -> str:
  """Returns one line that counts by reason the files left out, the most frequent reason first."""
  counts = sorted(((-len(paths), reason) for reason, paths in left_out.items()))
  return "; ".join(f"{-count} {reason}" for count, reason in counts)


def mark_work_folder(directory: os.PathLike | str) -> None:
  """Makes a work folder and marks it, so that its files are not taken for photographs.

  A folder that is not empty gets no mark, since it may be a user's.
  """
  root = pathlib.Path(directory)
  root.mkdir(parents=True, exist_ok=True)
  if not any(root.iterdir()):
    (root / _CACHE_TAG).write_text(
      f"{_CACHE_SIGNATURE}\n# What l2g_jax made to search photographs; it can be made again.\n",
      encoding="utf-8",
    )


def files_below(
  root: pathlib.Path, left_out: dict[str, list[pathlib.Path]] | None = None
) -> Iterator[pathlib.Path]:
  """Yields the regular files in a folder and below it, and broken links.

  Args:
    root: the folder.
    left_out: receives the paths that are not yielded, by the reason. Hidden files and internal
      files of programs are among them; None = such files are yielded.

  Raises:
    InputError: the folder is missing or can't be read.
  """
  if not root.is_dir():
    if root.exists():
      raise InputError(f"{printable(str(root))} is not a folder.")
    raise InputError(f"There is no folder {printable(str(root))}.")
  is_selective = left_out is not None
  left_out = left_out if is_selective else collections.defaultdict(list)
  # Links wait until all true folders were entered, so that a photograph keeps its true path.
  folders, links = [root], collections.deque[pathlib.Path]()
  entered = set()
  while folders or links:
    is_link = not folders
    folder = links.popleft() if is_link else folders.pop()
    try:
      status = folder.stat()
      identity = (status.st_dev, status.st_ino)
      if identity in entered:
        left_out[_AGAIN].append(folder)
        continue
      with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
      if folder == root:
        raise InputError(
          f"The folder {printable(str(root))} can't be read: {error.strerror}."
        ) from error
      left_out[_UNREADABLE].append(folder)
      continue
    entered.add(identity)
    if is_selective and folder != root and _is_cache(entries):
      left_out[_CACHES].append(folder)
      continue
    for entry in entries:
      path = folder / entry.name
      if is_selective and _is_system(entry.name):
        left_out[_HIDDEN].append(path)
        continue
      try:
        mode = entry.stat().st_mode
      except OSError:
        # The reader of this path reports that the link is broken or that access is denied.
        mode = stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG
      if stat.S_ISDIR(mode):
        (links if entry.is_symlink() else folders).append(path)
      elif stat.S_ISREG(mode):
        yield path
      else:
        left_out[_SPECIAL].append(path)


def _is_system(name: str) -> bool:
  """Returns whether a name is hidden or belongs to internal files of a program."""
  lower = name.lower()
  return lower.startswith(".") or lower in _SYSTEM_NAMES or lower.endswith(_SYSTEM_ENDINGS)


def _is_cache(entries: Sequence[os.DirEntry[str]]) -> bool:
  """Returns whether a folder is marked as the work folder of a program."""
  for entry in entries:
    if entry.name == _CACHE_TAG:
      with contextlib.suppress(OSError), open(entry.path, "rb") as file:
        return file.read(len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE.encode()
  return False


def _keeps(path: pathlib.Path, left_out: dict[str, list[pathlib.Path]]) -> bool:
  """Returns whether a file is a photograph, by its ending; if not, adds it to `left_out`."""
  ending = path.suffix.lower()
  if ending not in endings():
    left_out[unread_kinds().get(ending, _OTHER)].append(path)
    return False
  if ending == ".png" and is_contact_sheet(path):
    left_out[_SHEETS].append(path)
    return False
  return True


def is_contact_sheet(path: pathlib.Path) -> bool:
  """Returns whether a PNG is a contact sheet of this library.

  Older sheets have no mark; their width and the frame of the query in their corner tell them.
  """
  try:
    with open(path, "rb") as file:
      head = file.read(256)
      if SHEET_MARK.encode() in head:
        return True
      if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return False
      width, height = struct.unpack(">II", head[16:24])
      if width != _OLD_WIDTH or height not in _OLD_HEIGHTS:
        return False
      file.seek(0)
      with Image.open(file, formats=["PNG"]) as image:
        return image.mode == "RGB" and [image.getpixel(pixel) for pixel in _OLD_PIXELS] == [
          *_OLD_COLOURS
        ]
  except Exception:  # The reader of the file reports what is wrong with it.
    return False

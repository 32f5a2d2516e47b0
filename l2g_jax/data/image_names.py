"""Names of images: one rule for folders of photographs and for data sets.

A name is the path below a folder, with forward slashes, in composed Unicode (NFC), and without the
ending of its format.
"""

import collections
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

from l2g_jax.data.image_formats import endings


def name_images(files: Sequence[str]) -> list[str]:
  """Returns a name for each image of a folder; no two names are equal.

  Args:
    files: paths of the images below the folder, with forward slashes and endings.

  Returns:
    The paths without their endings. If a name would fit another image too, it keeps its ending; if
    that is not enough, it is the path as the file system spells it.
  """
  composed = [unicodedata.normalize("NFC", file) for file in files]
  short = [without_ending(file) for file in composed]
  counts = collections.Counter(composed)
  # A name without its ending must not equal another image's path with it.
  uses = collections.Counter([*short, *counts])
  return [
    name if uses[name] == 1 else whole if counts[whole] == 1 else file
    for file, whole, name in zip(files, composed, short, strict=True)
  ]


class ImageFinder:
  """Finds the images of a folder by the names in a list.

  A name may have its ending or not; case and composition of accents do not matter. Of several
  images that fit, the one spelled like the name is preferred, then `.jpg`, `.jpeg`, `.png`, and
  then the first in alphabetical order.
  """

  _PREFERRED = (".jpg", ".jpeg", ".png")

  def __init__(self, files: Iterable[str]):
    """Takes the paths of the images below the folder, with forward slashes and endings."""
    self._files: dict[str, list[str]] = collections.defaultdict(list)
    for file in files:
      for key in {spelling_key(file), spelling_key(without_ending(file))}:
        self._files[key].append(file)

  def find(self, name: str) -> str | None:
    """Returns the path of the image with a name; None if there is none."""
    name = pathlib.PurePosixPath(name).as_posix()

    def rank(file: str) -> tuple[bool, bool, int, str]:
      ending = pathlib.PurePosixPath(file).suffix.lower()
      known = ending in self._PREFERRED
      preference = self._PREFERRED.index(ending) if known else len(self._PREFERRED)
      return file != name, without_ending(file) != name, preference, file

    return min(self._files.get(spelling_key(name), ()), key=rank, default=None)


def without_ending(file: str) -> str:
  """Returns a path without the ending of an image format; other endings are part of the name."""
  path = pathlib.PurePosixPath(file)
  return path.with_suffix("").as_posix() if path.suffix.lower() in endings() else file


def spelling_key(name: str) -> str:
  """Returns a key that is equal for names that differ only in case or composition of accents."""
  return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable(text: str) -> str:
  r"""Returns a text with escapes such as `\n` or `\udcff` for characters that can't be printed."""
  return "".join(
    letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
  )

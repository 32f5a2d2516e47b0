"""Names of images: one rule for folders of photographs and for data sets.

A name is the path below a folder, with forward slashes, composed Unicode (NFC) and without the
ending of its format.
"""

import collections
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

from l2g_jax.data.image_formats import endings


def name_images(files: Sequence[str]) -> list[str]:
  """Returns a name for each image of a folder; no two are the same.

  Args:
    files: the images' paths below the folder, with forward slashes and endings.

  Returns:
    The paths without their endings. Where another image could be meant as well, the ending stays,
    and where that isn't enough the path is as the file system spells it.
  """
  composed = [unicodedata.normalize("NFC", file) for file in files]
  short = [without_ending(file) for file in composed]
  counts = collections.Counter(composed)
  # A name without its ending must not be another image's with it.
  uses = collections.Counter([*short, *counts])
  return [
    name if uses[name] == 1 else whole if counts[whole] == 1 else file
    for file, whole, name in zip(files, composed, short, strict=True)
  ]


class ImageFinder:
  """Finds the images of a folder by the names that a list has for them.

  A name may have its ending or not, in any case and any composition of accents. Of several images
  that could be meant, those count first that are spelled as the name is, then by their ending
  `.jpg`, `.jpeg`, `.png` and others by the alphabet.
  """

  _PREFERRED = (".jpg", ".jpeg", ".png")

  def __init__(self, files: Iterable[str]):
    """Takes the images' paths below the folder, with forward slashes and endings."""
    self._files: dict[str, list[str]] = collections.defaultdict(list)
    for file in files:
      for key in {spelling_key(file), spelling_key(without_ending(file))}:
        self._files[key].append(file)

  def find(self, name: str) -> str | None:
    """Returns the path of the image that a name means, None where there is none."""
    name = pathlib.PurePosixPath(name).as_posix()

    def rank(file: str) -> tuple[bool, bool, int, str]:
      ending = pathlib.PurePosixPath(file).suffix.lower()
      place = self._PREFERRED.index(ending) if ending in self._PREFERRED else len(self._PREFERRED)
      return file != name, without_ending(file) != name, place, file

    return min(self._files.get(spelling_key(name), ()), key=rank, default=None)


def without_ending(file: str) -> str:
  """Returns a path without the ending of its format; other endings belong to the name."""
  path = pathlib.PurePosixPath(file)
  return path.with_suffix("").as_posix() if path.suffix.lower() in endings() else file


def spelling_key(name: str) -> str:
  """Returns what is equal of names that differ in case and in how accents are composed only."""
  return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable(text: str) -> str:
  r"""Returns a text with escapes such as `\n` or `\udcff` for what can't be printed on a line."""
  return "".join(
    letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
  )

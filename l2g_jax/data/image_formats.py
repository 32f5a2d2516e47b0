"""Which files are photographs, by their ending and their content.

A format counts if Pillow itself decodes it from the file alone. EPS would run Ghostscript, BUFR,
GRIB, HDF5, MPEG, PDF and WMF need other programs, IPTC holds captions, and icons, cursors, brushes
and animated drawings are no photographs.
"""

import functools
import importlib
import struct
from collections.abc import Mapping
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

# Formats of Pillow that are not decoded here, see above.
_REFUSED = frozenset(
  "BUFR CUR EPS FLI GBR GRIB HDF5 ICNS ICO IPTC MPEG PALM PDF WMF".split()  # noqa: SIM905
)
# Python package of a plug-in for Pillow: its module, the function that registers it, its endings.
_PLUG_INS = {
  "pillow-heif": (
    "pillow_heif",
    "register_heif_opener",
    (".heic", ".heics", ".heif", ".heifs", ".hif"),
  ),
  "pillow-jxl-plugin": ("pillow_jxl", None, (".jxl",)),
}
_RAW = (
  ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw"
  " .rw2 .rwl .sr2 .srf .srw .x3f"
)
_VIDEOS = ".3gp .avi .flc .fli .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv"
_DOCUMENTS = ".ai .cdr .emf .eps .indd .kra .pdf .ps .svg .svgz .wmf .xcf"


@functools.cache
def endings() -> Mapping[str, str]:
  """Returns the endings of photographs, lower case, with the names of their formats in Pillow."""
  Image.init()
  for module, register, _ in _PLUG_INS.values():
    try:
      plug_in = importlib.import_module(module)
    except ImportError:
      continue
    if register is not None:
      getattr(plug_in, register)()
  return {
    ending: name
    for ending, name in Image.registered_extensions().items()
    if name in Image.OPEN and name not in _REFUSED
  }


@functools.cache
def unread_kinds() -> Mapping[str, str]:
  """Returns what files are that can't be read, by ending, with what to do about them."""
  kinds = dict.fromkeys(_RAW.split(), "in a camera's raw format (export them as JPEG)")
  kinds |= dict.fromkeys(_VIDEOS.split(), "in a video format (export single pictures)")
  kinds |= dict.fromkeys(_DOCUMENTS.split(), "in a format of documents (export them as PNG)")
  for package, (_, _, plug_in_endings) in _PLUG_INS.items():
    name = plug_in_endings[0].removeprefix(".").upper()
    kinds |= dict.fromkeys(plug_in_endings, f"in the format {name} (pip install {package})")
  return {ending: kind for ending, kind in kinds.items() if ending not in endings()}


def open_image(file: BinaryIO, ending: str) -> ImageFile.ImageFile:
  """Opens an image whose pixels are still to be decoded.

  The content says what it is. Formats without a signature are tried for their own endings only. In
  contrast to `Image.open` no size is refused, so the caller has to look at it.

  Args:
    file: positioned anywhere.
    ending: of its name, such as `.jpg`.

  Raises:
    UnidentifiedImageError: the content is none of the formats.
  """
  own = endings().get(ending.lower())
  names = sorted(set(endings().values()), key=lambda name: (name != own, name))
  file.seek(0)
  prefix = file.read(16)
  for name in names:
    factory, accept = Image.OPEN[name]
    try:
      # A plug-in that lacks a decoder answers with a text.
      if name == own if accept is None else accept(prefix) is True:
        file.seek(0)
        return factory(file, "")
    except (SyntaxError, IndexError, TypeError, struct.error):
      continue
  raise UnidentifiedImageError("It is none of the known formats.")

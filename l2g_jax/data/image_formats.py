"""Formats of photographs, recognised by the ending and the content of a file.

A format is read if Pillow decodes it from the file alone. EPS would run Ghostscript; BUFR, GRIB,
HDF5, MPEG, PDF and WMF need other programs; IPTC holds captions; icons, cursors, brushes and
animated drawings are no photographs.
"""

import functools
import importlib
import struct
from collections.abc import Mapping
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

# Formats of Pillow that are refused, for the reasons above.
_REFUSED = frozenset(
  "BUFR CUR EPS FLI GBR GRIB HDF5 ICNS ICO IPTC MPEG PALM PDF WMF".split()  # noqa: SIM905
)
# Plug-ins of Pillow by Python package: module, function that registers it, endings.
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
  """Returns the names of formats in Pillow by the endings of photographs, in lower case."""
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
  """Returns descriptions of formats that can't be read, and the remedy, by ending."""
  kinds = dict.fromkeys(_RAW.split(), "in a camera's raw format (export them as JPEG)")
  kinds |= dict.fromkeys(_VIDEOS.split(), "in a video format (export single pictures)")
  kinds |= dict.fromkeys(_DOCUMENTS.split(), "in a format of documents (export them as PNG)")
  for package, (_, _, plug_in_endings) in _PLUG_INS.items():
    name = plug_in_endings[0].removeprefix(".").upper()
    kinds |= dict.fromkeys(plug_in_endings, f"in the format {name} (pip install {package})")
  return {ending: kind for ending, kind in kinds.items() if ending not in endings()}


def open_image(file: BinaryIO, ending: str) -> ImageFile.ImageFile:
  """Opens an image without decoding its pixels.

  The content decides the format. A format without a signature is tried only for its own endings. Of
  a camera's raw file, which may be a TIFF, the first picture is a small preview: it is refused.
  Unlike `Image.open`, this refuses no size: the caller has to check it.

  Args:
    file: the file, at any position.
    ending: ending of its name, such as `.jpg`.

  Raises:
    UnidentifiedImageError: the content is of no known format.
  """
  own = endings().get(ending.lower())
  names = sorted(set(endings().values()), key=lambda name: (name != own, name))
  file.seek(0)
  prefix = file.read(16)
  for name in names:
    factory, accept = Image.OPEN[name]
    try:
      if name == "TIFF" and ending.lower() in _RAW.split():
        continue
      # A plug-in that lacks a decoder returns a text instead.
      if name == own if accept is None else accept(prefix) is True:
        file.seek(0)
        return factory(file, "")
    except (SyntaxError, IndexError, TypeError, struct.error):
      continue
  raise UnidentifiedImageError("It is none of the known formats.")

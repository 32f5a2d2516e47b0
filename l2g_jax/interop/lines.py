"""Foreign text files with one record per line."""

import pathlib

from l2g_jax.errors import InputError

_MARK = b"\xef\xbb\xbf"
_ERRORS = "surrogateescape"


def read_lines(path: pathlib.Path) -> list[str]:
  """Returns the lines of a UTF-8 text file of any system, with or without a byte order mark.

  Names of images may have bytes that are not UTF-8. They are decoded as Python decodes names in a
  file system; see `refuse_other_encoding`.

  Raises:
    InputError: a line has a zero byte, which the message names by number.
  """
  content = path.read_bytes().removeprefix(_MARK)
  # `splitlines` would also end lines at characters that may be part of a name.
  text = content.decode("utf-8", _ERRORS).replace("\r\n", "\n").replace("\r", "\n")
  lines = text.split("\n")
  for number, line in enumerate(lines, start=1):
    if "\0" in line:
      raise InputError(_fault(path, number))
  return lines


def refuse_other_encoding(path: pathlib.Path, number: int, line: str) -> None:
  """Raises InputError if line `number`, counted from 1, has bytes that are not UTF-8."""
  try:
    line.encode("utf-8")
  except UnicodeEncodeError as error:
    raise InputError(_fault(path, number)) from error


def _fault(path: pathlib.Path, number: int) -> str:
  return f"Line {number} of {path} is not UTF-8: save the file in that encoding."

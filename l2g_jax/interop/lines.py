"""Text files of others, a record a line."""

import pathlib

from l2g_jax.errors import InputError

_MARK = b"\xef\xbb\xbf"
_ERRORS = "surrogateescape"


def read_lines(path: pathlib.Path) -> list[str]:
  """Returns the lines of a text file in UTF-8, with or without byte order mark, of any system.

  Bytes that are not UTF-8 come as file systems give them to Python, since names of images may have
  them; see `refuse_other_encoding`.
  """
  content = path.read_bytes().removeprefix(_MARK)
  # Not all that Python takes for the end of a line is one in a name.
  text = content.decode("utf-8", _ERRORS).replace("\r\n", "\n").replace("\r", "\n")
  lines = text.split("\n")
  for number, line in enumerate(lines, start=1):
    if "\0" in line:
      raise InputError(_fault(path, number))
  return lines


def refuse_other_encoding(path: pathlib.Path, number: int, line: str) -> None:
  """Raises InputError where a line, counted from 1, has bytes that are not UTF-8."""
  try:
    line.encode("utf-8")
  except UnicodeEncodeError as error:
    raise InputError(_fault(path, number)) from error


def _fault(path: pathlib.Path, number: int) -> str:
  return f"Line {number} of {path} is not UTF-8: save the file in that encoding."

"""The exceptions that mean: what was given is wrong, and here is what to do about it."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any


class InputError(ValueError):
  """Raised on the host for input that can't be used; the message is one clear sentence.

  Command-line programs print the message and exit with status 1, without a traceback.
  """


class SettingError(InputError):
  """Raised for a setting that lies outside of its range.

  Attributes:
    setting: its name; a command puts that of its flag there.
    wanted: the range, as "at least 1".
    value: what was given.
  """

  def __init__(self, setting: str, wanted: str, value: Any):
    super().__init__(setting, wanted, value)
    self.setting, self.wanted, self.value = setting, wanted, value

  def __str__(self) -> str:
    return f"{self.setting} must be {self.wanted}, not {self.value!r}."


@contextlib.contextmanager
def damage_refused(sentence: str) -> Iterator[None]:
  """Raises an InputError with that sentence for whatever reading a damaged file raises.

  An InputError passes as it is. A file that may not be read, or not be opened because too many are
  open, is not called damaged.
  """
  try:
    yield
  except InputError:
    raise
  except PermissionError as error:
    raise InputError(f"{error.filename} may not be read; check its permissions.") from error
  except Exception as error:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
      raise
    raise InputError(sentence) from error


@contextlib.contextmanager
def reading(path: object, damage: str) -> Iterator[None]:
  """Makes sentences about a file of what reading it raises.

  Args:
    path: of the file.
    damage: what is said of it where anything but an InputError is raised, without a full stop; an
      InputError says itself what is wrong with it.
  """
  with damage_refused(f"{path} {damage}."):
    try:
      yield
    except InputError as error:
      raise InputError(f"{path} is refused: {error}.") from None

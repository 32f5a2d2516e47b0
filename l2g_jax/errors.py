"""Exceptions for wrong input, whose message says how to correct it."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any


class InputError(ValueError):
  """Raised on the host for input that can't be used; the message is one clear sentence.

  Command-line programs print the message and exit with status 1, without a traceback.
  """


class SettingError(InputError):
  """Raised for a setting outside its range.

  Attributes:
    setting: its name; a command replaces it by the name of its flag.
    wanted: the range, such as "at least 1".
    value: the value that was given.
  """

  def __init__(self, setting: str, wanted: str, value: Any):
    super().__init__(setting, wanted, value)
    self.setting, self.wanted, self.value = setting, wanted, value

  def __str__(self) -> str:
    return f"{self.setting} must be {self.wanted}, not {self.value!r}."


@contextlib.contextmanager
def damage_refused(sentence: str) -> Iterator[None]:
  """Raises an InputError with a sentence in place of any error of reading a damaged file.

  An InputError passes unchanged. A file that may not be read, or that can't be opened because too
  many are open, is not called damaged.
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
  """Turns the errors of reading a file into sentences that name it.

  Args:
    path: of the file.
    damage: the predicate of the sentence for any error but an InputError, such as "is truncated",
      without a full stop. The sentence for an InputError contains its own message.
  """
  with damage_refused(f"{path} {damage}."):
    try:
      yield
    except InputError as error:
      raise InputError(f"{path} is refused: {error}.") from None

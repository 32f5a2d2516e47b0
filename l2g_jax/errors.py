"""The exceptions that mean: what was given is wrong, and here is what to do about it."""

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

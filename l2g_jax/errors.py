"""The one exception that means: what was given is wrong, and here is what to do about it."""


class InputError(ValueError):
  """Raised on the host for input that can't be used; the message is one clear sentence.

  Command-line programs print the message and exit with status 1, without a traceback.
  """

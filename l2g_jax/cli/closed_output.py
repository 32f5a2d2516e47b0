"""The end of a command whose reader of the output, such as `head`, has seen enough."""

import os
import sys
from typing import NoReturn


def leave_quietly() -> NoReturn:
  """Ends the process with status 1; called where a `BrokenPipeError` shows that nobody reads on."""
  # Python flushes once more as it ends.
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  sys.exit(1)

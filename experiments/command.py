"""How a command ends: in one sentence and with exit status 1 where it can't go on."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from l2g_jax.errors import InputError

OUTPUT = flags.DEFINE_string("output", None, "JSON file to write what comes out to; omitted: none.")


def run(main: Callable[[], None]) -> None:
  """Parses flags and runs a command."""

  def guarded(arguments: Sequence[str]) -> None:
    # JAX tells here which accelerators it did not find.
    logging.set_verbosity(logging.WARNING)
    try:
      if len(arguments) > 1:
        raise InputError(f"Arguments are given as flags; {arguments[1]!r} is none.")
      main()
    except (InputError, OSError) as error:
      sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
      sys.exit("Interrupted; the same command goes on where it stood.")

  app.run(guarded)

"""How a command ends: in one sentence and with exit status 1 where it can't go on."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from l2g_jax.errors import InputError

OUTPUT = flags.DEFINE_string("output", None, "JSON file to write what comes out to; omitted: none.")


def run(main: Callable[..., None], *, argument: str | None = None) -> None:
  """Parses flags and runs a command.

  Args:
    main: the command.
    argument: what the one word beside the flags may be, which `main` is called with; None where
      there are only flags.
  """

  def guarded(arguments: Sequence[str]) -> None:
    # JAX tells here which accelerators it did not find.
    logging.set_verbosity(logging.WARNING)
    try:
      _, *words = arguments
      if argument is None and words:
        raise InputError(f"Arguments are given as flags; {words[0]!r} is none.")
      if argument is not None and len(words) != 1:
        raise InputError(f"Beside flags, give one of {argument}, not {len(words)} words.")
      main(*words)
    except (InputError, OSError) as error:
      sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
      sys.exit("Interrupted; the same command goes on where it stood.")

  app.run(guarded)

"""How a command ends: in one sentence and with exit status 1 where it can't go on."""

import io
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool

import jax
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
  for stream in (sys.stdout, sys.stderr):
    # Names of files may hold what the terminal's encoding has not.
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")

  def guarded(arguments: Sequence[str]) -> None:
    # JAX tells here which accelerators it did not find.
    logging.set_verbosity(logging.WARNING)
    try:
      _, *words = arguments
      if argument is None and words:
        raise InputError(f"Arguments are given as flags; {words[0]!r} is none.")
      if argument is not None and len(words) != 1:
        raise InputError(f"Beside flags, give one of {argument}, not {len(words)} words.")
      if OUTPUT.value:
        _check_folder(pathlib.Path(OUTPUT.value))
      main(*words)
      sys.stdout.flush()
    except BrokenPipeError:
      # Who read the output, such as `head`, has seen enough. Python would flush once more.
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      sys.exit(1)
    except (InputError, OSError) as error:
      sys.exit(f"Error: {error}")
    except (MemoryError, BrokenProcessPool) as error:
      sys.exit(_out_of_memory(error))
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      sys.exit(_out_of_memory(error))
    except KeyboardInterrupt:
      sys.exit("Interrupted; the same command goes on where it stood.")

  app.run(guarded)


def check_file(path: os.PathLike | str) -> None:
  """Refuses, before the work, a file that could not be written after it."""
  if pathlib.Path(path).is_dir():
    raise InputError(f"{path} is a folder; name a file in it.")
  _check_folder(pathlib.Path(path))


def _check_folder(path: pathlib.Path) -> None:
  """Refuses a path in whose folder nothing can be written; the folder is made."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
      pass
  except OSError as error:
    raise InputError(f"{path} can't be written: {error.strerror}.") from error


def _out_of_memory(error: Exception) -> str:
  reason = str(error).splitlines()[0] if str(error) else type(error).__name__
  return f"Error: The memory at hand does not suffice; close other programs or use less: {reason}"

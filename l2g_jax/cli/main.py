"""The command `l2g`."""

import importlib
import sys
from collections.abc import Sequence

from l2g_jax.cli.closed_output import leave_quietly
from l2g_jax.version import __version__

# The module of each command, and its first line of help, which is shown without loading it.
_COMMANDS = {
  "search": "Search a folder of photographs for the subject of a photograph.",
  "serve": "Open a folder of photographs in the browser, to search it by pointing.",
  "groups": "Find duplicates, crops, collages and screenshots among a folder's pictures.",
  "pairs": "Write the image pairs of a folder for COLMAP and hloc.",
  "evaluate": "Evaluate the method and its parents on a data set.",
  "extract": "Extract features of a folder of photographs, or of a data set.",
  "index": "Make a folder of photographs ready, or index a feature store in shards.",
  "convert": "Convert a published PyTorch checkpoint to weights of ours.",
  "convert_ground_truth": "Check a ground truth, and convert it to JSON.",
  "download": "Fetch published data sets and weights.",
}


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command that the first word names; ends the process where it fails."""
  arguments = sys.argv[1:] if arguments is None else arguments
  name, *rest = arguments or ["--help"]
  if name in ("--help", "-h", "help"):
    _print(_usage())
  elif name == "--version":
    _print(f"l2g {__version__}")
  elif name in _COMMANDS:
    importlib.import_module(f"l2g_jax.cli.{name}").COMMAND.run(arguments=rest)
  else:
    sys.exit(f"Error: {name!r} is no command of l2g.\n\n{_usage()}")


def _print(text: str) -> None:
  try:
    print(text, flush=True)
  except BrokenPipeError:
    leave_quietly()


def _usage() -> str:
  lines = [f"  {name:22}{summary}" for name, summary in _COMMANDS.items()]
  return "\n".join(
    [
      "usage: l2g COMMAND [flags]",
      "",
      *lines,
      "",
      "l2g COMMAND --help lists its flags.",
    ]
  )

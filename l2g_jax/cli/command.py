"""A command: its flags in groups, its help, and its end in one sentence where it can't go on."""

import dataclasses
import io
import os
import pathlib
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import jax
from absl import flags

from l2g_jax.cli.closed_output import leave_quietly
from l2g_jax.errors import InputError

# Absl types its flags by attribute; a reader of them gets any type.
Values = Any

_HELP = ("--help", "-h", "--helpshort", "--helpfull")
_WIDTH = 100
_INDENT = 26


@dataclasses.dataclass(frozen=True)
class Group:
  """Flags that belong together.

  Attributes:
    title: shown above them.
    define: defines them on the `absl.flags.FlagValues` that it is given.
    settle: fills in, once they are parsed, what follows from others; None = nothing does.
  """

  title: str
  define: Callable[[flags.FlagValues], None]
  settle: Callable[[flags.FlagValues], None] | None = None


@dataclasses.dataclass(frozen=True)
class Command:
  """A command; its flags are its own, so that any number of commands can be imported together.

  Attributes:
    name: such as `search`, of `l2g search`.
    description: shown by --help; a docstring that calls the command `l2g NAME`.
    groups: its flags.
    main: called with the parsed flags, and with the argument where there is one.
    required: the flags that must be given.
    argument: the words of which one must stand beside the flags, such as `a|b`; None = no word.
    words: flags whose values may also stand without their names, in this order: by the name of the
      flag, what it is called, such as `FOLDER`.
    example: the arguments of a call that shows what to do next; empty = there is none.
    forms: other forms of the command with flags of their own, each taken where the flag that it
      stands under is given.
  """

  name: str
  description: str | None
  groups: Sequence[Group]
  main: Callable[..., None]
  required: Sequence[str] = ()
  argument: str | None = None
  words: Mapping[str, str] = dataclasses.field(default_factory=dict)
  example: str = ""
  forms: Mapping[str, "Command"] = dataclasses.field(default_factory=dict)

  def parse(self, arguments: Sequence[str]) -> tuple[Values, list[str]]:
    """Parses the words after the command's name; returns the flags, and the words beside them.

    Raises:
      InputError: a flag is unknown or missing, its value is none of its type, or the words do not
        fit the command.
    """
    values = flags.FlagValues()
    for group in self.groups:
      group.define(values)
    try:
      _, *words = values([self.name, *arguments])
      if self.argument is None:
        words = self._name_words(values, words)
    except flags.Error as error:
      raise InputError(f"{error}; --help lists the flags.") from error
    if missing := [name for name in self.required if values[name].value in (None, "")]:
      name = f"{self.words[missing[0]]} or " if missing[0] in self.words else ""
      raise InputError(f"{name}--{missing[0]} is missing; --help lists the flags.")
    if self.argument is not None and len(words) != 1:
      raise InputError(f"Beside flags, give one of {self.argument}, not {len(words)} words.")
    for group in self.groups:
      if group.settle is not None:
        group.settle(values)
    return values, words

  def _name_words(self, values: flags.FlagValues, words: Sequence[str]) -> list[str]:
    """Gives the flags that words stand for their values; returns the words that are left: none."""
    for (name, called), word in zip(self.words.items(), words, strict=False):
      if values[name].present:
        raise InputError(f"{called} is given twice: by the word {word!r} and by --{name}.")
      values[name].parse(word)
    if more := words[len(self.words) :]:
      taken = f"at most {' and '.join(self.words.values())}" if self.words else "none"
      raise InputError(f"Of words without a flag this takes {taken}; {more[0]!r} is one too many.")
    return []

  def usage(self, program: str) -> str:
    """Returns the line that says how to call the command.

    Args:
      program: the words that call it, such as `l2g search`.
    """
    needed = [self.argument] if self.argument else []
    needed += self.words.values()
    needed += [f"--{name}=..." for name in self.required if name not in self.words]
    return f"usage: {' '.join([program, *needed])} [flags]"

  def next_step(self, program: str) -> str:
    """Returns what to do next for one who gave no arguments."""
    lines = [self.usage(program), *([f"such as {program} {self.example}"] if self.example else [])]
    return "\n".join([*lines, "--help lists the flags."])

  def help(self, program: str) -> str:
    """Returns the description and all flags, by groups.

    Args:
      program: the words that call the command, such as `python -m experiments.search`.
    """
    text = (self.description or "").replace(f"l2g {self.name}", program)
    parts = [self.usage(program), textwrap.dedent(text).strip()]
    values = flags.FlagValues()
    seen: set[str] = set()
    for group in self.groups:
      group.define(values)
      lines = [_describe(values[name]) for name in values if name not in seen]
      seen.update(values)
      parts.append("\n".join([f"{group.title}:", *lines]))
    parts += [form.help(program) for form in self.forms.values()]
    return "\n\n".join(parts)

  def run(self, program: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, does the work, and ends the process where it fails.

    Args:
      program: the words that call the command; None = `l2g NAME`.
      arguments: the words after it; None = those of the process.
    """
    program = program or f"l2g {self.name}"
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
      # Names of files may hold characters that the terminal's encoding lacks.
      if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    if not arguments and (self.required or self.argument):
      sys.exit(self.next_step(program))
    try:
      if any(word in _HELP for word in arguments):
        print(self.help(program))
      else:
        form = self.form(arguments)
        values, words = form.parse(arguments)
        form.main(values, *words)
      sys.stdout.flush()
    except BrokenPipeError:
      leave_quietly()
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

  def form(self, arguments: Sequence[str]) -> "Command":
    """Returns the form of the command that the arguments are of."""
    given = {word.partition("=")[0].lstrip("-") for word in arguments if word.startswith("-")}
    return next((form for flag, form in self.forms.items() if flag in given), self)


def output_group(help_text: str) -> Group:
  """Returns the group of --output, the file or folder that a command writes.

  Args:
    help_text: says what is written.
  """

  def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, help_text, flag_values=values)

  return Group("Output", define)


def check_file(
  path: os.PathLike | str, is_replaced: Callable[[pathlib.Path], bool] | None = None
) -> None:
  """Refuses, before the work, a file that could not be written after it, or that would be lost.

  Args:
    path: of the file to write.
    is_replaced: whether a file that is there may be replaced; None = one that is JSON.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    raise InputError(f"{path} is a folder; name a file in it.")
  if path.exists() and path.stat().st_size and not (is_replaced or _is_json)(path):
    raise InputError(f"{path} is there and no earlier result, so it stays; name another file.")
  _check_folder(path)


def _is_json(path: pathlib.Path) -> bool:
  with path.open("rb") as file:
    return file.read(1) == b"{"


def _check_folder(path: os.PathLike | str) -> None:
  """Refuses a path in whose folder no file can be written; makes the folder."""
  parent = pathlib.Path(path).parent
  try:
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=parent):
      pass
  except OSError as error:
    raise InputError(f"{path} can't be written: {error.strerror}.") from error


def _describe(flag: flags.Flag) -> str:
  """Returns a flag's lines: its name, kind, help and default."""
  kind = flag.flag_type()
  if kind == "bool":
    head = f"--[no]{flag.name}"
  elif kind == "string enum":
    head = f"--{flag.name}={'|'.join(getattr(flag.parser, 'enum_values', []))}"
  else:
    head = f"--{flag.name}={kind.split()[-1].upper()}"
  # Absl puts the options of an enum before its help.
  text = str(flag.help).partition(">: ")[2] if kind == "string enum" else str(flag.help)
  if flag.default is not None:
    text += f" Default: {flag.default_unparsed}."
  width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 1)).columns)
  body = textwrap.wrap(text, max(20, width - _INDENT))
  head = f"  {head}"
  lines = [head, *body] if len(head) > _INDENT - 2 else [head.ljust(_INDENT) + body[0], *body[1:]]
  return f"\n{' ' * _INDENT}".join(lines)


def _out_of_memory(error: Exception) -> str:
  reason = str(error).splitlines()[0] if str(error) else type(error).__name__
  return f"Error: The memory at hand does not suffice; close other programs or use less: {reason}"

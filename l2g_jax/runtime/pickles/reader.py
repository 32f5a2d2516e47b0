"""Reads pickles as data: the machine that a pickle programs, without the steps that run code.

It builds numbers, texts and containers. A name stays a name unless the caller has a `Builder` for
it, and an object of any other class becomes a `Placeholder`. Python's own unpickler could be
restricted likewise, but it allocates as much memory as a pickle asks for and hashes any key: a few
bytes take gigabytes or never end. Here a step costs no more than its own bytes.
"""

import codecs
import dataclasses
import mmap
import pickle
import struct
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from l2g_jax.errors import InputError

# A list of a million names takes three million steps.
MOST_STEPS = 1 << 23
# Arithmetic with longer integers takes more than linear time.
_MOST_INTEGER_BYTES = 255
# Larger integers can be chosen to share one hash, which makes a dictionary of them endlessly slow.
_MOST_KEY_BITS = 60
# Texts of Python 2 are bytes; this encoding keeps them all.
_TEXT, _TEXT_ERRORS = "utf-8", "surrogateescape"

# Slices of either are bytes.
Buffer = bytes | mmap.mmap


@dataclasses.dataclass(frozen=True)
class Name:
  """The name of an object in a module.

  Attributes:
    module: the name of the module.
    name: the name within the module.
  """

  module: str
  name: str

  def __str__(self) -> str:
    return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class Builder:
  """A function of ours that a pickle may call.

  Attributes:
    build: takes the arguments in the pickle, which it has to check, and returns a stand-in for the
      result.
  """

  build: Callable[..., Any]


class Placeholder:
  """Stands for an object of an unknown class, and takes any content."""


@runtime_checkable
class Stateful(Protocol):
  """A stand-in for an object whose state comes later in the pickle."""

  def set_state(self, state: Any) -> None:
    """Takes the state, and has to check it."""


def read_pickle(
  buffer: Buffer,
  start: int = 0,
  *,
  resolve: Callable[[Name], Any] = lambda name: name,
  load_persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
  """Reads one pickle.

  Args:
    buffer: bytes or a memory map that hold the pickle.
    start: the position of its first byte.
    resolve: returns a `Builder` for a name, or any stand-in for it; may refuse the name.
    load_persistent: returns the object outside the pickle that an identifier names; None = refuse
      such identifiers.

  Returns:
    The content of the pickle and the position behind it. Sets become lists in the pickle's order,
    and byte arrays become bytes. Keys of dictionaries that are neither texts, bytes nor small
    integers become placeholders.

  Raises:
    InputError: the pickle has too many parts, or `resolve` or a builder refuses it.
    Exception: of any kind; the pickle is damaged.
  """
  machine = _Machine(buffer, start, resolve, load_persistent)
  return machine.run(), machine.position


def text_bytes(value: Any) -> bytes:
  """Returns bytes, which pickles of Python 2 hold as text."""
  if isinstance(value, str):
    return value.encode(_TEXT, _TEXT_ERRORS)
  if not isinstance(value, bytes):
    raise TypeError("no bytes")
  return value


def pairs(items: list[Any]) -> dict[Any, Any]:
  """Makes a dictionary of key, value, key, value, ..., with placeholders for unsafe keys."""
  return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


class _Machine:
  """The stack, the marks and the memory of a pickle that is being read."""

  def __init__(
    self,
    buffer: Buffer,
    position: int,
    resolve: Callable[[Name], Any],
    load_persistent: Callable[[Any], Any] | None,
  ):
    self.buffer = buffer
    self.position = position
    self.resolve = resolve
    self.load_persistent = load_persistent
    self.stack: list[Any] = []
    self.marked: list[list[Any]] = []
    self.memo: dict[int, Any] = {}

  def run(self) -> Any:
    stop = pickle.STOP[0]
    for _ in range(MOST_STEPS):
      opcode = self.buffer[self.position]
      self.position += 1
      if opcode == stop:
        return self.stack.pop()
      _STEPS[opcode](self)
    raise InputError("it has more parts than any such file needs")

  def take(self, count: int) -> bytes:
    end = self.position + count
    if end > len(self.buffer):
      raise EOFError
    content = self.buffer[self.position : end]
    self.position = end
    return content

  def take_integer(self, count: int) -> int:
    return int.from_bytes(self.take(count), "little")

  def take_line(self) -> bytes:
    end = self.buffer.find(b"\n", self.position)
    if end < 0:
      raise EOFError
    line = self.take(end - self.position)
    self.position += 1
    return line

  def take_text(self) -> str:
    return self.take_line().decode()

  def push(self, value: Any) -> None:
    self.stack.append(value)

  def pop_marked(self) -> list[Any]:
    items, self.stack = self.stack, self.marked.pop()
    return items

  def push_name(self, module: Any, name: Any) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
      raise TypeError("no name")
    self.push(self.resolve(Name(module, name)))

  def push_call(self, function: Any, arguments: Any) -> None:
    if not isinstance(arguments, tuple | list):
      raise TypeError("no arguments")
    known = isinstance(function, Builder)
    self.push(function.build(*arguments) if known else Placeholder())

  def push_persistent(self, identifier: Any) -> None:
    if self.load_persistent is None:
      raise InputError("it refers to objects outside of it")
    self.push(self.load_persistent(identifier))

  def add_items(self, items: list[Any]) -> None:
    target = self.stack[-1]
    if isinstance(target, list):
      target.extend(items)
    elif not isinstance(target, Placeholder):
      raise TypeError("no list")

  def set_items(self, items: list[Any]) -> None:
    target = self.stack[-1]
    if isinstance(target, dict):
      target.update(pairs(items))
    elif not isinstance(target, Placeholder):
      raise TypeError("no dictionary")


def _key(key: Any) -> Any:
  small = isinstance(key, int) and key.bit_length() <= _MOST_KEY_BITS
  return key if small or key is None or isinstance(key, str | bytes) else Placeholder()


def _integer(machine: _Machine) -> None:
  line = machine.take_line()
  machine.push(line == b"01" if line in (b"00", b"01") else int(line, 0))


def _signed(count: int, content: bytes) -> int:
  if count > _MOST_INTEGER_BYTES:
    raise InputError("it holds an integer that is too long")
  return int.from_bytes(content, "little", signed=True)


def _old_text(content: bytes) -> str:
  return content.decode(_TEXT, _TEXT_ERRORS)


def _quoted_text(machine: _Machine) -> None:
  line = machine.take_line().strip()
  if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"\"'":
    raise ValueError("no text")
  machine.push(_old_text(codecs.escape_decode(line[1:-1])[0]))


def _pop(machine: _Machine) -> None:
  if machine.stack:
    machine.stack.pop()
  else:
    machine.pop_marked()


def _mark(machine: _Machine) -> None:
  machine.marked.append(machine.stack)
  machine.stack = []


def _tuple(count: int) -> Callable[[_Machine], None]:
  def step(machine: _Machine) -> None:
    if len(machine.stack) < count:
      raise IndexError
    machine.stack[-count:] = [tuple(machine.stack[-count:])]

  return step


def _append(machine: _Machine) -> None:
  item = machine.stack.pop()
  machine.add_items([item])


def _set_item(machine: _Machine) -> None:
  value, key = machine.stack.pop(), machine.stack.pop()
  machine.set_items([key, value])


def _stack_name(machine: _Machine) -> None:
  name, module = machine.stack.pop(), machine.stack.pop()
  machine.push_name(module, name)


def _instance(machine: _Machine) -> None:
  machine.push_name(machine.take_text(), machine.take_text())
  machine.push_call(machine.stack.pop(), machine.pop_marked())


def _object(machine: _Machine) -> None:
  function, *arguments = machine.pop_marked()
  machine.push_call(function, arguments)


def _call(machine: _Machine) -> None:
  arguments, function = machine.stack.pop(), machine.stack.pop()
  machine.push_call(function, arguments)


def _call_with_keywords(machine: _Machine) -> None:
  machine.stack.pop()
  _call(machine)


def _set_state(machine: _Machine) -> None:
  state, target = machine.stack.pop(), machine.stack[-1]
  if isinstance(target, Stateful):
    target.set_state(state)


def _get(machine: _Machine, number: int) -> None:
  machine.push(machine.memo[number])


def _put(machine: _Machine, number: int) -> None:
  machine.memo[number] = machine.stack[-1]


def _sized(count: int, convert: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
  """Returns the step that reads a size of `count` bytes and pushes the content behind it."""
  return lambda machine: machine.push(convert(machine.take(machine.take_integer(count))))


def _new_text(content: bytes) -> str:
  return content.decode("utf-8", "surrogatepass")


_STEPS: dict[int, Callable[[_Machine], None]] = {
  opcode[0]: step
  for opcode, step in {
    pickle.PROTO: lambda machine: machine.take(1),
    # Frames are for readers of pipes.
    pickle.FRAME: lambda machine: machine.take(8),
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.INT: _integer,
    pickle.BININT: lambda machine: machine.push(_signed(4, machine.take(4))),
    pickle.BININT1: lambda machine: machine.push(machine.take_integer(1)),
    pickle.BININT2: lambda machine: machine.push(machine.take_integer(2)),
    pickle.LONG: lambda machine: machine.push(int(machine.take_line().rstrip(b"L"))),
    pickle.LONG1: _sized(1, lambda content: _signed(len(content), content)),
    pickle.LONG4: _sized(4, lambda content: _signed(len(content), content)),
    pickle.FLOAT: lambda machine: machine.push(float(machine.take_line())),
    pickle.BINFLOAT: lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    pickle.STRING: _quoted_text,
    pickle.SHORT_BINSTRING: _sized(1, _old_text),
    pickle.BINSTRING: _sized(4, _old_text),
    pickle.UNICODE: lambda machine: machine.push(str(machine.take_line(), "raw-unicode-escape")),
    pickle.SHORT_BINUNICODE: _sized(1, _new_text),
    pickle.BINUNICODE: _sized(4, _new_text),
    pickle.BINUNICODE8: _sized(8, _new_text),
    pickle.SHORT_BINBYTES: _sized(1, bytes),
    pickle.BINBYTES: _sized(4, bytes),
    pickle.BINBYTES8: _sized(8, bytes),
    pickle.BYTEARRAY8: _sized(8, bytes),
    pickle.MARK: _mark,
    pickle.POP: _pop,
    pickle.POP_MARK: lambda machine: machine.pop_marked() and None,
    pickle.DUP: lambda machine: machine.push(machine.stack[-1]),
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.pop_marked())),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.LIST: lambda machine: machine.push(machine.pop_marked()),
    pickle.APPEND: _append,
    pickle.APPENDS: lambda machine: machine.add_items(machine.pop_marked()),
    pickle.EMPTY_SET: lambda machine: machine.push([]),
    pickle.FROZENSET: lambda machine: machine.push(machine.pop_marked()),
    pickle.ADDITEMS: lambda machine: machine.add_items(machine.pop_marked()),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.DICT: lambda machine: machine.push(pairs(machine.pop_marked())),
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_marked()),
    pickle.GET: lambda machine: _get(machine, int(machine.take_line())),
    pickle.BINGET: lambda machine: _get(machine, machine.take_integer(1)),
    pickle.LONG_BINGET: lambda machine: _get(machine, machine.take_integer(4)),
    pickle.PUT: lambda machine: _put(machine, int(machine.take_line())),
    pickle.BINPUT: lambda machine: _put(machine, machine.take_integer(1)),
    pickle.LONG_BINPUT: lambda machine: _put(machine, machine.take_integer(4)),
    pickle.MEMOIZE: lambda machine: _put(machine, len(machine.memo)),
    pickle.GLOBAL: lambda machine: machine.push_name(machine.take_text(), machine.take_text()),
    pickle.STACK_GLOBAL: _stack_name,
    pickle.INST: _instance,
    pickle.OBJ: _object,
    pickle.NEWOBJ: _call,
    pickle.NEWOBJ_EX: _call_with_keywords,
    pickle.REDUCE: _call,
    pickle.BUILD: _set_state,
    pickle.PERSID: lambda machine: machine.push_persistent(machine.take_text()),
    pickle.BINPERSID: lambda machine: machine.push_persistent(machine.stack.pop()),
  }.items()
}

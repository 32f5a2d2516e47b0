"""Containers and bytes, which old protocols build by calls, under their names in Python 2 and 3."""

from collections.abc import Mapping
from typing import Any

from l2g_jax.runtime.pickles.reader import Builder, Name, pairs, text_bytes


def _encode(text: Any, encoding: Any) -> bytes:
  """Stands for `codecs.encode`, by which old protocols write bytes."""
  if encoding not in ("latin1", "latin-1"):
    raise ValueError("a codec that is not known")
  return text.encode("latin1")


def _bytes(content: Any = b"", encoding: Any = None) -> bytes:
  return text_bytes(content) if encoding is None else _encode(content, encoding)


def _list(items: Any = ()) -> list[Any]:
  if not isinstance(items, list | tuple):
    raise TypeError("no list")
  return list(items)


def _dictionary(items: Any = ()) -> dict[Any, Any]:
  return (
    dict(items)
    if isinstance(items, dict)
    else pairs([part for key, value in _list(items) for part in (key, value)])
  )


_BUILTINS = {
  "bytes": Builder(_bytes),
  "bytearray": Builder(_bytes),
  "set": Builder(_list),
  "frozenset": Builder(_list),
}

CONTAINERS: Mapping[Name, Any] = {
  Name("_codecs", "encode"): Builder(_encode),
  Name("collections", "OrderedDict"): Builder(_dictionary),
  Name("collections", "Counter"): Builder(_dictionary),
  Name("collections", "defaultdict"): Builder(lambda *_: {}),
  **{
    Name(module, name): builder
    for name, builder in _BUILTINS.items()
    for module in ("builtins", "__builtin__")
  },
}

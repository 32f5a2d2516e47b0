"""What was measured of pairs, kept by the contents of the pictures: a grown folder costs new pairs.

A ledger is a folder of parts, bundles that never change. A part holds what one step of the work
found; at the end one part with what is still of use replaces them.
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.retriever.groups.look import Facts
from l2g_jax.runtime import files

# The keys of two pictures, the smaller first, and whether the first is seen in the mirror.
Pair = tuple[str, str, bool]

_KIND = "l2g_jax.pairs"
_VERSION = 1
_NAME = re.compile(r"part-([0-9]{6})")


@dataclasses.dataclass
class Entries:
  """What is known of pairs and pictures.

  Attributes:
    pairs: of each measured pair a JSON value; None where it shares nothing.
    facts: of pictures, by key.
    searched: by the way of searching, of each picture so searched the keys that were found.
  """

  pairs: dict[Pair, Any] = dataclasses.field(default_factory=dict)
  facts: dict[str, Facts] = dataclasses.field(default_factory=dict)
  searched: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)

  def update(self, other: "Entries") -> None:
    """Takes in what another knows."""
    self.pairs |= other.pairs
    self.facts |= other.facts
    for way, found in other.searched.items():
      self.searched.setdefault(way, {}).update(found)

  def among(self, keys: Iterable[str]) -> "Entries":
    """Returns what is known of these pictures alone."""
    kept = set(keys)
    return Entries(
      {pair: value for pair, value in self.pairs.items() if kept.issuperset(pair[:2])},
      {key: value for key, value in self.facts.items() if key in kept},
      {
        way: {
          key: [other for other in others if other in kept]
          for key, others in found.items()
          if key in kept
        }
        for way, found in self.searched.items()
      },
    )


class Ledger:
  """Entries on disk; the caller holds the lock of the folder.

  Attributes:
    root: the folder.
    entries: all that is known.
  """

  def __init__(self, root: pathlib.Path):
    """Reads the parts; damaged ones count as missing."""
    self.root = root
    self._numbers = sorted(
      int(match[1]) for path in root.iterdir() if (match := _NAME.fullmatch(path.name))
    )
    self._is_compact = len(self._numbers) < 2
    self.entries = Entries()
    for number in self._numbers:
      with contextlib.suppress(InputError):
        self.entries.update(_load(self._path(number)))
        continue
      self._is_compact = False

  def add(self, entries: Entries) -> None:
    """Keeps more entries."""
    self._write(entries)
    self._is_compact = len(self._numbers) < 2

  def compact(self, keys: Sequence[str]) -> None:
    """Forgets all but some pictures, and leaves one part."""
    kept = self.entries.among(keys)
    if not self._is_compact or kept != self.entries:
      earlier = list(self._numbers)
      self.entries = Entries()
      self._write(kept)
      for number in earlier:
        files.remove_ours(self._path(number))
      self._numbers, self._is_compact = self._numbers[-1:], True
    files.remove_leftovers(self.root)

  def _write(self, entries: Entries) -> None:
    number = self._numbers[-1] + 1 if self._numbers else 0
    _save(self._path(number), entries)
    self._numbers.append(number)
    self.entries.update(entries)

  def _path(self, number: int) -> pathlib.Path:
    return self.root / f"part-{number:06d}"


def _save(path: pathlib.Path, entries: Entries) -> None:
  # Most pairs share nothing: rows of an array. The others are JSON.
  keys = sorted({key for pair in entries.pairs for key in pair[:2]})
  rows = {key: row for row, key in enumerate(keys)}
  refused, shared = [], []
  for (first, second, is_mirrored), value in sorted(
    entries.pairs.items(), key=lambda item: item[0]
  ):
    pair = [rows[first], rows[second], int(is_mirrored)]
    if value is None:
      refused.append(pair)
    else:
      shared.append([pair, value])
  files.save_bundle(
    path,
    kind=_KIND,
    version=_VERSION,
    arrays={"refused": np.array(refused, np.int32).reshape(-1, 3)},
    metadata={
      "keys": keys,
      "shared": shared,
      "facts": {key: facts.to_json() for key, facts in entries.facts.items()},
      "searched": entries.searched,
    },
  )


def _load(path: pathlib.Path) -> Entries:
  bundle = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=True)
  metadata: Mapping[str, Any] = bundle.metadata
  keys = metadata["keys"]
  pairs: dict[Pair, Any] = {
    (keys[first], keys[second], bool(is_mirrored)): None
    for first, second, is_mirrored in bundle.arrays["refused"].tolist()
  }
  for (first, second, is_mirrored), value in metadata["shared"]:
    pairs[keys[first], keys[second], bool(is_mirrored)] = value
  facts = {key: Facts.from_json(values) for key, values in metadata["facts"].items()}
  return Entries(pairs, facts, {way: dict(found) for way, found in metadata["searched"].items()})

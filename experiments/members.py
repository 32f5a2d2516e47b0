"""What an index of a collection is known to hold: a file that is right whenever one is killed."""

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

from l2g_jax import files
from l2g_jax.errors import InputError

_FILE = "collection.json"
_KIND = "l2g_jax.experiments.collection"
_VERSION = 1
# What is made of a collection, numbered by generation.
_MADE = re.compile(r"(index|vlad|global)-([0-9]{6})")


@dataclasses.dataclass(frozen=True)
class Members:
  """What is known of the index of one generation.

  Attributes:
    generation: the number of the index, and of what is learned with it; a new one is made beside
      it.
    keys: of images that the index holds for certain, by name. An image is taken out before it is
      removed from the index, and entered after it was added.
    state: of the index for which `keys` are all of its images; None while it is changed.
    list_lengths: of the neighbour lists that are there for that state.
    num_changes: images that came or went since the whitening and the vocabulary were learned.
    num_loose: images that came or went since the index was made as a whole.
    num_segments: additions since then.
    failures: why an image has no features, by name.
  """

  generation: int
  keys: Mapping[str, str]
  state: str | None
  list_lengths: tuple[int, ...] = ()
  num_changes: int = 0
  num_loose: int = 0
  num_segments: int = 0
  failures: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def path(self, directory: pathlib.Path, kind: str) -> pathlib.Path:
    """Returns where something made of the collection lies: `index`, `vlad` or `global`."""
    return directory / f"{kind}-{self.generation:06d}"


NONE = Members(generation=0, keys={}, state=None)


def read_members(directory: pathlib.Path) -> Members:
  """Reads what is known; `NONE` where that was never written or is damaged."""
  try:
    content: dict[str, Any] = files.read_manifest(directory / _FILE)
  except InputError:
    return NONE
  if (content.pop("kind", None), content.pop("version", None)) != (_KIND, _VERSION):
    return NONE
  return Members(**{**content, "list_lengths": tuple(content["list_lengths"])})


def write_members(directory: pathlib.Path, members: Members) -> Members:
  """Writes what is known, in one step, and returns it."""
  body = {**vars(members), "keys": dict(members.keys), "failures": dict(members.failures)}
  body["list_lengths"] = list(members.list_lengths)
  files.write_manifest(directory / _FILE, {"kind": _KIND, "version": _VERSION, **body})
  return members


def remove_other_generations(directory: pathlib.Path, members: Members) -> None:
  """Removes what was made for other generations, and nothing else."""
  for path in directory.iterdir():
    match = _MADE.fullmatch(path.name)
    if match and int(match[2]) != members.generation and path.is_dir() and not path.is_symlink():
      shutil.rmtree(path, ignore_errors=True)

"""The known state of a collection's index, in a file that stays true if a process is killed."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from l2g_jax.cann import CannConfig, exists, remove
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.runtime import files

_FILE = "collection.json"
_KIND = "l2g_jax.experiments.collection"
_VERSION = 1
# Parts of a collection, numbered by generation.
_MADE = re.compile(r"(index|vlad|global)-([0-9]{6})")
# Names of version 0.1.0 for the same parts.
_EARLIER = re.compile(r"(index|whitening|vlad|global)-[0-9a-f]{16}")
# Folders of features, of any version and settings.
_FEATURES = re.compile(r"[a-z0-9_]+-[0-9a-f]{16}")


@dataclasses.dataclass(frozen=True)
class Members:
  """The known state of the index of one generation.

  Attributes:
    generation: the number of the index and of everything learned with it; a new generation is made
      beside the old one.
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
    """Returns the path of a part of the collection: `index`, `vlad` or `global`."""
    return directory / f"{kind}-{self.generation:06d}"


NONE = Members(generation=0, keys={}, state=None)


def read_members(directory: pathlib.Path) -> Members:
  """Reads the known state; `NONE` if it was never written or is damaged."""
  try:
    content: dict[str, Any] = files.read_manifest(directory / _FILE)
  except InputError:
    return NONE
  if (content.pop("kind", None), content.pop("version", None)) != (_KIND, _VERSION):
    return NONE
  return Members(**{**content, "list_lengths": tuple(content["list_lengths"])})


def write_members(directory: pathlib.Path, members: Members) -> Members:
  """Writes the known state in one step, and returns it."""
  body = {**vars(members), "keys": dict(members.keys), "failures": dict(members.failures)}
  body["list_lengths"] = list(members.list_lengths)
  files.write_manifest(directory / _FILE, {"kind": _KIND, "version": _VERSION, **body})
  return members


def remove_other_generations(directory: pathlib.Path, members: Members) -> None:
  """Removes the parts of other generations, and the remains of writers that were killed."""
  for path in directory.iterdir():
    match = _MADE.fullmatch(path.name)
    if match and int(match[2]) != members.generation:
      remove(path)
  files.remove_leftovers(directory)


def remove_earlier(directory: pathlib.Path, config: CannConfig, *, whiten: bool) -> None:
  """Removes parts that version 0.1.0 made with the same settings, and no later version uses.

  That version made an index of every list of images that a folder ever held. What it learned for
  them does not say its settings, and goes with the last of its indexes.

  Args:
    directory: where the folder's features lie.
    config: of the index.
    whiten: whether the index has a whitening.
  """
  found = [path for path in directory.iterdir() if _EARLIER.fullmatch(path.name)]
  indexes = [path for path in found if path.name.startswith("index-") and exists(path)]
  kept = [path for path in indexes if not _is_like(path, config, whiten)]
  for path in (path for path in found if not kept or path in set(indexes) - set(kept)):
    remove(path)


def remove_earlier_features(directory: pathlib.Path) -> None:
  """Removes features of version 0.1.0, of any settings: images have other keys today.

  Call it only where no features are given as files: these might be the ones.
  """
  found = [path for path in directory.iterdir() if _FEATURES.fullmatch(path.name)]
  for path in (path for path in found if not path.is_symlink()):
    removed = [store.remove_earlier(path / part) for part in ("database", "queries")]
    if any(removed):
      with contextlib.suppress(OSError):
        path.rmdir()


def _is_like(index: pathlib.Path, config: CannConfig, whiten: bool) -> bool:
  """Whether an index has these settings, apart from those of a search."""
  try:
    manifest = files.read_manifest(index / "index.json")
    settings = CannConfig.from_json(manifest["config"])
    has_whitening = manifest["whitening"] is not None
  except (InputError, KeyError, TypeError):
    return False
  settings = dataclasses.replace(settings, num_probes=None, rescoring_depth=None)
  return settings == config and has_whitening == whiten

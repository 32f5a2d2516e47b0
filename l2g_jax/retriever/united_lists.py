"""Neighbour lists of several kinds of local features, united and kept."""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import unite
from l2g_jax.retriever.sources import short_key
from l2g_jax.retriever.stages import Kind
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.removal import remove_ours

_KIND = "l2g_jax.united_lists"
_VERSION = 1
_NAME = re.compile(r"lists-[0-9a-f]{16}")
# Rows that are united at a time, so that no copy is large; and images between two signs of life.
_ROWS = 4096
_STEP = 64


def open_or_make(directory: pathlib.Path, kinds: Sequence[Kind], *, verify: bool) -> Ranked:
  """Opens the united lists of a collection, or makes them.

  Args:
    directory: the folder of everything that was made of the collection.
    kinds: all of them, with the images in one order.
    verify: whether the checksums of existing files are compared, not only their sizes.

  Returns:
    The lists `[N, L]`, see `unite`; memory-mapped.
  """
  length = kinds[0].lists.ids.shape[1]
  states = [[kind.index.state, kind.lists.ids.shape[1]] for kind in kinds]
  root = directory / f"union-{short_key([kind.index.directory.parent.name for kind in kinds])}"
  path = root / f"lists-{short_key(states, kinds[0].names)}"
  try:
    return _open(path, verify=verify)
  except InputError:
    # They are missing, or damaged, and are made again.
    pass
  with files.locked(root, refusal=None, notice=f"Another process is making {root}; waiting."):
    backgrounds = _find_backgrounds(root, kinds)
    made = []
    for start in range(0, len(kinds[0].names), _ROWS):
      rows = slice(start, start + _ROWS)
      lists = [Ranked(kind.lists.ids[rows], kind.lists.similarities[rows]) for kind in kinds]
      made.append(unite(lists, [values[rows] for values in backgrounds], length))
    files.save_bundle(
      path,
      kind=_KIND,
      version=_VERSION,
      arrays={
        "ids": np.concatenate([part.ids for part in made]),
        "similarities": np.concatenate([part.similarities for part in made]),
        "backgrounds": backgrounds,
      },
      metadata={"keys": _keys(kinds)},
    )
    for other in _earlier(root):
      if other != path:
        remove_ours(other)
    files.remove_leftovers(root)
  return _open(path, verify=False)


def _find_backgrounds(root: pathlib.Path, kinds: Sequence[Kind]) -> np.ndarray:
  """Returns the backgrounds `[kinds, N]` of all lists; those of images that stay are kept.

  An image that comes or goes changes the background of the others by next to nothing.
  """
  known: dict[str, np.ndarray] = {}
  for path in _earlier(root):
    try:
      bundle = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=True)
    except InputError:
      continue
    known |= zip(bundle.metadata["keys"], bundle.arrays["backgrounds"].T, strict=True)
  keys = _keys(kinds)
  new = [number for number, key in enumerate(keys) if key not in known]
  parts = []
  with Meter("backgrounds", total=len(new), unit="images") as meter:
    for start in range(0, len(new), _STEP):
      part = new[start : start + _STEP]
      parts.append(np.stack([kind.list_backgrounds(part) for kind in kinds], axis=1))
      meter.advance(len(part))
  if new:
    known |= zip([keys[number] for number in new], np.concatenate(parts), strict=True)
  return np.stack([known[key] for key in keys], axis=1)


def _keys(kinds: Sequence[Kind]) -> list[str]:
  """Returns a key of every image for all kinds."""
  return ["/".join(kind.keys[name] for kind in kinds) for name in kinds[0].names]


def _earlier(root: pathlib.Path) -> list[pathlib.Path]:
  return [path for path in root.iterdir() if _NAME.fullmatch(path.name)]


def _open(path: pathlib.Path, *, verify: bool) -> Ranked:
  arrays = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=verify).arrays
  return Ranked(arrays["ids"], arrays["similarities"])

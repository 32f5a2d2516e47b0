"""Neighbour lists of several kinds of local features, united and kept."""

import contextlib
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
from l2g_jax.runtime.digests import new_digest
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.removal import remove_ours

_KIND = "l2g_jax.united_lists"
_BACKGROUNDS_KIND = "l2g_jax.backgrounds"
_VERSION = 1
_BACKGROUNDS = "backgrounds"
_NAME = re.compile(r"lists-[0-9a-f]{16}")
# Rows that are united at a time, so that no copy is large; and images between two signs of life.
_ROWS = 4096
_STEP = 64


def open_or_make(
  directory: pathlib.Path, kinds: Sequence[Kind], *, keeps_backgrounds: bool, verify: bool
) -> Ranked:
  """Opens the united lists of a collection, or makes them.

  Args:
    directory: the folder of everything that was made of the collection.
    kinds: all of them, with the images in one order.
    keeps_backgrounds: whether an image keeps the background that an earlier list of it had: others
      that come or go change it by next to nothing. False makes all as if at once.
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
    backgrounds = _find_backgrounds(root, kinds, keeps=keeps_backgrounds)
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
      },
      metadata={},
    )
    for other in root.iterdir():
      if _NAME.fullmatch(other.name) and other != path:
        remove_ours(other)
    files.remove_leftovers(root)
  return _open(path, verify=False)


def _find_backgrounds(root: pathlib.Path, kinds: Sequence[Kind], *, keeps: bool) -> np.ndarray:
  """Returns the backgrounds `[kinds, N]` of all lists."""
  learned = new_digest()
  # Another whitening makes other similarities of the same images.
  for kind in kinds:
    for array in (kind.index.whitening or {}).values():
      learned.update(array.tobytes())
  made_with = learned.hexdigest()
  keys = [short_key(made_with, [kind.keys[name] for kind in kinds]) for name in kinds[0].names]
  path, known = root / _BACKGROUNDS, {}
  if keeps:
    # What is missing or damaged is computed again.
    with contextlib.suppress(InputError):
      bundle = files.load_bundle(path, kind=_BACKGROUNDS_KIND, version=_VERSION, verify=True)
      known = dict(zip(bundle.metadata["keys"], bundle.arrays["backgrounds"], strict=True))
  new = [number for number, key in enumerate(keys) if key not in known]
  with Meter("backgrounds", total=len(new), unit="images") as meter:
    for start in range(0, len(new), _STEP):
      part = new[start : start + _STEP]
      found = np.stack([kind.list_backgrounds(part) for kind in kinds], axis=1)
      known |= zip([keys[number] for number in part], found, strict=True)
      meter.advance(len(part))
  backgrounds = np.stack([known[key] for key in keys])
  if new:
    files.save_bundle(
      path,
      kind=_BACKGROUNDS_KIND,
      version=_VERSION,
      arrays={"backgrounds": backgrounds},
      metadata={"keys": keys},
    )
  return backgrounds.T


def _open(path: pathlib.Path, *, verify: bool) -> Ranked:
  arrays = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=verify).arrays
  return Ranked(arrays["ids"], arrays["similarities"])

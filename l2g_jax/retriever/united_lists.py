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
from l2g_jax.runtime.removal import remove_ours

_KIND = "l2g_jax.united_lists"
_VERSION = 1
_NAME = re.compile(r"lists-[0-9a-f]{16}")
# Rows that are united at a time, so that no copy is large.
_ROWS = 4096


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
    rows = range(0, len(kinds[0].names), _ROWS)
    made = [
      unite(
        [Ranked(*(part[start : start + _ROWS] for part in kind.lists)) for kind in kinds], length
      )
      for start in rows
    ]
    arrays = {
      "ids": np.concatenate([part.ids for part in made]),
      "similarities": np.concatenate([part.similarities for part in made]),
    }
    files.save_bundle(path, kind=_KIND, version=_VERSION, arrays=arrays, metadata={})
    for other in root.iterdir():
      if _NAME.fullmatch(other.name) and other != path:
        remove_ours(other)
    files.remove_leftovers(root)
  return _open(path, verify=False)


def _open(path: pathlib.Path, *, verify: bool) -> Ranked:
  arrays = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=verify).arrays
  return Ranked(arrays["ids"], arrays["similarities"])

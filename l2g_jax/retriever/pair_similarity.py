"""Another similarity of pairs in place of Chamfer: candidates and neighbour lists by it, kept.

The local search still proposes the images. Each is then compared by the other similarity, and so
are the nearest neighbours of every image; L2G embeds what this says (open question 1 of the paper).
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.rescoring import Scale, rescore
from l2g_jax.retriever.collection import Collection
from l2g_jax.retriever.described import Described, DescribedImages
from l2g_jax.retriever.sources import short_key
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter

# As many as are compared in a second or so; neighbours about as many as an image has true ones.
DEPTH, LIST_DEPTH = 100, 20

_KIND = "l2g_jax.pair_lists"
_VERSION = 1
# Rows of a file, so that an interrupted run goes on.
_ROWS = 64
_NAME = re.compile(r"lists-[0-9a-f]{16}-[0-9]{6}")


@dataclasses.dataclass(frozen=True)
class PairSimilarity:
  """A similarity of two images by their local features.

  Attributes:
    name: on a command line and in tables, such as `spatial`.
    settings: JSON values on which its results depend; part of the key of what is kept.
    compare: maps the features of one image, and those of n others, to `[n]` values.
    scale: of the values, see `rescore`.
    depth: how many candidates of a query are compared, at least 1.
    list_depth: how many neighbours of every image, at least 1.
  """

  name: str
  settings: Mapping[str, Any]
  compare: Callable[[Described, Sequence[Described]], ArrayLike]
  scale: Scale = "similarity"
  depth: int = DEPTH
  list_depth: int = LIST_DEPTH

  def __post_init__(self):
    settings.integer("depth", self.depth, least=1)
    settings.integer("list_depth", self.list_depth, least=1)


def compare_candidates(
  similarity: PairSimilarity, found: Ranked, queries: DescribedImages, images: DescribedImages
) -> Ranked:
  """Orders what a search found of Q queries, `[Q, C]`, by another similarity; see `rescore`."""
  return rescore(
    found,
    lambda row, ids: similarity.compare(queries[row], [images[number] for number in ids]),
    depth=similarity.depth,
    scale=similarity.scale,
    title=f"{similarity.name} of candidates",
  )


def open_or_make_lists(
  similarity: PairSimilarity, collection: Collection, images: DescribedImages
) -> Ranked:
  """Opens the neighbour lists of a collection by another similarity, or makes them.

  An interrupted run goes on where it stood.

  Args:
    similarity: of pairs.
    collection: its lists by Chamfer say which images are compared.
    images: the features of its images.

  Returns:
    `[N, min(L, list_depth)]`.

  Raises:
    InputError: a value is no similarity, see `rescore`.
  """
  length = min(similarity.list_depth, collection.lists.ids.shape[1])
  root = collection.directory / (
    f"by-{similarity.name}-{short_key(dict(similarity.settings), similarity.scale, length)}"
  )
  states = [[kind.index.directory.parent.name, kind.index.state] for kind in collection.kinds]
  state = short_key(states, collection.lists.ids.shape[1], collection.names)
  count = len(collection.names)
  made = []
  notice = f"Another process is making {root}; waiting until it is done."
  with (
    files.locked(root, refusal=None, notice=notice),
    Meter(f"lists by {similarity.name}", total=count, unit="images") as meter,
  ):
    for start in range(0, count, _ROWS):
      rows = np.arange(start, min(start + _ROWS, count))
      path = root / f"lists-{state}-{start // _ROWS:06}"
      made.append(_open_or_make(path, similarity, collection.lists, images, rows, length))
      meter.advance(len(rows))
    for other in root.iterdir():
      if _NAME.fullmatch(other.name) and not other.name.startswith(f"lists-{state}-"):
        files.remove_ours(other)
    files.remove_leftovers(root)
  return Ranked(
    np.concatenate([part.ids for part in made]),
    np.concatenate([part.similarities for part in made]),
  )


def _open_or_make(
  path: pathlib.Path,
  similarity: PairSimilarity,
  lists: Ranked,
  images: DescribedImages,
  rows: np.ndarray,
  length: int,
) -> Ranked:
  """Opens the lists of some rows, or makes them."""
  # What is missing or damaged is made.
  with contextlib.suppress(InputError):
    arrays = files.load_bundle(path, kind=_KIND, version=_VERSION, verify=True).arrays
    return Ranked(np.array(arrays["ids"]), np.array(arrays["similarities"]))
  heads = Ranked(
    np.asarray(lists.ids[rows, :length], np.int32), np.asarray(lists.similarities[rows, :length])
  )
  made = rescore(
    heads,
    lambda row, ids: similarity.compare(images[rows[row]], [images[number] for number in ids]),
    depth=length,
    scale=similarity.scale,
    title=None,
  )
  arrays = {"ids": made.ids, "similarities": made.similarities}
  files.save_bundle(path, kind=_KIND, version=_VERSION, arrays=arrays, metadata={})
  return made

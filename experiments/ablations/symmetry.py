"""The symmetric similarity of two images, of the similarities of both directions."""

from collections.abc import Sequence

import numpy as np

from experiments.ablations.cell import Direction
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.retriever.collection import Collection, Descriptors
from l2g_jax.runtime.progress import track
from l2g_jax.similarity.codec import decode, encode

# Images whose cosines with a query are in memory at a time.
_IMAGES = 32


def reverse_similarities(
  collection: Collection, descriptors: Sequence[Descriptors], ids: np.ndarray
) -> np.ndarray:
  """Computes the exact similarities `[Q, C]` of images to queries, by the kernel of the index.

  Args:
    collection: with one kind of local features.
    descriptors: of the Q queries.
    ids: `[Q, C]` of the images; -1 pads.

  Raises:
    InputError: there are several kinds of local features.
  """
  check_kinds(collection)
  values = np.zeros(ids.shape, np.float32)
  for row, (query,) in enumerate(track(descriptors, "similarities to queries", unit="queries")):
    present = ids[row] >= 0
    values[row, present] = _to_query(collection, query, ids[row, present])
  return values


def combine(found: Ranked, reverse: np.ndarray, direction: Direction) -> Ranked:
  """Gives images the similarity of both directions, and orders them by it.

  Args:
    found: `[R, C]`, similarities of one direction.
    reverse: `[R, C]`, of the other.
    direction: how two become one.
  """
  ids, forward = np.asarray(found.ids), np.asarray(found.similarities)
  values = np.minimum(forward, reverse)
  if direction == "mean":
    values = (0.5 * (forward + reverse)).astype(np.float32)
  order = np.argsort(np.where(ids >= 0, -values, np.inf), axis=1, kind="stable")
  return Ranked(np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1))


def symmetric_lists(lists: Ranked, direction: Direction) -> Ranked:
  """Gives neighbours the similarity of both directions, and orders them by it.

  The list of the neighbour says what the other direction is. Where it does not hold the image, it
  is taken as the last similarity of that list, which is no less.

  Args:
    lists: `[N, L]`.
    direction: how two directions become one.
  """
  ids, similarities = np.asarray(lists.ids), np.asarray(lists.similarities)
  num_images = len(ids)
  rows = np.broadcast_to(np.arange(num_images)[:, None], ids.shape)
  present = ids >= 0
  pairs = rows[present].astype(np.int64) * num_images + ids[present]
  wanted = ids[present].astype(np.int64) * num_images + rows[present]
  order = np.argsort(pairs)
  place = np.minimum(np.searchsorted(pairs, wanted, sorter=order), len(pairs) - 1)
  is_stored = pairs[order[place]] == wanted
  last = np.min(similarities, axis=1, where=present, initial=np.inf)
  reverse = np.zeros_like(similarities)
  reverse[present] = np.where(is_stored, similarities[present][order[place]], last[ids[present]])
  return combine(lists, reverse, direction)


def check_kinds(collection: Collection) -> None:
  """Refuses several kinds of local features, whose united similarity has one direction alone."""
  if len(collection.kinds) > 1:
    raise InputError("The direction is swept with one kind of local features, as --local=sift.")


def _to_query(collection: Collection, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
  """Returns the exact similarities of images to a query."""
  (kind,) = collection.kinds
  columns = decode(encode(query, where="the query")).T
  values = np.zeros(len(ids), np.float32)
  if not columns.shape[1]:
    return values
  for start in range(0, len(ids), _IMAGES):
    sets = [decode(kind.codes(int(image))) for image in ids[start : start + _IMAGES]]
    best = kind.index.config.kernel(np.max(np.concatenate(sets) @ columns, axis=1, initial=-1.0))
    parts = np.split(best, np.cumsum([len(rows) for rows in sets])[:-1])
    values[start : start + len(sets)] = [part.mean() if len(part) else 0.0 for part in parts]
  return values

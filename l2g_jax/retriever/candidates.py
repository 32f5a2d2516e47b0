"""Candidates of a query: those of the local search, or others by the index's similarities.

The scores of other programs may be anything: cosines, logits, counts of matches. The method embeds
similarities of one scale, that of the neighbour lists. So the images of others count, and the index
says how similar they are.
"""

from collections.abc import Sequence

import numpy as np

from l2g_jax.ranked import Ranked
from l2g_jax.retriever.stages import Collection
from l2g_jax.runtime.progress import track


def search(collection: Collection, descriptors: Sequence[np.ndarray], k: int) -> Ranked:
  """Finds the candidates of Q queries by the local search, `[Q, min(k, N)]`."""
  k = min(k, len(collection.index.names))
  found = [
    collection.search([values], k) for values in track(descriptors, "local search", unit="queries")
  ]
  return Ranked(
    np.concatenate([result.ids for result in found]),
    np.concatenate([result.similarities for result in found]),
  )


def compare(collection: Collection, descriptors: Sequence[np.ndarray], ids: np.ndarray) -> Ranked:
  """Gives candidates of others the index's exact similarities, and orders them by these.

  Args:
    collection: N images.
    descriptors: of Q queries, see `Queries`.
    ids: `[Q, k]`, -1 pads at the end.
  """
  similarities = np.zeros(ids.shape, np.float32)
  tracked = track(descriptors, "similarities of candidates", unit="queries")
  for row, values in enumerate(tracked):
    present = ids[row] >= 0
    similarities[row, present] = collection.index.similarities(values, ids[row, present])
  order = np.argsort(-similarities, axis=1, kind="stable")
  return Ranked(
    np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
  )


def runs_backwards(ids: np.ndarray, compared: Ranked) -> bool:
  """Whether an order runs against the index: its first halves are less similar, over all queries.

  Args:
    ids: `[Q, k]`, in the order of others.
    compared: the same images, see `compare`.
  """
  gains = []
  for given, found, values in zip(ids, compared.ids, compared.similarities, strict=True):
    known = dict(zip(found.tolist(), values.tolist(), strict=True))
    ordered = np.array([known[image] for image in given.tolist() if image >= 0])
    half = len(ordered) // 2
    if half and ordered.max() > 0.0:
      gains.append((ordered[:half].mean() - ordered[-half:].mean()) / ordered.max())
  return bool(gains) and float(np.mean(gains)) < 0.0

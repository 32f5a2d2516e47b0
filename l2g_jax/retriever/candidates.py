"""Candidates of a query: those of the local search, or others by the index's similarities.

The scores of other programs may be anything: cosines, logits, counts of matches. The method embeds
similarities of one scale, that of the neighbour lists. So the images of others count, and the index
says how similar they are.
"""

from collections.abc import Sequence

import numpy as np

from l2g_jax.ranked import Ranked
from l2g_jax.retriever.collection import Collection, Descriptors
from l2g_jax.runtime.progress import track


def search(collection: Collection, descriptors: Sequence[Descriptors], k: int) -> Ranked:
  """Finds the candidates of Q queries by the local search, `[Q, min(k, N)]`."""
  k = min(k, len(collection.names))
  found = [
    collection.search([query], k) for query in track(descriptors, "local search", unit="queries")
  ]
  return Ranked(
    np.concatenate([result.ids for result in found]),
    np.concatenate([result.similarities for result in found]),
  )


def runs_backwards(ids: np.ndarray, compared: Ranked) -> bool:
  """Whether an order runs against the index: its first halves are less similar, over all queries.

  Args:
    ids: `[Q, k]`, in the order of others.
    compared: the same images, see `Collection.compare`.
  """
  gains = []
  for given, found, values in zip(ids, compared.ids, compared.similarities, strict=True):
    known = dict(zip(found.tolist(), values.tolist(), strict=True))
    ordered = np.array([known[image] for image in given.tolist() if image >= 0])
    half = len(ordered) // 2
    if half and ordered.max() > 0.0:
      gains.append((ordered[:half].mean() - ordered[-half:].mean()) / ordered.max())
  return bool(gains) and float(np.mean(gains)) < 0.0

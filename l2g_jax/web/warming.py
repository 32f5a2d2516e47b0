"""Searches that nobody asked for: what they compile, the first user does not wait for."""

import pathlib

from l2g_jax.errors import InputError
from l2g_jax.pipeline.plane import NUM_POINTS, embed_in_plane
from l2g_jax.retriever import Retriever


def warm_search(retriever: Retriever) -> None:
  """Searches for an image of the collection."""
  try:
    retriever.search(_richest(retriever), k=1)
  except InputError:
    return  # The file is gone or was changed; the next look at the folder tells.


def warm_map(retriever: Retriever) -> None:
  """Makes a map of a search for an image of the collection."""
  try:
    found = retriever.search(_richest(retriever), k=1).candidates
  except InputError:
    return
  kept = found.ids[0] >= 0
  ids, similarities = found.ids[0, kept][:NUM_POINTS], found.similarities[0, kept][:NUM_POINTS]
  embed_in_plane(ids, similarities, retriever.collection.lists, retriever.config)


def _richest(retriever: Retriever) -> pathlib.Path:
  """Returns the file of the image with the most local features."""
  counts = retriever.collection.counts()
  return retriever.images.path(retriever.names[int(counts.argmax())])

"""Candidates that others found, in place of the local search.

Their scores may be anything: cosines, logits, counts of matches. The method embeds similarities of
one scale, that of the neighbour lists, so others are asked which images, and the index how similar.
"""

import pathlib

import numpy as np
import tqdm
from absl import flags

from l2g_jax.cann import SearchResult
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.interop import ames
from l2g_jax.interop import cann as cann_files
from l2g_jax.retriever.stages import Collection, Queries

FLAGS = flags.FLAGS

flags.DEFINE_string(
  "candidates",
  None,
  "In place of the local search: results of the released CANN (.txt, .csv), or neighbours of AMES"
  " (.pkl, .pth, .npy), of which the images count, and not the scores.",
)


def find(
  collection: Collection, queries: Queries, truth: GroundTruth, k: int
) -> tuple[np.ndarray, SearchResult]:
  """Searches, or reads what the flag names.

  Args:
    collection: to search.
    queries: Q of them.
    truth: of the data set, whose images are those of the collection.
    k: candidates of a query, at most.

  Returns:
    The ids `[Q, k]` in the order of the search or of the file, -1 for padding; and the same images
    by the similarity that the index gives them.

  Raises:
    InputError: the file is damaged or does not fit the data set.
  """
  if FLAGS.candidates is None:
    found = _search(collection, queries, k)
    return found.ids, found
  ids = _read(truth, k)
  return ids, _compare(collection, queries, ids)


def _search(collection: Collection, queries: Queries, k: int) -> SearchResult:
  k = min(k, len(collection.index.names))
  found = [
    collection.search([descriptors], k)
    for descriptors in tqdm.tqdm(queries.descriptors, desc="local search", unit="query")
  ]
  return SearchResult(
    np.concatenate([result.ids for result in found]),
    np.concatenate([result.similarities for result in found]),
  )


def _read(truth: GroundTruth, k: int) -> np.ndarray:
  path = pathlib.Path(FLAGS.candidates)
  if path.suffix in (".txt", ".csv"):
    found = cann_files.read_results(path, truth.qimlist, truth.imlist)
  else:
    found = ames.read_neighbors(path, len(truth.qimlist), len(truth.imlist))
  return found.ids[:, :k].astype(np.int32)


def _compare(collection: Collection, queries: Queries, ids: np.ndarray) -> SearchResult:
  """Gives candidates the index's exact similarities, orders them by these, and says so."""
  similarities = np.zeros(ids.shape, np.float32)
  bar = tqdm.tqdm(queries.descriptors, desc="similarities of candidates", unit="query")
  for row, descriptors in enumerate(bar):
    present = ids[row] >= 0
    similarities[row, present] = collection.index.similarities(descriptors, ids[row, present])
  print(
    f"Candidates of {FLAGS.candidates}: their scores are of another scale than the neighbour lists,"
    " and are not used. The row `candidates` has the order of the file; L2G takes its images with"
    " the similarities of the index, and by these."
  )
  if _runs_backwards(ids, similarities):
    print(
      "That order runs against the index: what comes first in it is less similar than what comes"
      " last. A higher score must mean a better match; distances need their sign turned."
    )
  order = np.argsort(-similarities, axis=1, kind="stable")
  return SearchResult(
    np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
  )


def _runs_backwards(ids: np.ndarray, similarities: np.ndarray) -> bool:
  """Returns whether the first halves of the lists are less similar, over all queries."""
  gains = []
  for row, values in enumerate(similarities):
    values = values[ids[row] >= 0]
    half = len(values) // 2
    if half and values.max() > 0.0:
      gains.append((values[:half].mean() - values[-half:].mean()) / values.max())
  return bool(gains) and float(np.mean(gains)) < 0.0

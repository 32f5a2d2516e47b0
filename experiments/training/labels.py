"""Labels of the images of lists: 1 shows the same, 0 another thing, -1 is not used in training."""

from collections.abc import Sequence

import numpy as np

from l2g_jax.evaluation import Judgements
from l2g_jax.ranked import Ranked

# Inliers from which two photographs show the same, and below which they do not.
_CERTAIN, _CHANCE = 15, 6
# An image beyond those that were verified is another thing from this place of a list on.
_UNRELATED = 100


def group_queries(truth: Judgements) -> np.ndarray:
  """Returns the group of each query `[Q]`: those of one group share labelled images.

  Args:
    truth: of Q queries.
  """
  groups = np.arange(len(truth.queries))
  owners: dict[int, int] = {}
  for row, query in enumerate(truth.queries):
    for image in np.concatenate([query.easy, query.hard, query.junk]).tolist():
      other = owners.setdefault(image, row)
      groups[groups == groups[row]] = groups[other]
  return np.unique(groups, return_inverse=True)[1]


def label_queries(truth: Judgements, ids: np.ndarray) -> np.ndarray:
  """Labels what a search found by the ground truth.

  Args:
    truth: of Q queries.
    ids: `[Q, L]`, -1 pads.

  Returns:
    `[Q, L]` int8: easy and hard images are positive, junk is not used.
  """
  labels = np.zeros(ids.shape, np.int8)
  for row, query in enumerate(truth.queries):
    labels[row, np.isin(ids[row], query.junk) | (ids[row] < 0)] = -1
    labels[row, np.isin(ids[row], np.concatenate([query.easy, query.hard]))] = 1
  return labels


def label_images(truth: Judgements, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Labels the neighbours of those images that are easy for a query.

  Args:
    truth: of N images.
    lists: `[N, L]` ids, -1 pads.

  Returns:
    The images `[A]` in order, and their labels `[A, L]` int8: images that are easy for the same
    query are positive; others that any of its queries labels are not used.
  """
  shape = (len(truth.queries), len(truth.imlist))
  easy, labelled = np.zeros(shape, bool), np.zeros(shape, bool)
  for row, query in enumerate(truth.queries):
    easy[row, query.easy] = True
    labelled[row, np.concatenate([query.easy, query.hard, query.junk])] = True
  images = np.flatnonzero(easy.any(axis=0))
  labels = np.zeros((len(images), lists.shape[1]), np.int8)
  for row, image in enumerate(images):
    ids = lists[image]
    labels[row, np.any(labelled[labelled[:, image]], axis=0)[ids]] = -1
    labels[row, np.any(easy[easy[:, image]], axis=0)[ids]] = 1
    labels[row, ids < 0] = -1
  return images.astype(np.int32), labels


def label_verified(verified: Ranked, lists: np.ndarray) -> np.ndarray:
  """Labels neighbours by spatial verification.

  Args:
    verified: `[N, n]`, the first n of every list with their inliers.
    lists: `[N, L]` ids of neighbours, best first; -1 pads.

  Returns:
    `[N, L]` int8: 15 inliers make a positive, fewer than 6 a negative; what was not verified is
    negative from place 100 on.
  """
  labels = np.full(lists.shape, -1, np.int8)
  labels[:, _UNRELATED:] = np.where(lists[:, _UNRELATED:] >= 0, 0, -1)
  for row, ids in enumerate(lists):
    inliers = dict(
      zip(verified.ids[row].tolist(), verified.similarities[row].tolist(), strict=True)
    )
    for place, image in enumerate(ids.tolist()):
      if image >= 0 and image in inliers:
        count = inliers[image]
        labels[row, place] = 1 if count >= _CERTAIN else 0 if count < _CHANCE else -1
  return labels


def images_of(truth: Judgements, queries: Sequence[int]) -> np.ndarray:
  """Returns the images that some queries label, in order and without repetition."""
  parts = [np.zeros(0, np.int64)]
  for number in queries:
    query = truth.queries[number]
    parts += [query.easy, query.hard, query.junk]
  return np.unique(np.concatenate(parts))

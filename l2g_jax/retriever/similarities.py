"""The similarities of pairs that a flag names, in place of Chamfer's."""

import functools
from collections.abc import Sequence

import numpy as np

from l2g_jax.ranking import matching, spatial
from l2g_jax.ranking.spatial import Verification
from l2g_jax.retriever.described import Described
from l2g_jax.retriever.pair_similarity import DEPTH, LIST_DEPTH, PairSimilarity
from l2g_jax.runtime.threads import in_threads

# Key points are in pixels of the photograph; the threshold was chosen at this longer side.
_SIDE = 1024.0


def verify_pair(query: Described, image: Described) -> Verification:
  """Verifies the matches of all kinds of features of two images by one transform.

  The threshold grows with the image where this is larger than those it was chosen on.

  Args:
    query: the features of one image, of each kind.
    image: those of another.

  Returns:
    The `Verification`; its rows count through the key points of the first kind, then the next.
  """
  matches, starts = [], (0, 0)
  for own, other in zip(query, image, strict=True):
    found = matching.match_descriptors(own.descriptors, other.descriptors)
    matches.append(found + np.array(starts, np.int32))
    starts = (starts[0] + len(own.descriptors), starts[1] + len(other.descriptors))
  locations = _locations(image)
  scale = max(1.0, float(locations.max(initial=0.0)) / _SIDE)
  return spatial.verify(
    _locations(query), locations, np.concatenate(matches), threshold=scale * spatial.THRESHOLD
  )


def spatial_similarity(*, depth: int = DEPTH, list_depth: int = LIST_DEPTH) -> PairSimilarity:
  """Returns the number of matches that one transform explains; see `ranking.spatial`.

  Args:
    depth: see `PairSimilarity`.
    list_depth: see `PairSimilarity`.
  """
  settings = {
    "ratio": matching.RATIO,
    "mutual": matching.MUTUAL,
    "model": spatial.MODEL,
    "threshold": spatial.THRESHOLD,
    "max_iterations": spatial.MAX_ITERATIONS,
    "max_scale": spatial.MAX_SCALE,
  }
  return PairSimilarity("spatial", settings, _count_inliers, depth=depth, list_depth=list_depth)


def _count_inliers(query: Described, images: Sequence[Described]) -> np.ndarray:
  verifications = in_threads(functools.partial(verify_pair, query), images)
  return np.array([verification.num_inliers for verification in verifications])


def _locations(described: Described) -> np.ndarray:
  return np.concatenate([features.locations for features in described])

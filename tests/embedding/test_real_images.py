import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.embedding import dissimilarity, mds
from tests.golden.files import load_golden


def mean_average_precision(similarities, labels):
  """AP as the sum of precisions over the positives, of each item against all others."""
  precisions = []
  for row, label in enumerate(labels):
    order = np.argsort(-similarities[row], kind="stable")
    hits = labels[order[order != row]] == label
    if hits.any():
      precisions.append(np.mean(np.cumsum(hits)[hits] / (1 + np.flatnonzero(hits))))
  return 100.0 * np.mean(precisions)


@pytest.mark.fast
def test_embedding_of_real_images_is_better_than_their_similarity():
  """The queries of ROxford, each against all others, by their FIRe descriptors."""
  golden = load_golden("fire_similarities")
  similarities, labels = golden["similarities"], golden["landmarks"]
  size = len(labels)
  assert mean_average_precision(similarities, labels) == pytest.approx(92.0, abs=0.15)

  symmetric = (similarities + similarities.T) / 2
  nearest = np.argsort(-symmetric + 9.0 * np.eye(size), axis=1, kind="stable")[:, :5]
  known = np.zeros((size, size), bool)
  known[np.arange(size)[:, None], nearest] = True
  known |= known.T
  pairs = dissimilarity.KnownPairs(
    jnp.where(known, symmetric, 0.0), jnp.asarray(known), jnp.ones(size, bool)
  )
  values, weights = dissimilarity.dissimilarities(pairs, power=0.3)
  result = mds.smacof(
    values, weights=weights, num_dimensions=64, max_iterations=60, method="momentum"
  )
  embedding = np.asarray(result.embedding)
  distances = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
  assert mean_average_precision(-distances, labels) >= 97.0

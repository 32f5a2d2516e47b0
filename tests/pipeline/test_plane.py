import numpy as np
import pytest

from l2g_jax.pipeline import plane
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.plane import embed_in_plane
from l2g_jax.ranked import Ranked

NUM_IMAGES = 24


def lists_of_two_kinds():
  """The lists of 24 images; an image is like the others of its half."""
  ids, similarities = [], []
  for image in range(NUM_IMAGES):
    own = [other for other in range(NUM_IMAGES) if other % 2 == image % 2 and other != image]
    others = [other for other in range(NUM_IMAGES) if other % 2 != image % 2]
    ids.append(own + others)
    similarities.append([0.5] * len(own) + [0.01] * len(others))
  return Ranked(np.array(ids, np.int32), np.array(similarities, np.float32))


@pytest.mark.fast
def test_what_is_alike_lies_together():
  ids = np.array([0, 2, 4, 6, 1, 3, 5, 7], np.int32)
  similarities = np.array([0.5] * 4 + [0.01] * 4, np.float32)
  config = L2GConfig(measure="similarity", num_query_known=8)
  made = embed_in_plane(ids, similarities, lists_of_two_kinds(), config)
  assert made.points.shape == (9, 2)
  assert np.abs(made.points).max() == pytest.approx(1.0)
  first, second = made.points[1:5], made.points[5:]
  apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
  assert apart > 2 * max(np.ptp(first, axis=0).max(), np.ptp(second, axis=0).max())
  assert np.linalg.norm(made.points[0] - first.mean(axis=0)) < apart / 2
  assert made.normalized_stress < 0.3
  assert made.sentence.endswith(".")


def test_shortlists_of_one_size_share_a_program():
  ids = np.arange(20, dtype=np.int32)
  lists, config = lists_of_two_kinds(), L2GConfig(measure="similarity")
  for size in (3, 20, 11):
    similarities = np.linspace(0.5, 0.1, size, dtype=np.float32)
    before = plane._embed._cache_size()
    assert len(embed_in_plane(ids[:size], similarities, lists, config).points) == size + 1
  assert plane._embed._cache_size() == before

import numpy as np

from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.known import known_strengths
from l2g_jax.ranked import Ranked


def test_strengths_are_shares_of_the_strongest_known_pair():
  # Image 0 lists 1, and 2 lists 0; 3 is known to nobody.
  ids = np.array([[1, -1], [3, -1], [0, -1], [-1, -1]])
  lists = Ranked(ids, np.array([[0.4, 0], [0.2, 0], [0.1, 0], [0, 0]], np.float32))
  config = L2GConfig(measure="similarity", num_query_known=1, num_embedded=3)
  made = known_strengths(np.array([2, 0, 1, 3]), np.array([0.8, 0.6, 0.5, 0.4]), lists, config)
  expected = np.zeros((4, 4))
  expected[0, 1] = 1.0
  expected[1, 2] = 0.1 / 0.8
  expected[2, 3] = 0.4 / 0.8
  np.testing.assert_allclose(made, expected + expected.T, rtol=1e-6)


def test_padding_is_known_to_nobody():
  lists = Ranked(np.array([[1], [0]]), np.ones((2, 1), np.float32))
  made = known_strengths(
    np.array([0, -1]), np.array([0.5, 0.0]), lists, L2GConfig(measure="similarity")
  )
  assert np.array_equal(np.argwhere(made > 0), [[0, 1], [1, 0]])

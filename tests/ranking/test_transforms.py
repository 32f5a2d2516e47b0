import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.ranking import transforms


def map_by_hand(transform, point):
  x, y, depth = transform @ [*point, 1.0]
  return np.array([x / depth, y / depth])


def scales_by_hand(transform, point, step=1e-5):
  """The singular values of the derivative, by differences; the determinant's sign."""
  slopes = [
    (map_by_hand(transform, point + by) - map_by_hand(transform, point - by)) / (2 * step)
    for by in step * np.eye(2)
  ]
  return np.linalg.svd(slopes, compute_uv=False), np.linalg.det(slopes)


@pytest.mark.fast
@pytest.mark.parametrize(
  ("transform", "expected"),
  [
    (np.diag([1.0, 1.0, 1.0]), 5.0),
    (np.diag([-2.0, -2.0, -2.0]), 5.0),
    (np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]]), 0.0),
    # A turn by a right angle, which maps 3, 1 to -1, 3.
    (np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.hypot(7.0, 2.0)),
    (np.diag([2.0, 2.0, 1.0]), 3.0),
    (np.diag([2.1, 2.0, 1.0]), np.inf),
    (np.diag([0.5, 2.0, 1.0]), np.hypot(4.5, 3.0)),
    (np.diag([0.49, 2.0, 1.0]), np.inf),
    (np.diag([-1.0, 1.0, 1.0]), np.inf),
    (np.diag([1.0, 1.0, 0.0]), np.inf),
    (np.zeros((3, 3)), np.inf),
    # Depths of 4 before and of -2 behind the line x = 1.5.
    (np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-2.0, 0.0, 4.0]]), np.inf),
  ],
)
def test_errors_by_hand(transform, expected):
  errors = transforms.errors(transform, np.array([[3.0, 1.0]]), np.array([[6.0, 5.0]]), 2.0)
  np.testing.assert_allclose(errors, [expected], atol=1e-12)


@given(seed=st.integers(0, 10_000))
def test_errors_equal_a_loop(seed):
  rng = np.random.default_rng(seed)
  transform = np.eye(3) + rng.uniform(-1, 1, (3, 3)) * [[1, 1, 9], [1, 1, 9], [0.03, 0.03, 0]]
  source, target = rng.uniform(0, 50, (2, 20, 2))
  errors = transforms.errors(transform, source, target, 3.0)
  for error, start, end in zip(errors, source, target, strict=True):
    (largest, smallest), determinant = scales_by_hand(transform, start)
    if max(largest, 1 / smallest) <= 3.0 * (1 - 1e-6) and determinant > 0:
      np.testing.assert_allclose(error, np.linalg.norm(map_by_hand(transform, start) - end))
    elif max(largest, 1 / smallest) > 3.0 * (1 + 1e-6) or determinant < 0:
      assert error == np.inf


def test_distances_from_lines():
  steps = np.arange(-5.0, 6.0)
  line = np.stack([3.0 * steps + 7.0, 4.0 * steps - 2.0], axis=1)
  assert transforms.distance_from_line(line) < 1e-9
  # All lie 2 from the line, and turn by turn on its two sides.
  beside = (
    line[:10] + 2.0 * np.array([-0.8, 0.6]) * np.tile([1.0, -1.0, -1.0, 1.0, 0.0], 2)[:, None]
  )
  assert 0.9 * 2.0 * 0.8**0.5 < transforms.distance_from_line(beside) <= 2.0 * 0.8**0.5 + 1e-9
  square = np.array([[0.0, 0.0], [0.0, 8.0], [8.0, 0.0], [8.0, 8.0]])
  np.testing.assert_allclose(transforms.distance_from_line(square), 4.0)
  assert transforms.distance_from_line(np.ones((6, 2))) == 0.0


def test_the_first_of_each_point():
  points = np.array([[1.0, 2.0], [3.0, 2.0], [1.0, 2.0], [1.0, 3.0], [3.0, 2.0], [2.0, 1.0]])
  np.testing.assert_array_equal(transforms.first_of_each(points), [0, 1, 3, 5])
  assert not len(transforms.first_of_each(np.zeros((0, 2))))

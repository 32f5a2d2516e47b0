import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.similarity.kmeans import assign, kmeans


def blobs(seed, *, centers, size=40, spread=0.01):
  rng = np.random.default_rng(seed)
  points = np.repeat(np.asarray(centers, np.float32), size, axis=0)
  points += spread * rng.standard_normal(points.shape, dtype=np.float32)
  return rng.permutation(points)


def squared_error(points, centroids):
  return np.min(np.sum((points[:, None] - centroids) ** 2, axis=2), axis=1).sum()


def test_nearest_centroids_by_hand():
  points = np.array([[0, 0], [2, 0], [1, 0], [9, 1]], np.float32)
  labels, errors = assign(points, np.array([[0, 0], [2, 0], [10, 1]], np.float32))
  np.testing.assert_array_equal(labels, [0, 1, 0, 2])  # the third is a tie
  np.testing.assert_allclose(errors, [0, 0, 1, 1], atol=1e-6)


def test_blocks_of_points_are_put_together():
  rng = np.random.default_rng(0)
  points = rng.standard_normal((40_000, 3), dtype=np.float32)
  centroids = rng.standard_normal((5, 3), dtype=np.float32)
  labels, errors = assign(points, centroids)
  distances = np.sum((points[:, None].astype(np.float64) - centroids) ** 2, axis=2)
  np.testing.assert_allclose(errors, distances.min(axis=1), atol=1e-4)
  np.testing.assert_allclose(distances[np.arange(40_000), labels], errors, atol=1e-4)


def test_one_cluster_is_the_mean():
  points = np.random.default_rng(1).standard_normal((100, 7), dtype=np.float32)
  centroids = kmeans(points, 1, num_iterations=1, seed=0)
  np.testing.assert_allclose(centroids, points.mean(axis=0, keepdims=True), atol=1e-6)


def test_equals_a_loop():
  points = np.random.default_rng(2).standard_normal((200, 4), dtype=np.float32)
  expected = kmeans(points, 6, num_iterations=0, seed=3).astype(np.float64)
  for _ in range(5):
    distances = np.sum((points[:, None] - expected) ** 2, axis=2)
    nearest = distances.argmin(axis=1)
    expected = np.stack([points[nearest == k].mean(axis=0) for k in range(6)])
  centroids = kmeans(points, 6, num_iterations=5, seed=3)
  np.testing.assert_allclose(centroids, expected, atol=1e-5)


@given(st.integers(0, 10_000))
def test_it_starts_from_distinct_points_and_never_gets_worse(seed):
  points = np.random.default_rng(seed).standard_normal((60, 3), dtype=np.float32)
  start = kmeans(points, 8, num_iterations=0, seed=seed)
  assert len({tuple(row) for row in start} & {tuple(row) for row in points}) == 8
  errors = [
    squared_error(points, kmeans(points, 8, num_iterations=count, seed=seed)) for count in range(6)
  ]
  assert np.all(np.diff(errors) <= 1e-4)


def test_a_seed_decides_everything():
  points = blobs(4, centers=np.eye(8), spread=0.5)
  first = kmeans(points, 5, num_iterations=10, seed=7)
  np.testing.assert_array_equal(first, kmeans(points.copy(), 5, num_iterations=10, seed=7))
  assert not np.allclose(first, kmeans(points, 5, num_iterations=10, seed=8))
  assert first.dtype == np.float32


def test_points_are_left_as_they_are():
  points = blobs(5, centers=np.eye(3))
  before = points.copy()
  kmeans(points, 3, num_iterations=3, seed=0)
  np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_stays_empty(seed):
  # Nearly every start is four times the same point, which leaves three clusters empty.
  far = [[9, 0], [0, 9], [9, 9]]
  points = np.array([[0, 0]] * 97 + far, np.float32)
  centroids = kmeans(points, 4, num_iterations=2, seed=seed)
  assert sorted(map(tuple, centroids.tolist())) == [(0, 0), (0, 9), (9, 0), (9, 9)]
  assert np.all(np.bincount(assign(points, centroids)[0], minlength=4) > 0)


def test_fewer_points_than_clusters_are_all_kept():
  points = np.array([[3, 1], [1, 2]], np.float32)
  centroids = kmeans(points, 5, num_iterations=4, seed=0)
  assert sorted(map(tuple, centroids.tolist())) == [(1, 2), (3, 1)]
  assert kmeans(np.zeros((0, 2), np.float32), 5, num_iterations=4, seed=0).shape == (0, 2)

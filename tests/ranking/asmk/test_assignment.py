import numpy as np
import pytest

from l2g_jax.ranking.asmk.assignment import nearest_words


@pytest.mark.fast
def test_nearest_words_by_hand():
  centroids = np.array([[0, 0], [2, 0], [10, 1], [2, 0]], np.float32)
  points = np.array([[0, 0], [2, 0], [1, 0], [9, 1]], np.float32)
  words, distances = nearest_words(points, centroids, 2)
  # The second meets a word that is there twice, the third lies between two.
  np.testing.assert_array_equal(words, [[0, 1], [1, 3], [0, 1], [2, 1]])
  np.testing.assert_array_equal(distances, [[0, 4], [0, 0], [1, 1], [1, 50]])


def test_distances_that_float32_confuses_are_told_apart():
  # Far from the origin, words a ten-thousandth apart.
  rng = np.random.default_rng(0)
  centroids = (50.0 + 1e-4 * rng.standard_normal((30, 40))).astype(np.float32)
  points = (50.0 + 1e-4 * rng.standard_normal((300, 40))).astype(np.float32)
  exact = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(axis=2)
  words, distances = nearest_words(points, centroids, 2)
  np.testing.assert_array_equal(words, np.argsort(exact, axis=1, kind="stable")[:, :2])
  np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :2], rtol=1e-12)
  rounded = 0.5 * np.sum(centroids**2, axis=1) - points @ centroids.T
  assert np.any(rounded.argmin(axis=1) != words[:, 0])


def test_equal_distances_that_float32_takes_for_different_go_to_the_smaller_word():
  rng = np.random.default_rng(2)
  centroids = 2.0 * rng.integers(-5000, 5000, (6, 40)).astype(np.float32)
  firsts, seconds = np.triu_indices(6, 1)
  # Between two words a third may be nearer, so each pair is tried far from the others.
  for first, second in zip(firsts, seconds, strict=True):
    moved = centroids.copy()
    moved[[first, second]] += 40_000.0
    middle = moved[[first, second]].mean(axis=0)[None]
    words, distances = nearest_words(middle, moved, 5)
    np.testing.assert_array_equal(words[0, :2], [first, second])
    assert distances[0, 0] == distances[0, 1]
    np.testing.assert_array_equal(nearest_words(middle, moved, 1)[0], [[first]])


def test_blocks_are_put_together():
  rng = np.random.default_rng(1)
  centroids = rng.standard_normal((6, 40), dtype=np.float32)
  points = rng.standard_normal((1024 + 2 * 256 + 7, 40), dtype=np.float32)
  words, _ = nearest_words(points, centroids, 5)
  exact = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(axis=2)
  np.testing.assert_array_equal(words, np.argsort(exact, axis=1, kind="stable")[:, :5])


def test_more_words_than_there_are_are_all():
  centroids = np.array([[0, 0], [2, 0], [10, 1], [2, 0]], np.float32)
  words, distances = nearest_words(np.array([[9, 1]], np.float32), centroids, 9)
  np.testing.assert_array_equal(words, [[2, 1, 3, 0]])
  np.testing.assert_array_equal(distances, [[1, 50, 50, 82]])
  words, distances = nearest_words(np.zeros((0, 2), np.float32), centroids, 2)
  assert words.shape == distances.shape == (0, 2)

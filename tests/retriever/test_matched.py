import cv2
import numpy as np
import pytest

from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.sift import sift
from l2g_jax.retriever.matched import View, map_box, match_views
from l2g_jax.retriever.options import Features

FEATURES = Features(local=sift(max_side=100))


def described(locations, seed=0):
  values = np.random.default_rng(seed).standard_normal((len(locations), 16))
  one = np.ones(len(locations), np.float32)
  return (LocalFeatures(values.astype(np.float32), locations.astype(np.float32), one, one),)


def turned(locations):
  """Turns by a quarter, and moves."""
  return locations @ [[0.0, 1.0], [-1.0, 0.0]] + [85.0, 5.0]


@pytest.mark.fast
def test_points_and_region_are_in_pixels_of_the_files():
  seen = np.random.default_rng(1).uniform(0.0, 80.0, (30, 2))
  # Of the image, which is above 89 megapixels, every other pixel was read in both directions.
  first = View(described(seen), (500, 600), box=(50.0, 40.0, 250.0, 200.0))
  second = View(described(turned(seen)), (300, 400), reduction=2)
  match = match_views(first, second, FEATURES)
  order = np.argsort(match.points[:, 0])
  expected = seen[np.argsort(seen[:, 0])]
  np.testing.assert_allclose(match.points[order, :2], np.add(expected, [50, 40]), rtol=1e-5)
  np.testing.assert_allclose(match.points[order, 2:], 2 * turned(expected), rtol=1e-5)
  # The corners of the part as they are turned, not those of the photograph.
  corners = np.array([[0.0, 0.0], [200.0, 0.0], [200.0, 160.0], [0.0, 160.0]])
  assert match.region is not None
  np.testing.assert_allclose(match.region, 2 * turned(corners), atol=1e-2)


def test_a_picture_larger_than_the_extractor_sees_is_matched_in_its_own_pixels():
  texture = np.random.default_rng(4).integers(0, 256, (24, 32, 3), np.uint8)
  picture = cv2.resize(texture, (320, 240), interpolation=cv2.INTER_CUBIC)
  view = View((sift(max_side=100).extract(picture),), (240, 320))
  points = match_views(view, view, FEATURES).points
  assert len(points) > 20
  np.testing.assert_array_equal(points[:, :2], points[:, 2:])
  assert np.all(points[:, :2] < [320, 240])
  assert np.all(points[:, :2].max(axis=0) > [250, 180])


def test_what_shares_nothing_has_no_region():
  rng = np.random.default_rng(2)
  first = View(described(rng.uniform(0.0, 90.0, (3, 2))), (100, 100))
  second = View(described(rng.uniform(0.0, 90.0, (3, 2)), seed=3), (100, 100))
  match = match_views(first, second, FEATURES)
  assert match.points.shape == (0, 4)
  assert match.transform is None
  assert match.region is None


def test_corners_beyond_the_horizon_are_no_region():
  bent = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.02, 0.0, -1.0]])
  assert map_box(bent, (0.0, 0.0, 40.0, 10.0)) is not None
  assert map_box(bent, (0.0, 0.0, 60.0, 10.0)) is None

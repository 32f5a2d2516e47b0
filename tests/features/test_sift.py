import pickle

import cv2
import numpy as np
import pytest

from l2g_jax.features.sift import sift


def texture(height=240, width=320, *, seed=0):
  """Noise of several sizes, which has corners and blobs everywhere."""
  rng = np.random.default_rng(seed)
  layers = [
    rng.uniform(-1, 1, (height // size, width // size)).repeat(size, axis=0).repeat(size, axis=1)
    for size in (4, 8, 16)
  ]
  return (
    np.clip(128 + 42 * np.sum(layers, axis=0), 0, 255).astype(np.uint8)[:, :, None].repeat(3, 2)
  )


def blobs(centers, *, height=600, width=800, radius=12.0):
  rows, columns = np.mgrid[:height, :width]
  image = np.zeros((height, width))
  for x, y in centers:
    image += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
  return image.astype(np.uint8)[:, :, None].repeat(3, 2)


def test_descriptors_are_root_sift():
  extractor = sift()
  features = extractor.extract(texture())
  assert len(features.descriptors) > 100
  assert features.descriptors.shape[1] == extractor.dimension == 128
  assert all(value.dtype == np.float32 for value in vars(features).values())
  assert np.all(features.descriptors >= 0)
  np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-5)


def test_descriptors_are_the_root_of_opencvs():
  grey = cv2.cvtColor(texture(), cv2.COLOR_RGB2GRAY)
  keypoints, descriptors = cv2.SIFT.create().detectAndCompute(grey, np.empty(0, np.uint8))
  expected = {
    (*point.pt, point.size, point.response): np.sqrt(row / row.sum())
    for point, row in zip(keypoints, descriptors, strict=True)
  }
  features = sift(max_descriptors=10_000).extract(texture())
  table = np.column_stack([features.locations, features.scales, features.strengths])
  assert len(table) == len(keypoints)
  for key, row in zip(table.tolist(), features.descriptors, strict=True):
    # One place may have several descriptors, which differ in their angle.
    if sum(np.all(table == key, axis=1)) == 1:
      np.testing.assert_allclose(row, expected[tuple(key)], atol=1e-6)


@pytest.mark.parametrize("most", [1, 7, 100])
def test_the_strongest_are_kept(most):
  everything = sift(max_descriptors=10_000).extract(texture())
  features = sift(max_descriptors=most).extract(texture())
  assert len(features.descriptors) == most
  assert np.all(np.diff(everything.strengths) <= 0)
  np.testing.assert_array_equal(features.strengths, everything.strengths[:most])


def test_extraction_is_deterministic():
  first, second = sift().extract(texture()), sift().extract(texture().copy())
  for field, value in vars(first).items():
    np.testing.assert_array_equal(value, getattr(second, field), strict=True)


@pytest.mark.parametrize("most", [1000, 12, 5, 1])
def test_ties_go_to_the_smaller_x_then_y(most):
  # One patch twelve times; OpenCV returns all of its features, in any order, for every limit.
  centers = [(x, y) for x in (100, 300, 500, 700) for y in (100, 300, 500)]
  features = sift(max_descriptors=most).extract(blobs(centers, radius=8.0))
  assert np.all(features.strengths == features.strengths[0])
  everything = sift(max_descriptors=1000).extract(blobs(centers, radius=8.0))
  assert len(features.strengths) == min(most, len(everything.strengths))
  table = everything.locations
  np.testing.assert_array_equal(table, table[np.lexsort((table[:, 1], table[:, 0]))])
  np.testing.assert_array_equal(features.locations, table[:most])
  np.testing.assert_array_equal(features.descriptors, everything.descriptors[:most])


@pytest.mark.parametrize(
  "image",
  [
    np.full((64, 64, 3), 128, np.uint8),
    np.zeros((1, 1, 3), np.uint8),
    np.zeros((3000, 1, 3), np.uint8),
  ],
)
def test_blank_images_have_no_features(image):
  features = sift().extract(image)
  assert features.descriptors.shape == (0, 128)
  assert features.locations.shape == (0, 2)
  assert features.scales.shape == features.strengths.shape == (0,)
  assert features.descriptors.dtype == np.float32


@pytest.mark.parametrize("max_side", [1024, 400, 200])
def test_locations_and_scales_are_in_pixels_of_the_image_given(max_side):
  centers = np.array([[150, 300], [400, 450], [620, 130]])
  features = sift(max_side=max_side).extract(blobs(centers))
  for center in centers:
    distances = np.linalg.norm(features.locations - center, axis=1)
    nearest = distances.argmin()
    # A pixel of the reduced image is up to four of the given one.
    assert distances[nearest] < 4
    # OpenCV's size is the diameter of the blob's scale: radius 12 gives about 2 x 12.
    assert 16 < features.scales[nearest] < 36


def test_pixels_of_a_reduced_image_cover_those_of_the_image_given():
  image = blobs([[150, 300], [400, 450]], height=602)
  small = cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
  expected = (sift().extract(small).locations + 0.5) * [800 / 200, 602 / 150] - 0.5
  assert len(expected)
  np.testing.assert_allclose(sift(max_side=200).extract(image).locations, expected, atol=1e-3)


def test_images_are_never_enlarged():
  small, large = (sift(max_side=side).extract(texture()) for side in (320, 4000))
  np.testing.assert_array_equal(small.descriptors, large.descriptors)


def test_views_of_images_are_taken():
  padded = np.pad(texture(), ((5, 3), (2, 9), (0, 0)))
  view = sift().extract(padded[5:-3, 2:-9])
  np.testing.assert_array_equal(view.descriptors, sift().extract(texture()).descriptors)


def test_the_recipe_is_in_the_settings_and_travels_to_workers():
  extractor = sift(max_descriptors=20, max_side=100)
  assert extractor.name == "sift"
  assert extractor.settings["max_descriptors"] == 20
  assert extractor.settings["max_side"] == 100
  copy = pickle.loads(pickle.dumps(extractor))
  assert copy.settings == extractor.settings
  assert len(copy.extract(texture()).descriptors) == 20


def faint(image, share):
  return np.rint(128 + share * (image.astype(float) - 128)).astype(np.uint8)


def test_faint_images_have_the_features_of_strong_ones():
  strong = sift().extract(texture())
  image = faint(texture(), 0.06)
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  # OpenCV by itself finds next to none.
  assert len(cv2.SIFT.create().detect(grey)) < 8
  features = sift().extract(image)
  assert len(features.descriptors) > 20
  cosines = features.descriptors @ strong.descriptors.T
  assert np.median(cosines.max(axis=1)) > 0.9


def test_images_with_enough_features_keep_opencvs_threshold():
  # Eight blobs that are clear, and one that only a lower threshold finds.
  centers = [(x, y) for x in (100, 300, 500, 700) for y in (100, 300)]
  clear = blobs(centers)
  weak = np.maximum(clear, faint(blobs([(400, 500)]), 0.02) - 125)
  assert len(sift().extract(clear).descriptors) >= 8
  features = sift().extract(weak)
  assert np.linalg.norm(features.locations - (400, 500), axis=1).min() > 100

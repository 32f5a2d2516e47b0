import functools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.features.sift import sift
from l2g_jax.ranking.matching import match_descriptors
from l2g_jax.ranking.spatial import Verification, rank_by_inliers, verify, verify_shortlist
from l2g_jax.ranking.transforms import Model
from l2g_jax.runtime import threads
from tests.problems import unit_rows

HOMOGRAPHY = np.array([[0.9, 0.1, 30.0], [-0.15, 1.1, 5.0], [2e-4, -1e-4, 1.0]])
AFFINITY = np.array([[0.6, -0.4, 200.0], [0.3, 0.7, 40.0], [0.0, 0.0, 1.0]])
TRANSFORMS: dict[Model, np.ndarray] = {"homography": HOMOGRAPHY, "affinity": AFFINITY}


def mapped(transform, points):
  x, y, depth = transform @ np.concatenate([points, np.ones((len(points), 1))], axis=1).T
  return np.stack([x / depth, y / depth], axis=1)


def scene(transform, *, inliers, outliers, noise=1.0, seed=0):
  """Locations in a query and an image; the first `inliers` rows fit the transform."""
  rng = np.random.default_rng(seed)
  query = rng.uniform(0, 800, (inliers + outliers, 2))
  image = mapped(transform, query) + noise * rng.standard_normal(query.shape)
  image[inliers:] = rng.uniform(0, 800, (outliers, 2))
  return query, image


def straight(count):
  """Matches of rows with the same numbers."""
  return np.stack([np.arange(count)] * 2, axis=1)


def pairs_of_locations(found, query, image):
  return {(*query[i], *image[j]) for i, j in found.inliers}


def same(first, second):
  if first.transform is None or second.transform is None:
    return first.transform is second.transform
  return np.array_equal(first.inliers, second.inliers) and np.array_equal(
    first.transform, second.transform
  )


@pytest.mark.fast
@pytest.mark.parametrize("model", list(TRANSFORMS))
@pytest.mark.parametrize(("inliers", "outliers"), [(30, 0), (40, 60), (30, 120), (200, 100)])
def test_a_transform_is_found_among_outliers(model, inliers, outliers):
  query, image = scene(TRANSFORMS[model], inliers=inliers, outliers=outliers, seed=1)
  found = verify(query, image, straight(len(query)), model=model)
  assert found.transform is not None
  is_true = found.inliers[:, 0] < inliers
  assert np.sum(is_true) >= 0.95 * inliers
  assert np.sum(~is_true) <= 0.03 * outliers
  np.testing.assert_array_equal(found.inliers[:, 0], found.inliers[:, 1])
  assert np.all(np.diff(found.inliers[:, 0]) > 0)
  corners = np.array([[100.0, 100.0], [100.0, 700.0], [700.0, 100.0], [700.0, 700.0]])
  expected = mapped(TRANSFORMS[model], corners)
  np.testing.assert_allclose(mapped(found.transform, corners), expected, atol=4.0)
  errors = np.linalg.norm(mapped(found.transform, query) - image, axis=1)
  np.testing.assert_array_equal(found.inliers[:, 0], np.flatnonzero(errors <= 5.0))


def test_points_without_noise_give_the_transform_itself():
  for model, transform in TRANSFORMS.items():
    query, image = scene(transform, inliers=40, outliers=0, noise=0.0)
    found = verify(query, image, straight(40), model=model)
    assert found.num_inliers == 40
    assert found.transform is not None
    np.testing.assert_allclose(found.transform / found.transform[2, 2], transform, atol=1e-3)


@pytest.mark.parametrize("model", list(TRANSFORMS))
def test_random_matches_have_few_inliers(model):
  counts = []
  for seed in range(20):
    query, image = scene(HOMOGRAPHY, inliers=0, outliers=100, seed=seed)
    counts.append(verify(query, image, straight(100), model=model).num_inliers)
  assert max(counts) <= 7


def test_a_wider_threshold_takes_more():
  query, image = scene(HOMOGRAPHY, inliers=100, outliers=0, noise=3.0)
  counts = [verify(query, image, straight(100), threshold=t).num_inliers for t in (2, 5, 12)]
  assert counts[0] < 60 < counts[1] < 95 < counts[2]


@pytest.mark.parametrize("model", list(TRANSFORMS))
@given(seed=st.integers(0, 10_000))
def test_the_order_of_rows_and_matches_is_of_no_account(model, seed):
  rng = np.random.default_rng(seed)
  query, image = scene(TRANSFORMS[model], inliers=20, outliers=20, seed=seed)
  matches = straight(40)
  first = verify(query, image, matches, model=model, seed=7)
  there, here = rng.permutation(40), rng.permutation(40)
  # Row r of the query moved to where `there` is r.
  moved = np.stack([np.argsort(there), np.argsort(here)], axis=1)[rng.permutation(40)]
  second = verify(query[there], image[here], moved, model=model, seed=7)
  assert pairs_of_locations(second, query[there], image[here]) == pairs_of_locations(
    first, query, image
  )
  np.testing.assert_array_equal(second.transform, first.transform)


def test_the_seed_decides_which_samples_are_drawn():
  query, image = scene(HOMOGRAPHY, inliers=60, outliers=120)
  seeds = (0, 1, 2, 3, 4, 2**31 - 1)
  # So few samples find now this, now that.
  few = [verify(query, image, straight(180), max_iterations=20, seed=seed) for seed in seeds]
  assert len({found.num_inliers for found in few}) > 1
  again = [verify(query, image, straight(180), max_iterations=20, seed=seed) for seed in seeds]
  assert all(map(same, few, again))


def test_samples_are_drawn_until_the_settings_say_enough():
  query, image = scene(HOMOGRAPHY, inliers=30, outliers=90)
  assert verify(query, image, straight(120)).num_inliers > 28
  assert verify(query, image, straight(120), max_iterations=5).num_inliers < 20
  assert verify(query, image, straight(120), confidence=0.0).num_inliers < 20


@pytest.mark.parametrize("unit", [0.01, 30.0])
def test_the_unit_of_locations_is_of_no_account(unit):
  query, image = scene(HOMOGRAPHY, inliers=40, outliers=60)
  found = verify(unit * query, unit * image, straight(100), threshold=5.0 * unit)
  assert np.sum(found.inliers[:, 0] < 40) >= 38


def test_several_descriptions_of_a_point_count_once():
  query, image = scene(HOMOGRAPHY, inliers=10, outliers=5, noise=0.5)
  query, image = np.repeat(query, 3, axis=0), np.repeat(image, 3, axis=0)
  found = verify(query, image, straight(45))
  assert found.num_inliers == 10
  assert len({tuple(point) for point in query[found.inliers[:, 0]]}) == 10


def test_several_descriptions_of_a_point_have_one_vote():
  query, image = scene(HOMOGRAPHY, inliers=14, outliers=0)
  rows = np.repeat(np.arange(14), [1] * 8 + [9] * 6)
  # Six points would fit another transform, nine times each.
  image[8:] = mapped(np.diag([1.2, 0.8, 1.0]), query[8:])
  found = verify(query[rows], image[rows], straight(len(rows)))
  np.testing.assert_array_equal(rows[found.inliers[:, 0]], np.arange(8))


def test_matches_of_many_points_to_one_count_once():
  query, image = scene(HOMOGRAPHY, inliers=12, outliers=0, noise=0.0)
  rng = np.random.default_rng(0)
  crowd = query[:1] + rng.uniform(-2, 2, (30, 2))
  query = np.concatenate([query, crowd])
  matches = np.concatenate([straight(12), np.stack([np.arange(12, 42), np.zeros(30)], 1)])
  for points, others, pairs in ((query, image, matches), (image, query, matches[:, ::-1])):
    transform = verify(points, others, pairs.astype(int))
    assert transform.num_inliers == 12
    # The nearest of the crowd is the point itself.
    np.testing.assert_array_equal(transform.inliers, straight(12))


@pytest.mark.parametrize("model", list(TRANSFORMS))
@pytest.mark.parametrize(
  "degenerate",
  [
    np.diag([-1.0, 1.0, 1.0]),
    np.diag([0.05, 0.05, 1.0]),
    np.diag([20.0, 20.0, 1.0]),
    np.diag([1.0, 0.05, 1.0]),
    np.diag([1.0, 0.0, 1.0]),
    np.diag([0.0, 0.0, 1.0]),
    1e-30 * np.diag([1.0, 1.0, 1e30]),
  ],
)
def test_degenerate_transforms_are_refused(model, degenerate):
  query, image = scene(degenerate, inliers=40, outliers=0, noise=0.0)
  found = verify(query, image, straight(40), model=model)
  assert found.num_inliers == 0
  assert (found.inliers.shape, found.transform) == ((0, 2), None)


def test_a_larger_scale_may_be_allowed():
  query, image = scene(np.diag([20.0, 20.0, 1.0]), inliers=40, outliers=0, noise=0.0)
  assert verify(query, image, straight(40), max_scale=21.0).num_inliers == 40


@pytest.mark.parametrize("model", list(TRANSFORMS))
def test_points_on_a_line_are_refused(model):
  rng = np.random.default_rng(3)
  steps = rng.uniform(0, 800, (40, 1))
  query = steps * [0.6, 0.8] + rng.uniform(-2, 2, (40, 2))
  for noise in (0.0, 1.0):
    image = mapped(TRANSFORMS[model], query) + noise * rng.standard_normal(query.shape)
    assert verify(query, image, straight(40), model=model).num_inliers == 0
  # Those beside it fix the transform.
  query[:10] += rng.uniform(-200, 200, (10, 2))
  image = mapped(TRANSFORMS[model], query)
  assert verify(query, image, straight(40), model=model).num_inliers == 40


@pytest.mark.parametrize("model", list(TRANSFORMS))
def test_too_few_matches_are_refused(model):
  query, image = scene(TRANSFORMS[model], inliers=5, outliers=0, noise=0.0)
  least = 4 if model == "homography" else 3
  for count in range(least):
    assert verify(query, image, straight(count), model=model).num_inliers == 0
  assert verify(query, image, straight(least), model=model).num_inliers == least
  # As many matches, but not as many points.
  rows = np.zeros((8, 1), int) + straight(least - 1).repeat(4, axis=0)[:8]
  assert verify(query, image, rows, model=model).num_inliers == 0


def test_pictures_without_features():
  empty, points = np.zeros((0, 2), np.float32), np.ones((3, 2))
  for query, image in ((empty, points), (points, empty), (empty, empty)):
    assert verify(query, image, np.zeros((0, 2), np.int32)).num_inliers == 0


@pytest.mark.parametrize("model", list(TRANSFORMS))
@given(seed=st.integers(0, 10_000))
def test_few_and_whole_and_far_points_raise_no_error(model, seed):
  rng = np.random.default_rng(seed)
  count, size = rng.integers(3, 15), 10.0 ** rng.integers(-3, 8)
  query, image = size * rng.integers(0, 4, (2, count, 2))
  found = verify(query, image, rng.integers(0, count, (30, 2)), model=model)
  assert (found.transform is None) == (found.num_inliers == 0)
  for points, rows in ((query, found.inliers[:, 0]), (image, found.inliers[:, 1])):
    assert len(np.unique(points[rows], axis=0)) == found.num_inliers


def texture(seed, side=360):
  """A picture of blobs of many sizes, like no other."""
  rng = np.random.default_rng(seed)
  total = np.zeros((side, side), np.float32)
  for cells in (12, 24, 48, 96):
    noise = rng.standard_normal((cells, cells)).astype(np.float32)
    total += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
  grey = cv2.normalize(total, np.empty(0), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
  return np.repeat(grey[:, :, None], 3, axis=2)


@functools.cache
def pictures():
  """Features of a cut of a picture; of the picture as seen askew, and of another picture."""
  extract = sift(max_descriptors=200).extract
  picture, other = texture(0), texture(1)
  view = np.array([[0.8, 0.25, 10.0], [-0.15, 0.9, 60.0], [3e-4, -2e-4, 1.0]])
  # The corner of the cut is its origin.
  cut = picture[60:300, 80:320]
  move = np.array([[1.0, 0.0, 80.0], [0.0, 1.0, 60.0], [0.0, 0.0, 1.0]])
  seen = cv2.warpPerspective(picture, view, (360, 360))
  features = [extract(np.ascontiguousarray(image)) for image in (cut, seen, other)]
  return view @ move, [(some.locations, some.descriptors) for some in features]


@pytest.mark.parametrize("model", list(TRANSFORMS))
def test_a_picture_seen_askew_is_verified_and_another_is_not(model):
  view, (cut, seen, other) = pictures()
  askew, itself, unrelated = verify_shortlist(*cut, [seen, cut, other], model=model)
  assert itself.transform is not None
  assert askew.transform is not None
  assert itself.num_inliers > 90
  np.testing.assert_allclose(itself.transform, np.eye(3), atol=1e-3)
  assert unrelated.num_inliers < 6
  assert askew.num_inliers > 30
  if model == "homography":
    corners = np.array([[20.0, 20.0], [20.0, 220.0], [220.0, 20.0], [220.0, 220.0]])
    expected = mapped(view, corners)
    np.testing.assert_allclose(mapped(askew.transform, corners), expected, atol=3.0)


@pytest.mark.parametrize(("ratio", "mutual"), [(0.7, True), (None, False)])
def test_images_of_a_shortlist_are_verified_each_by_itself(monkeypatch, ratio, mutual):
  _, (cut, *images) = pictures()
  shortlist = [*images, (np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)), cut] * 3
  matching = {"ratio": ratio, "mutual": mutual}
  settings = {"model": "affinity", "threshold": 3.0, "max_scale": 4.0, "seed": 5}
  found = verify_shortlist(*cut, shortlist, **matching, **settings)
  assert len(found) == len(shortlist)
  for verification, (locations, descriptors) in zip(found, shortlist, strict=True):
    matches = match_descriptors(cut[1], descriptors, **matching)
    assert same(verification, verify(cut[0], locations, matches, **settings))
  # Read when they are needed, in another order, and by any number of threads.
  readers = [functools.partial(tuple, image) for image in shortlist[::-1]]
  for cores in (1, 4):
    monkeypatch.setattr(threads, "available_cores", lambda cores=cores: cores)
    again = verify_shortlist(*cut, readers, **matching, **settings)
    assert all(map(same, again[::-1], found))
  assert verify_shortlist(*cut, []) == []


def test_descriptors_of_any_norm_are_verified_alike():
  _, (cut, seen, _) = pictures()
  first, second = verify_shortlist(*cut, [seen, (seen[0], 1e9 * seen[1].astype(float))])
  assert same(first, second)


def test_a_query_without_features_has_no_inliers():
  _, (_, seen, _) = pictures()
  found = verify_shortlist(np.zeros((0, 2)), np.zeros((0, 128)), [seen, seen])
  assert [one.num_inliers for one in found] == [0, 0]


def verified(*counts):
  return [Verification(np.zeros((count, 2), np.int32), None) for count in counts]


@pytest.mark.fast
@pytest.mark.parametrize(
  ("ids", "similarities", "counts", "min_inliers", "expected"),
  [
    ([7, 5, 9, 2], [0.4, 0.3, 0.2, 0.1], [10, 30, 20, 40], 0, [3, 1, 2, 0]),
    ([7, 5, 9, 2], [0.4, 0.3, 0.2, 0.1], [20, 30, 20, 30], 0, [1, 3, 0, 2]),
    # Below the least, all are equal.
    ([7, 5, 9, 2], [0.4, 0.3, 0.2, 0.1], [4, 7, 8, 6], 8, [2, 0, 1, 3]),
    # The tail was not verified, and an image in it may be the most similar.
    ([7, 5, 9, 2], [0.4, 0.3, 0.2, 0.5], [0, 12], 8, [1, 3, 0, 2]),
    ([7, 5, 9, 2], [0.4, 0.4, 0.4, 0.4], [], 8, [0, 1, 2, 3]),
    # Padding stays behind, whatever was verified of it.
    ([7, 5, -1, -1], [0.4, 0.3, 0.0, 0.0], [0, 9, 12, 0], 8, [1, 0, 2, 3]),
    ([], [], [], 8, []),
  ],
)
def test_shortlists_are_ranked_by_inliers(ids, similarities, counts, min_inliers, expected):
  order = rank_by_inliers(
    np.array(ids, int), np.array(similarities), verified(*counts), min_inliers=min_inliers
  )
  assert order.tolist() == expected


@pytest.mark.parametrize(
  ("setting", "values"),
  [
    ("model", ["plane", None, 3]),
    ("threshold", [0.0, -1.0, np.nan, np.inf, "1", True]),
    ("confidence", [-0.1, 1.1, np.nan, None]),
    ("max_iterations", [0, 1.5, True]),
    ("max_scale", [0.9, np.nan, np.inf]),
    ("seed", [-1, 2**31, 0.5]),
  ],
)
def test_settings_that_make_no_sense_are_refused(setting, values):
  points, descriptors = np.ones((2, 2)), np.ones((2, 4))
  for value in values:
    with pytest.raises(InputError, match=f"{setting} must be"):
      verify(points, points, straight(2), **{setting: value})
    with pytest.raises(InputError, match=f"{setting} must be"):
      verify_shortlist(points, descriptors, [], **{setting: value})


@pytest.mark.parametrize(
  ("points", "matches", "message"),
  [
    (np.ones((3, 3)), straight(2), r"locations of the query must be numbers \[n, 2\]"),
    (np.full((3, 2), "1"), straight(2), "locations of the query must be numbers"),
    (np.array([[0.0, np.nan]] * 3), straight(2), "of the query hold a value that is not finite"),
    (np.ones((3, 2)), straight(2).astype(float), r"Matches must be integers \[m, 2\]"),
    (np.ones((3, 2)), np.arange(3), r"Matches must be integers \[m, 2\]"),
    (np.ones((3, 2)), np.array([[3, 0]]), "a row outside of 3 and 2 locations"),
    (np.ones((3, 2)), np.array([[0, 2]]), "a row outside of 3 and 2 locations"),
    (np.ones((3, 2)), np.array([[-1, 0]]), "a row outside of 3 and 2 locations"),
  ],
)
def test_locations_and_matches_that_do_not_fit_are_refused(points, matches, message):
  with pytest.raises(InputError, match=message):
    verify(points, np.ones((2, 2)), matches)


def test_shortlists_that_do_not_fit_are_refused():
  points, rows = np.ones((3, 2)), unit_rows(np.random.default_rng(0), 3, 8)
  for image, message in (
    ((points[:2], rows), "The image must have as many locations as descriptors, not 2 and 3"),
    ((points, rows[:, :5]), "of the query have 8 values and those of the image 5"),
    ((points, np.nan * rows), "of the image hold a value that is not finite"),
    ((np.inf * points, rows), "of the image hold a value that is not finite"),
  ):
    with pytest.raises(InputError, match=message):
      verify_shortlist(points, rows, [image])
  with pytest.raises(InputError, match="The query must have as many locations as descriptors"):
    verify_shortlist(points[:1], rows, [])
  with pytest.raises(InputError, match="ratio must be"):
    verify_shortlist(points, rows, [], ratio=2.0)
  for ids, similarities, count in (([1, 2], [0.5], 0), ([[1]], [[0.5]], 0), ([1], [0.5], 2)):
    with pytest.raises(InputError, match="A shortlist must be ids and similarities"):
      rank_by_inliers(np.array(ids), np.array(similarities), verified(*[9] * count))
  with pytest.raises(InputError, match="of a shortlist hold a value that is not finite"):
    rank_by_inliers(np.array([1]), np.array([np.nan]), [])
  with pytest.raises(InputError, match="min_inliers must be"):
    rank_by_inliers(np.array([1]), np.array([0.5]), verified(9), min_inliers=-1)

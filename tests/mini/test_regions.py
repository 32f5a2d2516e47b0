import numpy as np
import pytest

from experiments import localization
from experiments.regions import measure
from l2g_jax import Retriever, load_dataset
from l2g_jax.errors import InputError
from l2g_jax.features.sift import sift
from mini.overlap import Sighting
from mini.regions import shared_region
from tests.mini.test_mini import SMALL, make_small


def sighting(pixels, visible):
  count = len(pixels)
  blank = np.zeros(count)
  return Sighting(
    visible=np.array(visible),
    pixels=np.array(pixels, float),
    area=blank,
    scale=blank,
    direction=np.zeros((count, 3)),
  )


@pytest.mark.fast
def test_a_region_reaches_as_far_as_what_both_photographs_show():
  grid = [(x, y) for x in range(0, 100, 10) for y in range(0, 100, 10)]
  query = sighting(grid, [True] * 100)
  # The other photograph shows all of it twice as large, but for the lowest row.
  other = sighting([(2 * x + 5, 2 * y) for x, y in grid], [y < 90 for _, y in grid])
  region = shared_region(query, (0, 0, 50, 100), other)
  np.testing.assert_allclose(region, [5, 0, 85, 160], atol=0.5)
  assert shared_region(query, (0, 0, 1, 30), other) is None


@pytest.mark.fast
def test_overlap_of_boxes():
  box = (0.0, 0.0, 2.0, 2.0)
  assert measure.overlap(box, box) == 1.0
  assert measure.overlap(box, (1.0, 0.0, 3.0, 2.0)) == pytest.approx(1 / 3)
  assert measure.overlap(box, (2.0, 0.0, 3.0, 2.0)) == 0.0
  assert measure.overlap(box, None) == measure.overlap(None, box) == 0.0


def test_a_box_is_mapped_into_the_frame():
  part = (0.0, 0.0, 10.0, 20.0)
  moved = np.array([[2.0, 0, 5], [0, 2, -10], [0, 0, 1]])
  assert measure.mapped_box(moved, part, (100, 100)) == (5.0, 0.0, 25.0, 30.0)
  assert measure.mapped_box(-moved, part, (25, 20)) == (5.0, 0.0, 20.0, 25.0)
  assert measure.mapped_box(moved, part, (100, 4)) is None
  assert measure.mapped_box(None, part, (100, 100)) is None
  # The horizon of this one crosses the part.
  bent = np.array([[1.0, 0, 0], [0, 1, 0], [0.2, 0, -1]])
  assert measure.mapped_box(bent, part, (100, 100)) is None


def test_matched_points_have_a_box():
  assert measure.box_around(np.array([[1.0, 5], [3, 2]])) == (1.0, 2.0, 3.0, 5.0)
  assert measure.box_around(np.zeros((0, 2))) is None


@pytest.mark.fast
def test_loc_score_counts_rank_and_region():
  assert measure.loc_score([1.0, 1.0], 2) == 1.0
  assert measure.loc_score([0.5, None, 0.5], 2) == pytest.approx((0.5 + 2 / 3 * 0.5) / 2)
  assert measure.loc_score([None, None], 2) == 0.0
  # Of more positives than results, as many count as there are results.
  assert measure.loc_score([1.0, 1.0], 9) == 1.0
  assert measure.loc_score([], 3) == 0.0


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  root = tmp_path_factory.mktemp("small")
  make_small(root)
  dataset = load_dataset(root, "mini")
  return dataset, Retriever.open_or_build(dataset, root / "work", features=sift())


def test_true_regions_are_those_of_the_ground_truth(opened):
  dataset, retriever = opened
  regions = localization.open_regions(dataset, retriever, SMALL)
  truth = dataset.ground_truth
  assert set(regions) == set(truth.qimlist)
  for name, query in zip(truth.qimlist, truth.queries, strict=True):
    easy = {truth.imlist[image] for image in query.easy}
    assert easy <= set(regions[name])
    for x1, y1, x2, y2 in regions[name].values():
      assert -1 <= x1 < x2 <= 240
      assert -1 <= y1 < y2 <= 240
  assert localization.open_regions(dataset, retriever, SMALL) == regions


def test_positives_are_located(opened):
  dataset, retriever = opened
  regions = localization.open_regions(dataset, retriever, SMALL)
  rows = localization.measure_lists(dataset, retriever, regions, depth=5)
  assert len(rows) == 3 * 3
  for row in rows:
    assert 0 <= row["with_transform"] <= row["positives"]
    assert row["located"] is None or 0 <= row["located"] <= 100
  whole = [row for row in rows if row["answer"] == "whole image"]
  assert all(row["mean_overlap"] > 0 for row in whole if row["positives"])


def test_another_size_is_refused(opened):
  dataset, retriever = opened
  with pytest.raises(InputError, match="made with another size or seed"):
    localization.check_boxes(dataset, {"query_000": {"bbx": [0, 0, 1, 1], "images": {}}})

import numpy as np
import pytest
from PIL import Image

from experiments import localization
from experiments.regions import lists, measure
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.errors import InputError
from l2g_jax.features.protocol import LocalFeatures
from mini import MiniConfig, make_mini
from mini.overlap import Sighting
from mini.regions import shared_region

TINY = MiniConfig(
  num_landmarks=1,
  num_queries=1,
  fewest_views=3,
  most_views=3,
  num_distractor_scenes=1,
  distractor_views=1,
  num_points=200,
  height=150,
)


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
  assert region is not None
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
def dataset(tmp_path_factory):
  root = tmp_path_factory.mktemp("small")
  make_mini(root, config=TINY, num_workers=1, show_progress=False)
  return load_dataset(root, "mini")


def test_true_regions_are_those_of_the_ground_truth(dataset, tmp_path):
  regions = localization.open_regions(dataset, tmp_path, TINY)
  truth = dataset.ground_truth
  assert set(regions) == set(truth.qimlist)
  for name, query in zip(truth.qimlist, truth.queries, strict=True):
    easy = {truth.imlist[image] for image in query.easy}
    assert easy <= set(regions[name])
    for x1, y1, x2, y2 in regions[name].values():
      assert -1 <= x1 < x2 <= 200
      assert -1 <= y1 < y2 <= 200
  kept = (tmp_path / "regions.json").read_bytes()
  assert localization.open_regions(dataset, tmp_path, TINY) == regions
  assert (tmp_path / "regions.json").read_bytes() == kept


def test_another_size_is_refused(dataset):
  with pytest.raises(InputError, match="made with another size or seed"):
    localization.check_boxes(dataset, {"query_000": {"bbx": [0, 0, 1, 1], "images": {}}})


def features(locations):
  values = np.random.default_rng(0).standard_normal((len(locations), 16)).astype(np.float32)
  blank = np.zeros(len(locations), np.float32)
  return (LocalFeatures(values, np.asarray(locations, np.float32), blank, blank),)


def test_positives_are_located(tmp_path):
  """Of four images the first shows the box where it was, the second elsewhere, twice as large."""
  path = tmp_path / "image.png"
  Image.new("RGB", (200, 100)).save(path)
  judgement = QueryJudgement((20.0, 10.0, 60.0, 50.0), *(np.array([n]) for n in (0, 1, 2)))
  truth = GroundTruth(tuple("abcd"), ("q",), (judgement,))
  points = np.random.default_rng(1).uniform(0, 40, (40, 2))
  images = [features(np.add(points, [20, 10])), features(np.add(2 * points, [90, 5]))]
  images += [images[0], features(np.zeros((0, 2)))]
  regions = {"q": {"a": (20.0, 10.0, 60.0, 50.0), "b": (0.0, 0.0, 80.0, 80.0)}}
  rows = lists.measure_lists(
    Dataset("tiny", truth, (path,) * 4, (path,)),
    {"l2g": np.array([[2, 0, 3, 1]]), "global": np.array([[3, 2, 0, 1]])},
    [features(points)],
    images,
    regions,
    depth=3,
  )
  by_answer = {(row["list"], row["answer"]): row for row in rows}
  mapped = by_answer["l2g", "mapped box"]
  # Junk does not count: the first three are a, d and b.
  assert (mapped["positives"], mapped["with_transform"]) == (2, 2)
  assert (mapped["located_easy"], mapped["located_hard"], mapped["located"]) == (100, 0, 50)
  assert mapped["mean_overlap"] == pytest.approx(0.5, abs=0.01)
  assert mapped["loc_score"] == pytest.approx(50, abs=1)
  assert by_answer["global", "mapped box"]["loc_score"] == pytest.approx(25, abs=1)
  assert by_answer["l2g", "whole image"]["located"] == 0
  assert by_answer["l2g", "matched points"]["located_easy"] == 100
  table = localization.make_table(rows, 3)
  assert [table.rows[number][:2] for number in table.marked] == [["l2g", "mapped box"]]
  assert {len(row) for row in table.rows} == {len(table.columns)}

import io
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from l2g_jax.data.dataset import Dataset
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.sift import sift
from l2g_jax.ranked import Ranked
from l2g_jax.report.blocks import Fallen
from l2g_jax.report.queries import KeyPoints, Stage, make_browser
from l2g_jax.retriever.options import Features

BOX = (20.0, 10.0, 84.0, 74.0)


def ids(*values):
  return np.array(values, np.int64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  """One query and five images; the last file is none."""
  root = tmp_path_factory.mktemp("images")
  paths = [root / f"{number}.png" for number in range(6)]
  for path in paths[:5]:
    cv2.imwrite(str(path), np.full((100, 200, 3), 90, np.uint8))
  paths[4].write_bytes(b"no image")
  judgement = QueryJudgement(BOX, easy=ids(2), hard=ids(0), junk=ids(3))
  truth = GroundTruth(tuple("abcde"), ("q",), (judgement,))
  shutil.copy(paths[0], paths[5])
  return Dataset("tiny", truth, tuple(paths[:5]), (paths[5],))


def described(locations, seed=0):
  rng = np.random.default_rng(seed)
  count = len(locations)
  values = rng.standard_normal((count, 16)).astype(np.float32)
  blank = np.zeros(count, np.float32)
  return (LocalFeatures(values, np.asarray(locations, np.float32), blank, blank),)


def browse(dataset, key_points=None):
  search = Ranked(np.array([[3, 1, 2]]), np.array([[0.5, 0.25, 0.125]], np.float32))
  stages = [
    Stage("chamfer", np.array([[3, 1, 2, 0, 4]]), search),
    Stage("l2g", np.array([[2, 0, 3, 1, 4]])),
  ]
  return make_browser(
    dataset,
    stages,
    shown=("chamfer", "l2g"),
    reference="chamfer",
    facts=[[("AP", "1.0")]],
    orders={"loss": [0]},
    fallen=[{0: ("far", ["It is."])}],
    scales={"cosine": "from -1 to 1"},
    key_points=key_points,
  )


@pytest.mark.fast
def test_lists_have_labels_scores_and_changes_of_rank(dataset):
  (query,) = browse(dataset).queries
  found = {
    name: [(r.image, r.label, r.score, r.change) for r in results]
    for name, results in query.lists.items()
  }
  assert found["chamfer"][:3] == [
    (3, "junk", 0.5, None),
    (1, "negative", 0.25, None),
    (2, "easy", 0.125, None),
  ]
  assert found["l2g"][:4] == [
    (2, "easy", None, 2),
    (0, "hard", None, 2),
    (3, "junk", None, -2),
    (1, "negative", None, -2),
  ]
  assert query.positives == [(2, "easy", [3, 1]), (0, "hard", [4, 2])]
  assert query.matches == {}
  (fell,) = query.fallen
  assert fell == Fallen(query.lists["l2g"][1], 2, "far", ["It is."])


def test_pictures_are_small_and_know_the_size_of_their_photographs(dataset):
  browser = browse(dataset)
  assert browser.images[0].size == (100, 200)
  sizes = [Image.open(io.BytesIO(image.jpeg)).size for image in browser.images]
  assert sizes[0] == (200, 100)
  # A file that is no image has a grey square.
  assert sizes[4][0] == sizes[4][1]


def test_key_points_lie_at_their_places_in_the_photographs(dataset):
  rng = np.random.default_rng(1)
  whole = rng.uniform([25, 15], [80, 70], (40, 2))
  # Extractors tell pixels of what they were given, also where they look at it reduced: of the
  # images all, and of the query the box.
  own = described(whole - BOX[:2])
  key_points = KeyPoints([own], [described(whole)] * 5, Features(local=sift(max_side=100)))
  (query,) = browse(dataset, key_points).queries
  matches = query.matches[2]
  assert matches.count == 40
  wanted = np.sort(np.round(whole * [5, 10]).astype(int), axis=0)
  np.testing.assert_allclose(np.sort(matches.points[:, :2], axis=0), wanted, atol=1)
  np.testing.assert_allclose(matches.points[:, :2], matches.points[:, 2:], atol=1)


def test_many_matches_are_thinned(dataset):
  rng = np.random.default_rng(1)
  whole = rng.uniform([25, 15], [80, 70], (90, 2))
  images = [described(whole)] * 5
  key_points = KeyPoints([described(whole - BOX[:2])], images, Features(local=sift()))  # pyright: ignore
  matches = browse(dataset, key_points).queries[0].matches[2]
  assert matches.count == 90
  assert len(matches.points) == 60

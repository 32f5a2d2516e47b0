import numpy as np

from experiments.training import labels
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.ranked import Ranked


def judged(easy, hard, junk):
  return QueryJudgement(None, *(np.array(part, np.int64) for part in (easy, hard, junk)))


# Two queries share image 2; the third is of another landmark.
TRUTH = GroundTruth(
  tuple(f"image-{number}" for number in range(8)),
  ("a", "b", "c"),
  (judged([0, 1], [2], [3]), judged([2], [], []), judged([5], [6], [])),
)


def test_queries_that_share_images_are_one_group():
  np.testing.assert_array_equal(labels.group_queries(TRUTH), [0, 0, 1])
  chain = GroundTruth(
    TRUTH.imlist,
    ("a", "b", "c"),
    (judged([0], [], []), judged([1], [], []), judged([0], [1], [])),
  )
  assert len(np.unique(labels.group_queries(chain))) == 1


def test_queries_label_what_they_found():
  ids = np.array([[0, 3, 7, 2], [2, 0, 1, -1], [6, 5, 1, 0]])
  expected = [[1, -1, 0, 1], [1, 0, 0, -1], [1, 1, 0, 0]]
  np.testing.assert_array_equal(labels.label_queries(TRUTH, ids), expected)


def test_images_that_are_easy_for_one_query_show_the_same():
  lists = np.array([[1, 2, 3, 7]] * 8)
  lists[5] = [6, 0, -1, -1]
  images, made = labels.label_images(TRUTH, lists)
  np.testing.assert_array_equal(images, [0, 1, 2, 5])
  # Image 0: 1 is easy for its query, 2 and 3 are labelled by it, 7 is not.
  np.testing.assert_array_equal(made[0], [1, -1, -1, 0])
  # Image 2 is hard for the first query, and so what that labels is not used.
  np.testing.assert_array_equal(made[2], [-1, 1, -1, 0])
  np.testing.assert_array_equal(made[3], [-1, 0, -1, -1])


def test_inliers_label_the_head_and_the_far_end_is_another_thing():
  lists = np.tile(np.arange(1, 131), (2, 1))
  lists[1, 120:] = -1
  verified = Ranked(np.array([[3, 1, 2]] * 2), np.array([[40.0, 8.0, 5.0], [15.0, 6.0, 0.0]]))
  made = labels.label_verified(verified, lists)
  np.testing.assert_array_equal(made[:, :3], [[-1, 0, 1], [-1, 0, 1]])
  assert np.all(made[:, 3:100] == -1)
  assert np.all(made[0, 100:] == 0)
  assert np.all(made[1, 100:120] == 0)
  assert np.all(made[1, 120:] == -1)


def test_images_of_some_queries():
  np.testing.assert_array_equal(labels.images_of(TRUTH, [1, 2]), [2, 5, 6])
  assert labels.images_of(TRUTH, []).size == 0

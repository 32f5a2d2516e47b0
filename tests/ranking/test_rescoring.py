import numpy as np
import pytest

from l2g_jax.errors import InputError, SettingError
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.rescoring import rank_table, rescore
from tests.pipeline.problems import CONFIG, some_collection

LISTS = Ranked(
  np.array([[4, 2, 7, 1], [3, 5, -1, -1], [-1, -1, -1, -1]], np.int32),
  np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.0, 0.0], [0.0] * 4], np.float32),
)


@pytest.mark.fast
def test_heads_are_ordered_by_the_new_values_and_the_rest_is_unknown():
  asked = []

  def inliers(row, ids):
    asked.append((row, ids.tolist()))
    return [{4: 3, 2: 12, 7: 12, 3: 0, 5: 8}[number] for number in ids]

  ids, similarities = rescore(LISTS, inliers, depth=3)
  # The empty row asks nothing.
  assert asked == [(0, [4, 2, 7]), (1, [3, 5])]
  np.testing.assert_array_equal(ids, [[2, 7, 4, 1], [5, 3, -1, -1], [-1] * 4])
  np.testing.assert_array_equal(similarities, [[12, 12, 3, 0], [8, 0, 0, 0], [0] * 4])
  # The given lists stay as they were.
  assert LISTS.ids[0, 0] == 4


def test_logits_keep_their_order_and_lie_in_the_unit_interval():
  logits = np.array([-800.0, -1.0, 0.0, 2.0])
  ids, similarities = rescore(LISTS, lambda _, ids: logits[: len(ids)], depth=4, scale="logit")
  assert ids[0].tolist() == [1, 7, 2, 4]
  expected = [1.0 / (1.0 + np.exp(-value)) for value in (2.0, 0.0, -1.0)]
  np.testing.assert_allclose(similarities[0], [*expected, 0.0], rtol=1e-6)


def test_a_table_of_the_images_leaves_out_the_images_themselves():
  table = np.array([[9.0, 2.0, 2.0], [2.0, 9.0, 5.0], [2.0, 5.0, 9.0]])
  ids, similarities = rank_table(table, 5, skip_self=True)
  assert ids.tolist() == [[1, 2], [2, 0], [1, 0]]
  np.testing.assert_array_equal(similarities, [[2, 2], [5, 2], [5, 2]])
  assert rank_table(table[:2], 2).ids.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ([1.0, np.nan, 0.0, 0.0], "not finite"),
    ([1.0, -1.0, 0.0, 0.0], "need the scale `logit`"),
    ([1.0], r"must give \[4\] values, not \[1\]"),
  ],
)
def test_values_that_are_no_similarities_are_refused(values, message):
  with pytest.raises(InputError, match=message):
    rescore(LISTS, lambda *_: values, depth=4)


def test_settings_out_of_range_are_refused():
  with pytest.raises(SettingError, match="depth"):
    rescore(LISTS, lambda _, ids: ids, depth=0)
  with pytest.raises(SettingError, match="scale"):
    rank_table(np.eye(3), 2, scale="cosine")  # pyright: ignore[reportArgumentType]
  with pytest.raises(InputError, match=r"must be \[N, N\], not \(2, 3\)"):
    rank_table(np.ones((2, 3)), 2, skip_self=True)


def test_a_similarity_of_another_unit_gives_the_ranking_that_chamfer_gives():
  candidates, lists, features = some_collection(3)

  def scaled(given):
    table = [
      dict(zip(*row, strict=True)) for row in zip(given.ids, given.similarities, strict=True)
    ]
    return rescore(
      given, lambda row, ids: [40.0 * table[row][number] for number in ids], depth=given.ids.size
    )

  l2g = L2G(0.5, CONFIG)
  expected = l2g(candidates, lists, features)
  result = l2g(scaled(candidates), scaled(lists), features)
  np.testing.assert_array_equal(result.rankings, expected.rankings)

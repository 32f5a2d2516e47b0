import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import graph
from tests.problems import dense, some_graph


def one(ids, similarities):
  return Ranked(np.array([ids], np.int32), np.array([similarities], np.float32))


@pytest.mark.fast
def test_images_without_a_score_keep_the_order_of_the_search():
  candidates = one([5, 4, 2, -1], [0.9, 0.8, 0.7, 0.0])
  scores = np.array([[0.0, 0.5, 0.0, 0.5, 0.2, 0.0, 0.0]])
  # Images 1 and 3 tie; 5 and 2 were found and have no score; 0 and 6 were not found.
  assert graph.rank_by_scores(candidates, scores).tolist() == [[1, 3, 4, 5, 2, 0, 6]]


def test_the_unit_is_the_largest_similarity_of_the_lists():
  lists = Ranked(np.array([[1, 2], [0, -1], [1, 0]]), np.array([[0.2, 0.1], [0.25, 0], [0.2, 0.1]]))
  assert graph.unit_scale(lists) == 0.25
  assert graph.unit_scale(Ranked(lists.ids, 0.0 * lists.similarities)) == 1.0


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_heads_of_lists_in_units(kind):
  lists = Ranked(
    np.array([[1, 2, 0], [0, -1, -1]]), np.array([[0.75, 0.5, 0.25], [0.25, 0.0, 0.0]], kind)
  )
  ids, units = graph.in_units(lists, np.array([[1, 0], [-1, 0]]), 2, 0.5)
  assert (ids.dtype, units.dtype) == (np.int32, np.float32)
  assert ids.tolist() == [[[0, -1], [1, 2]], [[-1, -1], [1, 2]]]
  assert units.tolist() == [[[0.5, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]]
  assert graph.in_units(lists, slice(None), 5, 0.5).ids.tolist() == lists.ids.tolist()


def test_lists_are_added_with_their_weights():
  _, lists = some_graph(0)
  weights = np.linspace(0.0, 2.0, len(lists.ids), dtype=np.float32)
  ids, values = map(jnp.asarray, lists)
  scores = graph.add_lists(jnp.ones(40), ids, values, jnp.asarray(weights))
  np.testing.assert_allclose(scores, 1.0 + weights @ dense(lists, 40), rtol=1e-5)


def test_similarity_0_stays_0_under_every_power():
  values = jnp.array([0.0, 0.25, 1.0])
  for exponent, expected in ((0.0, [0, 1, 1]), (0.5, [0, 0.5, 1]), (2.0, [0, 0.0625, 1])):
    np.testing.assert_allclose(graph.power(values, jnp.float32(exponent)), expected, rtol=1e-6)


def test_blocks_of_queries_are_bounded():
  assert graph.block_size(1) == 64
  assert graph.block_size(1 << 20) == 4
  assert graph.block_size(1 << 40) == 1


def test_what_does_not_fit_is_refused():
  candidates, lists = some_graph(1)
  empty = Ranked(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32))
  for given, message in (
    ((empty, lists), "no candidates"),
    ((candidates, empty), "no neighbour lists"),
    ((one([1, 2, 1], [0.3, 0.2, 0.1]), lists), "twice"),
    ((one([1, 40], [0.3, 0.2]), lists), r"outside -1 \.\. 39"),
    ((one([1, 4], [0.3, np.nan]), lists), "not finite"),
    ((candidates, Ranked(lists.ids, -lists.similarities)), "below 0"),
    ((candidates, Ranked(lists.ids, lists.similarities[:, :3])), "must be ids and similarities"),
  ):
    with pytest.raises(InputError, match=message):
      graph.check_graph(*given)
  for scores in (np.zeros(40), np.full((5, 40), np.nan)):
    with pytest.raises(InputError, match="finite numbers"):
      graph.rank_by_scores(candidates, scores)
  with pytest.raises(InputError, match=r"must be ids and similarities \[4, k\]"):
    graph.rank_by_scores(candidates, np.zeros((4, 40)))
  for scale in (0.0, np.nan, -1.0):
    with pytest.raises(InputError, match="scale must be"):
      graph.chosen_scale(scale, lists)

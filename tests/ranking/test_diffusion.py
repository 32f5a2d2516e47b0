import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import diffusion, graph
from l2g_jax.ranking.diffusion import diffuse, diffuse_by_columns, make_diffusion_columns
from tests.problems import dense, renumbered, some_graph

N = 40
# Lists are cut at 8 of 12 neighbours.
NUMBERS = {"num_neighbors": 8, "num_query_neighbors": 6}


def diffused_by_hand(
  candidates, lists, *, num_neighbors, num_query_neighbors, gamma=3.0, alpha=0.99
):
  """The dense system of diffusion, by a loop over pairs and a direct solver."""
  near = dense(Ranked(lists.ids[:, :num_neighbors], lists.similarities[:, :num_neighbors]), N)
  affinities = np.zeros((N, N))
  for i in range(N):
    for j in range(N):
      if near[i, j] > 0.0 and near[j, i] > 0.0:
        affinities[i, j] = min(near[i, j], near[j, i]) ** gamma
  degrees = affinities.sum(axis=1)
  roots = np.where(degrees > 0.0, degrees, np.inf) ** -0.5
  matrix = np.eye(N) - alpha * roots[:, None] * affinities * roots
  right = np.zeros((len(candidates.ids), N))
  for row, (ids, values) in enumerate(zip(*candidates, strict=True)):
    for image, value in zip(ids[:num_query_neighbors], values, strict=False):
      if image >= 0:
        right[row, image] = (float(value) / float(values[0])) ** gamma
  return np.linalg.solve(matrix, (1.0 - alpha) * right.T).T


@pytest.mark.fast
def test_two_images_that_are_each_others_nearest():
  # Image 2 lists 0, which does not list it.
  lists = Ranked(np.array([[1], [0], [0]], np.int32), np.array([[0.2], [0.1], [0.3]], np.float32))
  candidates = Ranked(np.array([[0, 2]], np.int32), np.array([[0.2, 0.1]], np.float32))
  result = diffuse(candidates, lists, num_query_neighbors=1, alpha=0.9, tolerance=1e-6)
  np.testing.assert_allclose(result.scores, [[1 / 1.9, 0.9 / 1.9, 0.0]], rtol=1e-5)
  assert result.converged.tolist() == [True]
  rankings = graph.rank_by_scores(candidates, result.scores)
  assert rankings.tolist() == [[0, 1, 2]]
  # An image without links keeps what the query gives it: (1 - alpha) (1/2)^3.
  scores = diffuse(candidates, lists, num_query_neighbors=2, alpha=0.9).scores
  np.testing.assert_allclose(scores[0, 2], 0.1 / 8, rtol=1e-5)


@pytest.mark.parametrize(("gamma", "alpha"), [(3.0, 0.99), (1.0, 0.9), (0.0, 0.5), (3.0, 0.0)])
def test_equals_a_direct_solution(gamma, alpha):
  candidates, lists = some_graph(0)
  numbers = {**NUMBERS, "gamma": gamma, "alpha": alpha}
  result = diffuse(candidates, lists, **numbers, tolerance=1e-6)
  expected = diffused_by_hand(candidates, lists, **numbers)
  assert np.all(result.converged)
  largest = expected.max(axis=1, keepdims=True)
  np.testing.assert_allclose(result.scores / largest, expected / largest, atol=1e-5)
  # Nothing reaches images that no path leads to.
  np.testing.assert_array_equal(result.scores[expected == 0.0], 0.0)
  assert alpha > 0.0 or np.all(result.num_iterations == 1)


def test_all_columns_give_what_the_query_gives():
  candidates, lists = some_graph(1)
  online = diffuse(candidates, lists, **NUMBERS, tolerance=1e-6).scores
  made = make_diffusion_columns(lists, length=N, num_neighbors=8, tolerance=1e-6)
  assert np.all(made.converged)
  offline = diffuse_by_columns(candidates, made.images, num_query_neighbors=6)
  largest = online.max(axis=1, keepdims=True)
  np.testing.assert_allclose(offline / largest, online / largest, atol=1e-5)
  assert np.all(online.max(axis=1) > 0.0)


def test_cut_columns_keep_the_best():
  candidates, lists = some_graph(2)
  whole = make_diffusion_columns(lists, length=N, num_neighbors=3).images
  cut = make_diffusion_columns(lists, length=5, num_neighbors=3).images
  np.testing.assert_array_equal(cut.ids, whole.ids[:, :5])
  np.testing.assert_array_equal(cut.similarities, whole.similarities[:, :5])
  assert np.all(np.diff(whole.similarities, axis=1) <= 0.0)
  # Few links leave images without a path.
  assert np.any(whole.ids == -1)
  np.testing.assert_array_equal(whole.similarities == 0.0, whole.ids == -1)
  assert np.all(np.any(whole.ids == np.arange(N)[:, None], axis=1))
  scores = diffuse_by_columns(candidates, cut, num_query_neighbors=6, gamma=1.0)
  weights = dense(Ranked(candidates.ids[:, :6], candidates.similarities[:, :6]), N)
  weights /= weights.max(axis=1, keepdims=True)
  np.testing.assert_allclose(scores, weights @ dense(cut, N), rtol=1e-5, atol=1e-7)


def test_too_few_iterations_are_told():
  candidates, lists = some_graph(3)
  result = diffuse(candidates, lists, **NUMBERS, max_iterations=2)
  assert not np.any(result.converged)
  np.testing.assert_array_equal(result.num_iterations, 2)
  made = make_diffusion_columns(lists, length=5, num_neighbors=8, max_iterations=2)
  assert not np.all(made.converged)
  rough = diffuse(candidates, lists, **NUMBERS, tolerance=0.1)
  fine = diffuse(candidates, lists, **NUMBERS)
  assert np.all(rough.converged)
  assert np.all(rough.num_iterations < fine.num_iterations)


def test_a_query_does_not_depend_on_others(monkeypatch):
  candidates, lists = some_graph(4)
  whole = diffuse(candidates, lists, **NUMBERS)
  monkeypatch.setattr(diffusion, "_COLUMNS_AT_A_TIME", 2)
  parts = diffuse(candidates, lists, **NUMBERS)
  np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-4, atol=1e-7)
  np.testing.assert_array_equal(parts.num_iterations, whole.num_iterations)


def test_a_query_without_candidates_has_no_scores():
  candidates, lists = some_graph(5)
  candidates.ids[2], candidates.similarities[2] = -1, 0.0
  result = diffuse(candidates, lists, **NUMBERS)
  np.testing.assert_array_equal(result.scores[2], 0.0)
  assert (result.converged[2], result.num_iterations[2]) == (True, 0)
  assert np.all(result.scores[[0, 1, 3, 4]].max(axis=1) > 0.0)


def test_scales_of_similarities_do_not_matter():
  candidates, lists = some_graph(6)
  expected = diffuse(candidates, lists, **NUMBERS).scores
  larger = [
    Ranked(candidates.ids, 8.0 * candidates.similarities),
    Ranked(lists.ids, 512.0 * lists.similarities),
  ]
  np.testing.assert_array_equal(diffuse(*larger, **NUMBERS).scores, expected)


def test_scores_follow_the_numbers_of_the_images():
  candidates, lists = some_graph(7)
  numbers = np.random.default_rng(7).permutation(N)
  other = diffuse(
    renumbered(candidates, numbers),
    renumbered(lists, numbers, rows=np.argsort(numbers)),
    **NUMBERS,
    tolerance=1e-6,
  ).scores
  scores = diffuse(candidates, lists, **NUMBERS, tolerance=1e-6).scores
  np.testing.assert_allclose(other[:, numbers], scores, atol=1e-5 * scores.max())


@pytest.mark.parametrize(
  ("name", "values"),
  [
    ("num_neighbors", (0, 1.5)),
    ("num_query_neighbors", (0, None)),
    ("gamma", (-1.0, np.nan)),
    ("alpha", (1.0, -0.1)),
    ("tolerance", (0.0, np.inf)),
    ("max_iterations", (0, True)),
  ],
)
def test_settings_that_make_no_sense_are_refused(name, values):
  candidates, lists = some_graph(8)
  for value in values:
    with pytest.raises(InputError, match=f"{name} must be"):
      diffuse(candidates, lists, **{name: value})


def test_what_does_not_fit_is_refused():
  candidates, lists = some_graph(8)
  for length in (0, N + 1):
    with pytest.raises(InputError, match="length must be"):
      make_diffusion_columns(lists, length=length)
  with pytest.raises(InputError, match="gamma must be"):
    diffuse_by_columns(candidates, lists, gamma=-1.0)
  with pytest.raises(InputError, match=r"outside -1 \.\. 4"):
    diffuse(lists, candidates)
  with pytest.raises(InputError, match="no neighbour lists"):
    make_diffusion_columns(Ranked(lists.ids[:, :0], lists.similarities[:, :0]), length=1)

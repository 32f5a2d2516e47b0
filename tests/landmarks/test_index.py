import dataclasses
import difflib
import multiprocessing

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkIndex, storage
from tests.landmarks.similarities import (
  CONFIG,
  LINKED,
  Counted,
  Killed,
  brute_force,
  build,
  closeness,
  points,
)

ITEMS, QUERIES = points(60), points(5, seed=1)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
  return build(tmp_path_factory.mktemp("index"), ITEMS)


@pytest.mark.fast
def test_a_search_finds_the_nearest_of_points(index):
  found = index.search(QUERIES, k=5, num_evaluations=30)
  np.testing.assert_array_equal(found.ids, brute_force(QUERIES, ITEMS, 5))
  np.testing.assert_allclose(
    found.similarities, np.take_along_axis(closeness(QUERIES, ITEMS), found.ids, axis=1), rtol=1e-6
  )


def test_an_item_finds_itself(index):
  assert index.search(ITEMS[[7, 40]], k=1, num_evaluations=30).ids.tolist() == [[7], [40]]


def test_distances_in_the_space_are_those_of_the_items(index):
  def apart(values):
    return np.linalg.norm(values[:, None] - values[None], axis=-1)

  # Dissimilarities are in shares of the range of the landmarks; what exceeds it is clipped.
  true, made = apart(ITEMS)[np.triu_indices(60, 1)], apart(index.points)[np.triu_indices(60, 1)]
  assert np.corrcoef(true, made)[0, 1] > 0.99


def test_evaluations_are_counted_exactly(tmp_path):
  similarity = Counted()
  index = build(tmp_path, ITEMS, similarity)
  built = similarity.pairs
  assert 12 * 12 + 60 * 12 + 48 * 5 < built <= 12 * 12 + 60 * 12 + 48 * 6
  assert index.evaluations == index.state.evaluations == built
  found = index.search(QUERIES, k=3, num_evaluations=30)
  assert found.evaluations.tolist() == [30] * 5
  assert similarity.pairs == index.evaluations == built + 5 * 30


def test_as_many_evaluations_as_items_find_the_true_ones(index):
  found = index.search(QUERIES, k=60, num_evaluations=10_000)
  np.testing.assert_array_equal(found.ids, brute_force(QUERIES, ITEMS, 60))
  assert found.evaluations.tolist() == [60] * 5


def test_more_than_there_are_is_padded(index):
  found = index.search(QUERIES, k=70, num_evaluations=30)
  assert np.all(found.ids[:, 30:] == -1)
  assert not np.any(found.similarities[:, 30:])
  assert np.all(np.sort(found.ids[:, :30], axis=1)[:, 0] >= 0)


def test_results_do_not_depend_on_other_queries(index):
  together = index.search(QUERIES, k=5, num_evaluations=30).ids
  alone = [index.search(QUERIES[i : i + 1], k=5, num_evaluations=30).ids[0] for i in range(5)]
  np.testing.assert_array_equal(together, alone)


def test_the_order_of_items_does_not_matter_where_all_are_landmarks(tmp_path):
  config = dataclasses.replace(CONFIG, num_landmarks=60, part_size=100)
  order = np.random.default_rng(3).permutation(60)
  first = build(tmp_path / "a", ITEMS, config=config)
  other = build(tmp_path / "b", ITEMS[order], config=config)
  found = other.search(QUERIES, k=60, num_evaluations=60).ids
  np.testing.assert_array_equal(order[found], first.search(QUERIES, k=60, num_evaluations=60).ids)


def test_items_may_be_strings(tmp_path):
  words = [f"{a}{b}erry" for a in ("straw", "blue", "rasp", "goose", "el", "cran") for b in "bcd"]

  def similarity(first, second):
    return [[difflib.SequenceMatcher(None, a, b).ratio() for b in second] for a in first]

  index = build(tmp_path, words, similarity)
  found = index.search(["strawbery"], k=1, num_evaluations=len(words))
  assert words[found.ids[0, 0]] == "strawberry"


def test_settings_are_chosen_by_held_out_items(tmp_path):
  config = dataclasses.replace(CONFIG, power=None, part_size=64)
  similarity = Counted()
  index = build(tmp_path, points(120), similarity, config)
  assert index.state.evaluations == similarity.pairs == 12 * 12 + 120 * 12 + 32 * 76
  found = index.search(QUERIES, k=5, num_evaluations=60).ids
  assert (
    np.mean(
      [
        np.isin(a, b).mean()
        for a, b in zip(found, brute_force(QUERIES, points(120), 5), strict=True)
      ]
    )
    > 0.9
  )


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_raw_profiles_may_count_beside_the_space(tmp_path, weight):
  config = dataclasses.replace(CONFIG, profile_weight=weight)
  index = build(tmp_path, points(120), config=config)
  assert (index.frame.mixing > 0.0) == (weight > 0.0)
  found = index.search(QUERIES, k=3, num_evaluations=60).ids
  np.testing.assert_array_equal(found, brute_force(QUERIES, points(120), 3))


@pytest.mark.parametrize("selection", ["farthest", "spread"])
def test_landmarks_may_be_selected_by_similarity(tmp_path, selection):
  config = dataclasses.replace(CONFIG, selection=selection)
  similarity = Counted()
  index = build(tmp_path, ITEMS, similarity, config)
  assert index.state.evaluations == similarity.pairs == 11 * 24 + 12 * 12 + 60 * 12
  landmarks = storage.read_landmarks(tmp_path)[0]
  assert len(set(landmarks.ids.tolist())) == 12


def test_added_items_are_found(tmp_path):
  similarity = Counted()
  index = build(tmp_path, ITEMS, similarity)
  before, new = similarity.pairs, points(20, seed=2)
  index.add(new)
  assert similarity.pairs == before + 20 * 12 + 20 * 6 == index.state.evaluations
  assert len(index) == 80
  everything = np.concatenate([ITEMS, new])
  again = LandmarkIndex.open(tmp_path, everything, closeness)
  for opened in (index, again):
    found = opened.search(new[:4], k=1, num_evaluations=30)
    assert found.ids[:, 0].tolist() == [60, 61, 62, 63]


def test_growth_tells_when_to_build_anew(tmp_path):
  index = build(tmp_path, ITEMS)
  assert index.growth().advice is None
  index.add(points(10, seed=2))
  assert index.growth().num_added == 10
  assert index.growth().advice is None
  index.add(9.0 + points(10, seed=2))
  growth = index.growth()
  assert growth.stress_added > growth.stress_built
  assert "build the index anew" in growth.advice


def test_many_added_items_ask_for_a_build(tmp_path):
  index = build(tmp_path, ITEMS[:14])
  index.add(ITEMS[14:30])
  assert "build the index anew" in index.growth().advice


def test_removed_items_are_not_found(tmp_path):
  index = build(tmp_path, ITEMS)
  landmark = int(storage.read_landmarks(tmp_path)[0].ids[0])
  best = brute_force(ITEMS[[landmark]], ITEMS, 2)[0]
  assert best[0] == landmark
  index.remove([landmark, landmark])
  assert len(index) == 59
  for opened in (index, LandmarkIndex.open(tmp_path, ITEMS, closeness)):
    found = opened.search(ITEMS[[landmark]], k=60, num_evaluations=60)
    assert found.ids[0, 0] == best[1]
    assert landmark not in found.ids
    assert np.sum(found.ids >= 0) == 59
  with pytest.raises(InputError, match="ids must be from 0 to 59"):
    index.remove([60])


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_an_interrupted_build_goes_on(tmp_path, calls):
  whole = build(tmp_path / "whole", ITEMS)
  similarity = Counted()

  def dies(first, second):
    if len(similarity.shapes) == calls:
      raise Killed
    return similarity(first, second)

  with pytest.raises(Killed):
    build(tmp_path / "killed", ITEMS, dies)
  with pytest.raises(InputError, match="no complete index"):
    LandmarkIndex.open(tmp_path / "killed", ITEMS, closeness)
  rest = Counted()
  index = build(tmp_path / "killed", ITEMS, rest)
  # What was there is not evaluated again, but for a few pairs that tell whether it is the same.
  assert rest.pairs < 12 * 12 + 60 * 12 + 48 * 6 - similarity.pairs + 5 * 4
  np.testing.assert_array_equal(index.points, whole.points)


def test_other_items_similarities_and_settings_are_refused(tmp_path):
  build(tmp_path, ITEMS)
  with pytest.raises(InputError, match="same similarity"):
    LandmarkIndex.open(tmp_path, ITEMS, lambda a, b: closeness(a, b) ** 2)
  with pytest.raises(InputError, match="same items"):
    LandmarkIndex.open(tmp_path, points(60, seed=9), closeness)
  with pytest.raises(InputError, match="60 items, not of 59"):
    LandmarkIndex.open(tmp_path, ITEMS[:59], closeness)
  with pytest.raises(InputError, match="another folder"):
    build(tmp_path, ITEMS, config=dataclasses.replace(LINKED, seed=1))
  with pytest.raises(InputError, match="num_evaluations must be at least 12"):
    build(tmp_path, ITEMS).search(QUERIES, num_evaluations=3)
  with pytest.raises(InputError, match="at least 2 items"):
    build(tmp_path / "one", ITEMS[:1])


def test_a_change_by_another_is_noticed(tmp_path):
  first, second = build(tmp_path, ITEMS), build(tmp_path, ITEMS)
  first.remove([3])
  with pytest.raises(InputError, match="Another process changed"):
    second.add(ITEMS[:1])


def _build(directory):
  build(directory, ITEMS)


def test_two_processes_build_one_index(tmp_path):
  context = multiprocessing.get_context("spawn")
  workers = [context.Process(target=_build, args=(tmp_path,)) for _ in range(2)]
  for worker in workers:
    worker.start()
  for worker in workers:
    worker.join()
  assert [worker.exitcode for worker in workers] == [0, 0]
  index = LandmarkIndex.open(tmp_path, ITEMS, closeness)
  assert index.state == build(tmp_path / "one", ITEMS).state

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkIndex, nearest, storage
from l2g_jax.landmarks.graph import Near, follow, join, links_of, spread
from l2g_jax.landmarks.neighbors import plan
from l2g_jax.runtime import files
from tests.landmarks.similarities import LINKED, Counted, Killed, build, closeness, points

ITEMS = points(60)
# Groups of 4 that are alike, and like no other: landmarks tell little of them.
GROUPS = np.arange(120) // 4


def grouped(first, second):
  first, second = np.asarray(first), np.asarray(second)
  same = GROUPS[first][:, None] == GROUPS[second][None]
  # What items of other groups share is chance, mostly of the items and a little of the groups.
  own = np.sin(np.add.outer(31.0 * first, 17.0 * second) ** 2)
  common = np.sin(np.add.outer(3.1 * GROUPS[first], 1.7 * GROUPS[second]) ** 2)
  return np.where(same, 1.0, 0.3 + 0.15 * own + 0.05 * common)


@pytest.mark.fast
def test_lists_hold_the_most_alike_first_without_columns_of_padding():
  near = Near.best(np.asarray([[4, 5], [6, -1]]), np.asarray([[0.1, 0.7], [0.5, -1.0]]))
  more = near.with_more(np.asarray([[7, -1], [-1, -1]]), np.asarray([[0.3, -1.0], [-1.0, -1.0]]))
  assert more.ids.tolist() == [[5, 7, 4], [6, -1, -1]]
  assert [found.tolist() for found in more.naming(4, 7)[:2]] == [[0, 0, 1], [5, 4, 6]]
  longer = join([more, Near.best(np.asarray([[1]]), np.asarray([[0.5]]))])
  assert longer.ids.tolist() == [[5, 7, 4], [6, -1, -1], [1, -1, -1]]


@pytest.mark.fast
def test_links_go_both_ways_once_and_to_wanted_items_alone():
  ids = np.asarray([[1, 2], [0, -1], [3, -1], [-1, -1]])
  shares = np.asarray([[0.9, 0.2], [0.8, -1.0], [0.5, -1.0], [-1.0, -1.0]])
  links = links_of(Near.best(ids, shares), np.asarray([True, True, True, False]))
  assert [row[row >= 0].tolist() for row in links] == [[1, 2], [0], [0], [2]]


@pytest.mark.fast
def test_a_walk_takes_early_links_of_early_items_first():
  links = np.asarray([[2, 3, 4], [5, 2, 6], [-1, -1, -1], *[[-1, -1, -1]] * 4])
  seen = np.zeros(7, bool)
  assert follow(links, np.asarray([0, 1]), seen, 9).tolist() == [2, 3, 5, 4, 6]
  seen[3] = True
  assert follow(links, np.asarray([0, 1]), seen, 2).tolist() == [2, 5]


@pytest.mark.fast
def test_items_like_poor_ones_and_like_chosen_ones_wait():
  links = np.asarray([[1, -1], [0, -1], [3, -1], [2, -1], [-1, -1]])
  ids, poor = np.asarray([0, 2, 3, 4]), np.asarray([1])
  assert spread(links, ids, poor, 2).tolist() == [2, 4]
  assert spread(links, ids, poor, 4).tolist() == [2, 4, 0, 3]


def test_cells_find_most_of_the_nearest(monkeypatch):
  values = points(400, dimensions=3)
  exact = nearest.nearest_of_all(jnp.asarray(values), 6, seed=0)
  np.testing.assert_array_equal(exact[:, 0], np.arange(400))
  monkeypatch.setattr(nearest, "_MOST_EXACT", 100)
  found = nearest.nearest_of_all(jnp.asarray(values), 6, seed=0)
  assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]) > 0.9
  monkeypatch.setattr(nearest, "_CELLS", 1)
  few = nearest.nearest_of_all(jnp.asarray(values), 60, seed=0)
  assert np.any(few == -1)
  assert all(len({*row[row >= 0].tolist()}) == np.sum(row >= 0) for row in few)


@pytest.mark.fast
@pytest.mark.parametrize(
  ("number", "rounds"), [(0, ()), (1, (1,)), (6, (3, 2, 1)), (48, (24, 12, 12))]
)
def test_rounds_spend_all(number, rounds):
  assert plan(number) == rounds


def test_links_find_groups_that_no_landmark_is_of(tmp_path):
  recalls = []
  for number in (0, 12):
    config = dataclasses.replace(LINKED, num_neighbors=number)
    index = build(tmp_path / str(number), np.arange(120), grouped, config)
    found = index.search(np.arange(0, 120, 4), k=4, num_evaluations=30).similarities
    recalls.append(np.mean(found == 1.0))
  assert recalls[1] > recalls[0] + 0.03


def test_no_pair_is_compared_twice(tmp_path):
  pairs = []

  def similarity(first, second):
    pairs.extend((int(a), int(b)) for a in first for b in second)
    return closeness(ITEMS[first], ITEMS[second])

  index = build(tmp_path, np.arange(60), similarity)
  landmarks = set(storage.read_landmarks(tmp_path)[0].ids.tolist())
  others = [pair for pair in pairs if not landmarks & {*pair}]
  assert len({tuple(sorted(pair)) for pair in others}) == len(others)
  assert 48 * 5 < len(others) <= 48 * 6
  assert index.state.evaluations == len(pairs) == 12 * 12 + 60 * 12 + len(others)


@pytest.mark.parametrize("pairs", [900, 1000, 1100])
def test_an_interrupted_comparison_goes_on(tmp_path, pairs):
  whole = build(tmp_path / "whole", ITEMS)
  similarity = Counted()

  def dies(first, second):
    if similarity.pairs >= pairs:
      raise Killed
    return similarity(first, second)

  with pytest.raises(Killed):
    build(tmp_path / "killed", ITEMS, dies)
  index = build(tmp_path / "killed", ITEMS)
  np.testing.assert_array_equal(index._space.links, whole._space.links)
  assert index.state.evaluations == whole.state.evaluations
  assert not list((tmp_path / "killed").glob("near-00[012]-*"))


def test_refined_items_are_compared_to_further_ones(tmp_path):
  similarity = Counted()
  index = build(tmp_path, ITEMS, similarity)
  before, links = similarity.pairs, index._space.links
  index.refine(4)
  assert before < similarity.pairs == index.state.evaluations <= before + 48 * 4
  known = [np.sum(some >= 0) for some in (links, index._space.links)]
  assert known[1] > known[0]
  again = LandmarkIndex.open(tmp_path, ITEMS, closeness)
  np.testing.assert_array_equal(again._space.links, index._space.links)


def test_an_interrupted_refinement_goes_on(tmp_path):
  whole = build(tmp_path / "whole", ITEMS)
  whole.refine(4)
  index, killed = build(tmp_path / "killed", ITEMS), Counted()

  def dies(first, second):
    if killed.pairs > 80:
      raise Killed
    return killed(first, second)

  with pytest.raises(Killed):
    LandmarkIndex.open(tmp_path / "killed", ITEMS, dies).refine(4)
  rest = Counted()
  index = LandmarkIndex.open(tmp_path / "killed", ITEMS, rest)
  index.refine(4)
  assert rest.pairs < 48 * 4
  assert index.state == whole.state
  np.testing.assert_array_equal(index._space.links, whole._space.links)


def test_added_items_are_linked_to_old_and_new_ones(tmp_path):
  index = build(tmp_path, ITEMS)
  new = np.float32(30.0) + points(20, seed=2)
  index.add(new)
  links = index._space.links
  for item in range(60, 80):
    assert np.any(links[item] >= 60)
  assert np.any(links[:60] >= 60)
  again = LandmarkIndex.open(tmp_path, np.concatenate([ITEMS, new]), closeness)
  np.testing.assert_array_equal(again._space.links, links)


def test_links_lead_to_no_removed_item(tmp_path):
  index = build(tmp_path, ITEMS)
  gone = np.unique(index._space.links[:5, 0])
  index.remove(gone)
  assert not np.any(np.isin(index._space.links, gone))
  index.refine(2)
  assert not np.any(np.isin(index._space.links, gone))
  found = index.search(ITEMS[gone], k=60, num_evaluations=60)
  assert not np.any(np.isin(found.ids, gone))


def test_an_older_index_is_refused(tmp_path):
  build(tmp_path, ITEMS)
  manifest = files.read_manifest(tmp_path / "index.json")
  files.write_manifest(tmp_path / "index.json", {**manifest, "version": 1})
  with pytest.raises(InputError, match="version 1, and this release reads version 2"):
    LandmarkIndex.open(tmp_path, ITEMS, closeness)

import shutil

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, generations, repair
from l2g_jax.cann.searcher import Searcher
from l2g_jax.similarity import kernels
from tests.cann import oracle

NUM_IMAGES = 32
# Everything is read and computed exactly, so that lists do not depend on how they came to be.
CONFIG = CannConfig(kernel=kernels.Chamfer(), num_lists=8, num_probes=8)
DEPTH = 100
MORE = {f"more-{name}": values for name, values in oracle.collection(1, num_images=9).items()}


@pytest.fixture(scope="module")
def images():
  return oracle.collection(0, num_images=NUM_IMAGES)


@pytest.fixture(scope="module")
def built(tmp_path_factory, images):
  """An index with lists of 6 and of all neighbours."""
  index = CannIndex.build(tmp_path_factory.mktemp("built") / "index", images.items(), CONFIG)
  for k in (6, 60):
    index.neighbor_lists(k, rescoring_depth=DEPTH, show_progress=False)
  return index.directory


@pytest.fixture
def index(tmp_path, built):
  return CannIndex.open(shutil.copytree(built, tmp_path / "index"))


@pytest.fixture
def searched(monkeypatch):
  """The images that are searched."""
  images = []
  search = Searcher.search

  def note(self, queries, k, reach):
    images.extend(
      name
      for name, image in zip(self.names, map(self.codes, range(len(self.names))), strict=True)
      if any(np.shares_memory(image.values, query.values) for query in queries)
    )
    return search(self, queries, k, reach)

  monkeypatch.setattr(Searcher, "search", note)
  return images


def make(index, k):
  return index.neighbor_lists(k, rescoring_depth=DEPTH, show_progress=False)


def described(index):
  """The names of the images that have descriptors."""
  return [name for image, name in enumerate(index.names) if len(index.codes(image))]


def check_equals_brute_force(index, result, images):
  """Compares lists with all similarities of the images that the index holds, by plain loops."""
  values = [images[name] for name in index.names]
  k = result.ids.shape[1]
  for number, query in enumerate(values):
    ids, similarities = oracle.ranking(query, values, CONFIG.kernel)
    kept = (ids != number) & (similarities > 0.0)
    expected = similarities[kept][:k]
    assert result.ids[number, : len(expected)].tolist() == ids[kept][:k].tolist()
    np.testing.assert_allclose(result.similarities[number, : len(expected)], expected, atol=1e-6)
    assert np.all(result.ids[number, len(expected) :] == -1)
    assert np.all(result.similarities[number, len(expected) :] == 0.0)


def test_a_chain_of_changes_leaves_the_lists_that_brute_force_makes(index, images, searched):
  names = iter(MORE)
  contents = dict(images)
  for removed in (["image-003"], ["image-000", "image-012"], ["image-031"]):
    index = index.remove(removed)
    name = next(names)
    contents[name] = MORE[name]
    index = index.add([(name, MORE[name])])
    check_equals_brute_force(index, make(index, 60), contents)
    assert searched == [name]
    searched.clear()
  index = index.compact()
  check_equals_brute_force(index, make(index, 60), contents)
  index = index.remove(["more-image-001"]).compact()
  # The oldest state is still the same images under other ids.
  check_equals_brute_force(index, make(index, 60), contents)
  assert not searched


def test_images_that_went_are_compared_with_none():
  ids = np.array([[1, 2], [2, 0], [0, 1]], np.int32)
  old = repair.Rows(ids, np.array([[0.9, 0.8]] * 3, np.float32), np.zeros(3, np.int32))
  change = repair.Change(rows=np.array([0, 2]), positions=np.array([0, -1, 1]))
  refuse = lambda images, others: pytest.fail("Images were compared.")
  rows, holds = repair.Repair.start(refuse, old, change, 1, []).lists([0, 1])
  assert holds.all()
  assert rows.ids.tolist() == [[1], [0]]
  np.testing.assert_array_equal(rows.similarities, np.array([[0.8], [0.9]], np.float32))


def test_short_lists_are_searched_again_where_they_lost_much(index, images, searched):
  old = np.array(make(index, 6).ids)
  gone = index.names.index("image-005")
  index = index.remove(["image-005"]).add([("new", MORE["more-image-001"])])
  contents = {**images, "new": MORE["more-image-001"]}
  check_equals_brute_force(index, make(index, 6), contents)
  holders = [n for n, row in enumerate(old) if gone in row and n != gone]
  expected = {name for n, name in enumerate(images) if n in holders}
  assert set(searched) == {"new", *expected}
  assert 0 < len(expected) < NUM_IMAGES // 2


def test_a_list_that_lost_little_lacks_only_its_last_places(index, images, searched, monkeypatch):
  monkeypatch.setattr(repair, "MOST_LOST", 0.5)
  contents = dict(images)
  fresh = CannIndex.open(index.directory)
  lost = np.zeros(NUM_IMAGES, int)
  for name in ("image-005", "image-009", "image-020"):
    position = index.names.index(name)
    before = np.array(make(index, 6).ids)
    index = index.remove([name])
    lost = np.delete(lost + np.any(before == position, axis=1), position)
    result = make(index, 6)
    values = [contents[n] for n in index.names]
    for number, query in enumerate(values):
      ids, similarities = oracle.ranking(query, values, CONFIG.kernel)
      expected = ids[(ids != number) & (similarities > 0.0)][: 6 - lost[number]]
      assert result.ids[number, : len(expected)].tolist() == expected.tolist()
      assert np.all(result.ids[number, len(expected) :] == -1)
  assert not searched
  assert lost.max() > 1
  assert fresh.names == tuple(images)


def test_a_name_that_comes_back_with_other_content_is_another_image(index, images, searched):
  index = index.remove(["image-004"]).add([("image-004", MORE["more-image-002"])])
  contents = {**images, "image-004": MORE["more-image-002"]}
  check_equals_brute_force(index, make(index, 60), contents)
  assert searched == ["image-004"]


def test_an_image_that_comes_back_as_it_was_is_put_where_it_is_then(index, images, searched):
  index = index.add([("new", MORE["more-image-002"])])
  make(index, 60)
  index = index.remove(["new"]).add([("last", MORE["more-image-003"])])
  index = index.add([("new", MORE["more-image-002"])])
  searched.clear()
  contents = {**images, "last": MORE["more-image-003"], "new": MORE["more-image-002"]}
  check_equals_brute_force(index, make(index, 60), contents)
  assert searched == ["last"]


def test_equal_images_stay_in_the_order_of_their_ids(index, images):
  twin = images["image-007"]
  index = index.add([("twin", twin)]).remove(["image-000"]).add([("triplet", twin)])
  result = make(index, 60)
  contents = {**images, "twin": twin, "triplet": twin}
  check_equals_brute_force(index, result, contents)
  assert result.ids[6, :2].tolist() == [len(index.names) - 2, len(index.names) - 1]


def test_images_without_descriptors_come_and_go(index, images):
  empty = np.zeros((0, 16))
  index = index.add([("empty", empty)]).remove(["image-012"])
  contents = {**images, "empty": empty}
  check_equals_brute_force(index, make(index, 60), contents)


def test_an_index_built_anew_in_the_same_folder_has_none_of_the_old_lists(index, images):
  (index.directory / "index.json").unlink()
  for path in index.directory.iterdir():
    if not path.name.startswith("neighbors-") and path.is_dir():
      shutil.rmtree(path)
  others = oracle.collection(5, num_images=NUM_IMAGES)
  index = CannIndex.build(index.directory, others.items(), CONFIG)
  check_equals_brute_force(index, make(index, 60), others)


def test_many_changes_make_all_lists_anew(index, images, searched):
  index = index.remove(index.names[:5])
  result = make(index, 60)
  assert searched == described(index)
  check_equals_brute_force(index, result, images)


def test_longer_lists_are_made_of_shorter_ones_that_hold_all(index, images, searched):
  index = index.remove(["image-001"])
  make(index, 30)
  shutil.rmtree(next(index.directory.glob("neighbors-*-60-*")))
  index = index.add(list(MORE.items())[:2])
  # 30 neighbours are all of 31 images: nothing is behind them.
  result = make(index, 32)
  assert set(searched) == {*list(MORE)[:2]}
  check_equals_brute_force(index, result, {**images, **MORE})


def test_shorter_lists_that_lack_some_do_not_make_longer_ones(index, images, searched):
  shutil.rmtree(next(index.directory.glob("neighbors-*-60-*")))
  check_equals_brute_force(index, make(index, 7), images)
  assert searched == described(index)


def test_new_images_enter_the_lists_of_those_that_they_find(index, images, monkeypatch):
  monkeypatch.setattr(repair, "EXACT_PAIRS", 0)
  monkeypatch.setattr(repair, "LEAST_REACH", 8)
  pairs = []
  compute = CannIndex.similarities_from

  def note(self, images, ids):
    pairs.extend((int(image), int(other)) for image in images for other in ids)
    return compute(self, images, ids)

  monkeypatch.setattr(CannIndex, "similarities_from", note)
  index = index.add(list(MORE.items())[:3])
  result = make(index, 6)
  assert len(pairs) <= 3 * 8
  whole = make(index, 60)
  for number in range(NUM_IMAGES):
    found = [other for image, other in pairs if image == number]
    expected = [n for n in whole.ids[number] if 0 <= n < NUM_IMAGES or n in found][:6]
    assert result.ids[number, : len(expected)].tolist() == expected
  for number in range(NUM_IMAGES, NUM_IMAGES + 3):
    np.testing.assert_array_equal(result.ids[number], whole.ids[number, :6])


def test_a_reach_of_all_images_equals_comparing_all(index, images, monkeypatch):
  grown = index.add(list(MORE.items())[:3])
  monkeypatch.setattr(repair, "EXACT_PAIRS", 0)
  check_equals_brute_force(grown, make(grown, 60), {**images, **MORE})


def test_one_old_generation_stays_until_the_new_lists_are_whole(index, monkeypatch):
  first = index.state
  changed = index.add([("new", MORE["more-image-001"])])
  assert states(index) == {first}
  with monkeypatch.context() as patch:
    patch.setattr(generations, "save_whole", _interrupt)
    with pytest.raises(KeyboardInterrupt):
      make(changed, 60)
  assert states(index) == {first, changed.state}
  make(changed, 60)
  assert states(index) == {changed.state}


def test_longer_lists_of_an_old_state_stay_for_a_repair(index, searched):
  changed = index.add([("new", MORE["more-image-001"])])
  make(changed, 6)
  searched.clear()
  make(changed, 60)
  assert searched == ["new"]
  assert states(index) == {changed.state}


def states(index):
  """The states of the index of which there are lists."""
  return {path.name.split("-")[1] for path in index.directory.glob("neighbors-*-*-*")}


def _interrupt(*args):
  raise KeyboardInterrupt

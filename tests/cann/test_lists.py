import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, check_current, lists
from l2g_jax.errors import InputError
from tests.cann import oracle

NUM_IMAGES = 30


@pytest.fixture
def images():
  return oracle.collection(0, num_images=NUM_IMAGES)


@pytest.fixture
def index(tmp_path, images):
  config = CannConfig(num_lists=8, num_probes=8)
  return CannIndex.build(tmp_path / "index", images.items(), config)


def make(index, k, **settings):
  return index.neighbor_lists(k, show_progress=False, **settings)


def test_lists_equal_brute_force_without_the_image_itself(index, images):
  result = make(index, 7, rescoring_depth=NUM_IMAGES)
  assert result.ids.shape == result.similarities.shape == (NUM_IMAGES, 7)
  for number, values in enumerate(images.values()):
    ids, similarities = oracle.ranking(values, list(images.values()))
    other = (ids != number) & (similarities > 0.0)
    expected = ids[other][:7]
    np.testing.assert_array_equal(result.ids[number, : len(expected)], expected)
    np.testing.assert_allclose(
      result.similarities[number, : len(expected)], similarities[other][:7], atol=1e-6
    )
    assert np.all(result.ids[number, len(expected) :] == -1)


def test_lists_longer_than_the_collection_are_padded(index):
  ids, similarities = make(index, NUM_IMAGES + 5)
  assert np.all(ids[:, NUM_IMAGES - 1 :] == -1)
  assert np.all(similarities[:, NUM_IMAGES - 1 :] == 0.0)
  assert not np.any(ids == np.arange(NUM_IMAGES)[:, None])


def test_parts_equal_one_run_and_are_used_again(index, monkeypatch):
  whole = make(index, 5)
  monkeypatch.setattr(lists, "_IMAGES_PER_PART", 8)
  grown = index.add([("more", np.eye(16))]).remove(["more"]).compact()
  made = []
  search = CannIndex.search_codes

  def count(self, queries, k, **settings):
    made.append(len(queries))
    return search(self, queries, k, **settings)

  monkeypatch.setattr(CannIndex, "search_codes", count)
  np.testing.assert_array_equal(make(grown, 5).ids, whole.ids)
  assert sum(made) == NUM_IMAGES
  np.testing.assert_array_equal(make(grown, 5).ids, whole.ids)
  assert sum(made) == NUM_IMAGES
  part = next(grown.directory.glob("neighbors-*")) / "part-000001"
  (part / "ids.npy").write_bytes(b"damaged")
  np.testing.assert_array_equal(make(grown, 5).ids, whole.ids)
  assert sum(made) == NUM_IMAGES + 8


def test_an_interrupted_run_goes_on(index, monkeypatch):
  monkeypatch.setattr(lists, "_IMAGES_PER_PART", 8)
  whole = make(index, 4)
  search = CannIndex.search_codes
  calls = []

  def stop(self, queries, k, **settings):
    calls.append(len(queries))
    if len(calls) == 20:
      raise KeyboardInterrupt
    return search(self, queries, k, **settings)

  other = index.add([("more", np.eye(16))]).remove(["more"]).compact()
  with monkeypatch.context() as patch:
    patch.setattr(CannIndex, "search_codes", stop)
    with pytest.raises(KeyboardInterrupt):
      make(other, 4)
    assert len([*other.directory.glob("neighbors-*/part-*")]) == 2
    result = make(other, 4)
  assert sum(calls) == 20 + (NUM_IMAGES - 16)
  np.testing.assert_array_equal(result.ids, whole.ids)
  np.testing.assert_array_equal(result.similarities, whole.similarities)


def test_lists_of_another_state_are_refused(index):
  result = make(index, 3)
  check_current(result, index)
  changed = index.remove(["image-001"])
  with pytest.raises(InputError, match="another state of the index"):
    check_current(result, changed)
  assert len(make(changed, 3).ids) == NUM_IMAGES - 1


def test_k_below_one_is_refused(index):
  with pytest.raises(InputError, match="k of at least 1, not 0"):
    make(index, 0)

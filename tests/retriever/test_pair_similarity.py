import numpy as np
import pytest

from l2g_jax import Retriever
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.retriever import Features
from l2g_jax.retriever.described import describe_images
from l2g_jax.retriever.pair_similarity import PairSimilarity, open_or_make_lists
from tests.retriever import photos

DEPTH, LIST_DEPTH = 4, 3


def shared_rows(query, images):
  """How many descriptors of the only kind two images share."""
  (own,) = query
  return [
    sum(bool(np.any(np.all(row == other.descriptors, axis=1))) for row in own.descriptors)
    for (other,) in images
  ]


def counted(compare=shared_rows, **settings):
  """A similarity, and the list to which it adds how many images each call compares."""
  calls = []

  def compare_and_count(query, images):
    calls.append(len(images))
    return compare(query, images)

  made = PairSimilarity("shared", settings, compare_and_count, depth=DEPTH, list_depth=LIST_DEPTH)
  return made, calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = photos.write_folder(tmp_path_factory.mktemp("photos") / "jpg")
  photos.write(folder / "twin.bmp", 7)
  return folder


def open_folder(folder, work):
  features = Features(local=photos.extractor(), whiten=False)
  return Retriever.open_or_build(folder, work, features=features, num_candidates=8)


@pytest.fixture(scope="module")
def retriever(folder, tmp_path_factory):
  return open_folder(folder, tmp_path_factory.mktemp("work"))


def query_of(folder, number):
  name = f"photo-{number:03d}"
  return ImageJob(name, folder / f"{name}.bmp", None)


def test_candidates_and_lists_have_the_values_of_the_similarity(folder, retriever):
  similarity, calls = counted(test="values")
  rankings = retriever.rank([query_of(folder, 7), query_of(folder, 3)], similarity=similarity)
  number = {name: number for number, name in enumerate(retriever.names)}
  twins = {number["photo-007"], number["twin"]}
  # An image shares all its rows with itself and its twin, and none with others.
  assert set(rankings.candidates.ids[0, :2].tolist()) == twins
  np.testing.assert_array_equal(rankings.candidates.similarities[0, :3], [12.0, 12.0, 0.0])
  np.testing.assert_array_equal(rankings.candidates.similarities[1, :2], [12.0, 0.0])
  assert rankings.by_similarity is not None
  np.testing.assert_array_equal(rankings.by_similarity[:, :8], rankings.candidates.ids)
  for row in rankings.l2g[retriever.weight].rankings[:1]:
    assert set(row[:2].tolist()) == twins
  assert calls == [LIST_DEPTH] * len(retriever.names) + [DEPTH] * 2


def test_lists_are_kept_by_settings_and_made_again_where_damaged(folder, retriever):
  query = query_of(folder, 7)
  similarity, calls = counted()
  first = retriever.rank([query], similarity=similarity)
  calls.clear()
  again = retriever.rank([query], similarity=similarity)
  assert calls == [DEPTH]
  np.testing.assert_array_equal(
    again.l2g[retriever.weight].rankings, first.l2g[retriever.weight].rankings
  )
  other, other_calls = counted(threshold=3)
  retriever.rank([query], similarity=other)
  assert len(other_calls) == len(retriever.names) + 1
  for damaged in retriever.directory.glob("by-shared-*/lists-*/ids.npy"):
    damaged.write_bytes(damaged.read_bytes()[:-4])
  calls.clear()
  retriever.rank([query], similarity=similarity)
  assert len(calls) == len(retriever.names) + 1


def test_an_interrupted_run_goes_on(folder, retriever, monkeypatch):
  monkeypatch.setattr("l2g_jax.retriever.pair_similarity._ROWS", 16)
  query, left = query_of(folder, 7), [20]

  def fails(own, images):
    left[0] -= 1
    if not left[0]:
      raise KeyboardInterrupt
    return shared_rows(own, images)

  with pytest.raises(KeyboardInterrupt):
    retriever.rank([query], similarity=counted(fails, test="interrupted")[0])
  similarity, calls = counted(test="interrupted")
  retriever.rank([query], similarity=similarity)
  # The first 16 images were done.
  assert len(calls) == len(retriever.names) - 16 + 1


def test_lists_of_an_earlier_collection_are_removed(folder, tmp_path):
  images = tmp_path / "jpg"
  images.mkdir()
  for path in sorted(folder.iterdir())[:10]:
    (images / path.name).write_bytes(path.read_bytes())
  changed = open_folder(images, tmp_path / "work")
  similarity, calls = counted()

  def make():
    described = describe_images(changed.collection, changed.images.jobs, on_error="raise")
    return open_or_make_lists(similarity, changed.collection, described)

  make()
  photos.write(images / "new.bmp", 99)
  changed.refresh()
  calls.clear()
  assert make().ids.shape == (11, LIST_DEPTH)
  assert len(calls) == 11
  assert len([*changed.directory.glob("by-shared-*/lists-*")]) == 1


def test_what_is_no_similarity_is_refused(folder, retriever):
  with pytest.raises(SettingError, match="list_depth"):
    PairSimilarity("none", {}, shared_rows, list_depth=0)
  below, _ = counted(lambda _, images: [-1.0] * len(images), test="below")
  with pytest.raises(InputError, match="value below 0"):
    retriever.rank([query_of(folder, 7)], similarity=below)

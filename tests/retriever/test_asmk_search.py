import numpy as np
import pytest

from l2g_jax import Retriever
from l2g_jax.errors import SettingError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import asmk
from l2g_jax.retriever import Features, asmk_search
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.described import describe_images
from tests.retriever import photos

OPTIONS = AsmkSearch(num_words=16)
LENGTH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = photos.write_folder(tmp_path_factory.mktemp("photos") / "jpg")
  photos.write(folder / "twin.bmp", 7)
  return folder


@pytest.fixture(scope="module")
def retriever(folder, tmp_path_factory):
  features = Features(local=photos.extractor(), whiten=True)
  work = tmp_path_factory.mktemp("work")
  return Retriever.open_or_build(folder, work, features=features, num_candidates=LENGTH)


@pytest.fixture(scope="module")
def images(retriever):
  return describe_images(retriever.collection, retriever.images.jobs, on_error="raise")


def make(retriever, images, options=OPTIONS):
  searched = asmk_search.open_or_build(options, retriever.collection, images)
  return searched, asmk_search.open_or_make_lists(searched, retriever.collection, images)


def test_lists_leave_the_image_out_and_begin_with_its_twin(retriever, images):
  searched, lists = make(retriever, images)
  count = len(retriever.names)
  assert lists.ids.shape == (count, LENGTH)
  assert not np.any(lists.ids == np.arange(count)[:, None])
  number = {name: number for number, name in enumerate(retriever.names)}
  assert lists.ids[number["twin"], 0] == number["photo-007"]
  assert np.all(np.diff(lists.similarities, axis=1) <= 0.0)
  # The scores of the index itself, of whitened descriptors.
  queries = [*asmk_search.described(retriever.collection, images, 0)]
  scores = asmk.score(searched.indexes[0], queries[3])
  np.testing.assert_allclose(lists.similarities[3], scores[lists.ids[3]], rtol=1e-6)


def test_all_is_kept_and_made_again_where_it_is_damaged(retriever, images, monkeypatch):
  _, opened = make(retriever, images)
  # Copies: the files are cut below.
  lists = Ranked(*map(np.array, opened))
  with monkeypatch.context() as context:
    context.setattr(asmk, "train_codebook", None)
    context.setattr(asmk, "build_index", None)
    context.setattr(asmk, "score", None)
    _, kept = make(retriever, images)
  np.testing.assert_array_equal(kept.ids, lists.ids)
  for path in retriever.directory.glob("asmk-*/*/*.npy"):
    path.write_bytes(path.read_bytes()[:-4])
  _, again = make(retriever, images)
  np.testing.assert_array_equal(again.ids, lists.ids)
  np.testing.assert_array_equal(again.similarities, lists.similarities)


def test_other_kernels_share_the_codebook(retriever, images, monkeypatch):
  searched, _ = make(retriever, images)
  monkeypatch.setattr(asmk, "train_codebook", None)
  other, _ = make(retriever, images, AsmkSearch(asmk.AsmkConfig(binary=False), num_words=16))
  np.testing.assert_array_equal(
    other.indexes[0].codebook.centroids, searched.indexes[0].codebook.centroids
  )
  assert other.bytes_an_image > searched.bytes_an_image


def test_queries_are_ranked_by_the_method_over_what_asmk_finds(retriever, images, folder):
  query = ImageJob("photo-007", folder / "photo-007.bmp", None)
  rankings = retriever.rank([query], similarity=OPTIONS)
  assert rankings.by_similarity is not None
  twins = {retriever.names.index("photo-007"), retriever.names.index("twin")}
  assert {*rankings.by_similarity[0, :2].tolist()} == twins
  assert {*rankings.l2g[retriever.weight].rankings[0, :2].tolist()} == twins
  np.testing.assert_array_equal(rankings.candidates.ids, rankings.by_similarity[:, :LENGTH])


def test_settings_out_of_range_are_refused():
  with pytest.raises(SettingError, match="num_words"):
    AsmkSearch(num_words=0)
  with pytest.raises(SettingError, match="seed"):
    AsmkSearch(seed=-1)

import json
import shutil

import numpy as np
import pytest

from l2g_jax import Retriever
from l2g_jax.data import load_dataset
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.retriever import Features
from l2g_jax.retriever import collection as collections
from tests.cli import toy
from tests.retriever import photos

# Features of the tests: pixels, with VLAD, whitened as SIFT would be.
FEATURES = Features(local=photos.extractor(), whiten=True)


def open_folder(folder, work, **settings):
  settings = {"features": FEATURES, "num_candidates": 5, **settings}
  return Retriever.open_or_build(folder, work, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return photos.write_folder(tmp_path_factory.mktemp("photos") / "jpg")


@pytest.fixture(scope="module")
def opened(folder, tmp_path_factory):
  return open_folder(folder, tmp_path_factory.mktemp("work"))


def test_a_search_gives_names_scores_and_ranks(opened, folder):
  found = opened.search(folder / "photo-007.bmp", k=4)
  assert len(found) == len(found.images) == 4
  assert found.num_images == photos.NUM_IMAGES
  first = found[0]
  assert (first.name, first.path, first.rank) == ("photo-007", folder / "photo-007.bmp", 1)
  assert first.copy == "the same file"
  assert first.ranks == {"global": 1, "chamfer": 1}
  assert first.similarity == pytest.approx(1.0, abs=0.02)
  assert first.score is not None
  assert [result.rank for result in found] == [1, 2, 3, 4]
  assert found.weight == opened.weight == 0.9
  for stage in ("global", "chamfer"):
    ranks = [result.ranks[stage] for result in opened.search(folder / "photo-007.bmp", k=999)]
    assert sorted(ranks) == list(range(1, photos.NUM_IMAGES + 1))


def test_a_part_of_a_photograph_is_searched(opened, folder):
  # The rows of a photograph are its descriptors.
  found = opened.search(folder / "photo-003.bmp", box=(0, 0, 7, 5), k=1)
  assert found[0].name == "photo-003"
  assert found[0].copy == "the same file"
  with pytest.raises(InputError):
    opened.search(folder / "photo-003.bmp", box=(50, 50, 60, 60))


def test_a_collection_follows_its_folder(folder, tmp_path):
  copy = tmp_path / "jpg"
  photos.write_folder(copy)
  retriever = open_folder(copy, tmp_path / "work")
  photos.write(copy / "new.bmp", 100)
  (copy / "photo-000.bmp").unlink()
  retriever.refresh()
  assert len(retriever.names) == photos.NUM_IMAGES
  assert "photo-000" not in retriever.names
  assert retriever.search(copy / "new.bmp", k=1)[0].name == "new"


def test_photographs_are_added_and_removed_for_good(folder, tmp_path):
  elsewhere = photos.write(tmp_path / "far.bmp", 200)
  retriever = open_folder(folder, tmp_path / "work")
  retriever.add([elsewhere])
  name = elsewhere.with_suffix("").as_posix()
  assert retriever.search(elsewhere, k=1)[0].name == name
  retriever.remove(["photo-001"])
  again = open_folder(folder, tmp_path / "work")
  assert set(again.names) == set(retriever.names)
  assert name in again.names
  assert "photo-001" not in again.names
  # The file is where it was, and can come back; the other goes.
  again.add([folder / "photo-001.bmp"])
  again.remove([name])
  assert sorted(again.names) == [f"photo-{number:03d}" for number in range(photos.NUM_IMAGES)]
  assert elsewhere.exists()


def test_changes_that_can_not_be_are_refused_and_change_nothing(opened, folder, tmp_path):
  names = opened.names
  (tmp_path / "text.txt").write_text("none")
  for refused in (
    lambda: opened.add([tmp_path / "gone.jpg"]),
    lambda: opened.add([tmp_path / "text.txt"]),
    lambda: opened.remove(["nobody"]),
    lambda: opened.remove("photo-001"),
    lambda: opened.remove(names),
  ):
    with pytest.raises(InputError):
      refused()
  opened.refresh()
  assert opened.names == names


@pytest.mark.parametrize(
  "settings", [{"num_candidates": 0}, {"weight": 1.5}, {"seed": -1}, {"weight": float("nan")}]
)
def test_settings_out_of_range_are_refused(folder, tmp_path, settings):
  with pytest.raises(SettingError):
    open_folder(folder, tmp_path / "work", **settings)
  assert not (tmp_path / "work").exists()


def test_a_changed_note_is_refused(folder, tmp_path):
  retriever = open_folder(folder, tmp_path / "work")
  retriever.remove(["photo-001"])
  note = retriever.directory / "photographs.json"
  content = json.loads(note.read_text())
  note.write_text(json.dumps({**content, "removed": []}))
  with pytest.raises(InputError, match="was altered"):
    retriever.refresh()


def test_a_data_set_is_ranked_by_every_stage(tmp_path):
  dataset = load_dataset(toy.write_dataset(tmp_path), "toy")
  retriever = Retriever.open_or_build(dataset, tmp_path / "work", features=FEATURES)
  truth = dataset.ground_truth
  assert retriever.names == truth.imlist
  jobs = [ImageJob(*job) for job in zip(truth.qimlist, dataset.query_paths, strict=True)]
  rankings = retriever.rank(jobs, weights=[0.9, 0.19])
  assert list(rankings.l2g) == [0.9, 0.19]
  for ranking in (
    rankings.by_global,
    rankings.by_global_reranked,
    rankings.by_candidates,
    *(result.rankings for result in rankings.l2g.values()),
  ):
    np.testing.assert_array_equal(np.sort(ranking, axis=1), np.tile(np.arange(16), (4, 1)))
  # The search for one photograph stands as the batch does.
  found = retriever.search(dataset.query_paths[2], k=16)
  names = [truth.imlist[image] for image in rankings.l2g[0.9].rankings[2]]
  assert [result.name for result in found][:4] == names[:4]
  with pytest.raises(InputError, match="none come or go"):
    retriever.remove([truth.imlist[0]])


@pytest.mark.parametrize(("num_reranked", "num_searched"), [(3, 5), (12, 12), (99, 40)])
def test_the_search_hands_out_as_many_as_are_re_ranked(opened, folder, num_reranked, num_searched):
  retriever = open_folder(
    folder, opened.directory.parent, config=L2GConfig(num_reranked=num_reranked), weight=0.5
  )
  collection = retriever.collection
  # Those beyond k need no lists.
  assert collection.lists.ids.shape == (photos.NUM_IMAGES, 5)
  jobs = [ImageJob("a query", folder / "photo-004.bmp", (0, 0, 7, 9))]
  rankings = retriever.rank(jobs)
  assert rankings.candidates.ids.shape == (1, num_searched)
  described = collections.describe_queries(collection, jobs, retriever.watch)
  config = L2GConfig(num_embedded=5, num_reranked=num_reranked)
  features = GlobalFeatures(described.global_features, collection.global_features)
  expected = L2G(0.5, config)(rankings.candidates, collection.lists, features)
  np.testing.assert_array_equal(rankings.l2g[0.5].rankings, expected.rankings)
  # The search for one photograph stands as the batch does, after the copy of the query.
  found = retriever.search(folder / "photo-004.bmp", box=(0, 0, 7, 9), k=num_searched)
  names = [retriever.names[image] for image in expected.rankings[0, :num_searched]]
  first = found[0].name
  assert [result.name for result in found] == [first, *(name for name in names if name != first)]


def test_a_look_takes_in_what_is_chosen(folder, tmp_path):
  most, seen = 5, []

  def choose(jobs, known):
    seen.append(set(known))
    new = [job.name for job in jobs if job.name not in known]
    return [job for job in jobs if job.name not in new[most:]]

  retriever = open_folder(folder, tmp_path / "work", choose=choose)
  assert retriever.names == tuple(f"photo-{number:03d}" for number in range(5))
  before = retriever.snapshot()
  retriever.refresh()
  assert len(retriever.names) == 10
  # Another retriever goes on where this one stands.
  assert len(open_folder(folder, tmp_path / "work", choose=choose).names) == 15
  assert seen == [set(), set(before.names), set(retriever.names)]
  # A snapshot stays as it was.
  assert len(before.names) == 5
  assert before.search(folder / "photo-002.bmp", k=1)[0].name == "photo-002"


def test_results_say_how_the_query_was_described(opened, folder):
  found = opened.search(folder / "photo-007.bmp", box=(0, 0, 7, 5), k=1)
  assert (found.query.size, found.query.box) == ((12, 8), (0, 0, 7, 5))
  assert len(found.query.described[0].descriptors) == 5
  assert found.candidates.ids.shape == (1, 5)


def test_local_features_are_opened_without_the_photographs(folder, tmp_path):
  photographs = shutil.copytree(folder, tmp_path / "photos")
  retriever = open_folder(photographs, tmp_path / "work")
  shutil.rmtree(photographs)
  _, collection, described = retriever.describe()
  assert described.names == collection.names
  expected = photos.describe(photos.pixels(7)).descriptors
  number = collection.names.index("photo-007")
  np.testing.assert_array_equal(described[number][0].descriptors, expected.astype(np.float16))

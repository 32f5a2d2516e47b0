import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from l2g_jax.cann import CannConfig
from l2g_jax.features.extraction import ImageJob, extract_local
from l2g_jax.retriever import collection as collections
from l2g_jax.retriever import members
from l2g_jax.runtime import digests, files
from l2g_jax.runtime.stopwatch import Stopwatch
from tests.retriever import photos

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
  """A folder and the work folder after a first search of it."""
  root = tmp_path_factory.mktemp("first")
  photos.follow(photos.write_folder(root / "jpg"), root / "work")
  return root


@pytest.fixture
def folder(first, tmp_path):
  # Inodes and times of change are others in a copy, as after a restored backup.
  shutil.copytree(first, tmp_path, dirs_exist_ok=True)
  return tmp_path / "jpg"


@pytest.fixture
def search(folder, tmp_path):
  """Follows the folder; returns the collection and how many images were described for it."""

  def run(**changes):
    described = []

    def extract(image):
      described.append(None)
      return photos.describe(image)

    collection = photos.follow(folder, tmp_path / "work", extract, **changes)
    return collection, len(described)

  return run


def made(work):
  """Which files there are, by when they were written."""
  return {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}


def names_of(collection):
  return set(collection.names)


def generations(work):
  (place,) = work.glob("collection-*")
  return sorted(path.name for path in place.iterdir() if path.is_dir())


@pytest.mark.fast
def test_a_folder_that_did_not_change_is_opened(folder, tmp_path, search):
  before = made(tmp_path / "work")
  for job in photos.jobs_of(folder):
    os.utime(job.path)
  collection, described = search()
  assert described == 0
  assert made(tmp_path / "work") == before
  photos.check(collection, folder)


@pytest.mark.parametrize("name", ["a-first", "photo-020b", "z-last"])
def test_an_image_that_came_is_added(folder, tmp_path, search, name):
  before = made(tmp_path / "work")
  photos.write(folder / f"{name}.bmp", 77)
  collection, described = search()
  assert described == 1
  assert name in names_of(collection)
  photos.check(collection, folder)
  # The index of the others is as it was.
  (place,) = (tmp_path / "work").glob("collection-*")
  kept = [path for path in before if place / "index-000001" in path.parents]
  kept = [path for path in kept if not any("neighbors" in part for part in path.parts)]
  assert kept
  assert {path: before[path] for path in kept}.items() <= made(tmp_path / "work").items()
  assert generations(tmp_path / "work") == ["global-000001", "index-000001", "vlad-000001"]
  # All is there now.
  after = made(tmp_path / "work")
  photos.check(search()[0], folder)
  assert made(tmp_path / "work") == after


def test_an_image_that_went_is_removed(folder, search):
  (folder / "photo-007.bmp").unlink()
  collection, described = search()
  assert described == 0
  photos.check(collection, folder)


@pytest.mark.fast
def test_an_image_that_changed_in_place_is_replaced(folder, search):
  photos.write(folder / "photo-007.bmp", 78)
  collection, described = search()
  assert described == 1
  photos.check(collection, folder)
  # Its old content is not found under its name any more.
  old = photos.write(folder.parent / "old.bmp", 7)
  query = collections.describe_query(collection, ImageJob("old", old), Stopwatch())
  assert collection.search(query.descriptors, 1).similarities[0, 0] < 0.9


def test_an_image_with_another_name_or_copy_is_not_described_again(folder, search):
  (folder / "photo-007.bmp").rename(folder / "renamed.bmp")
  collection, described = search()
  assert described == 0
  photos.check(collection, folder)
  shutil.copy(folder / "photo-011.bmp", folder / "copy.bmp")
  collection, described = search()
  assert described == 0
  assert {"copy", "photo-011"} < names_of(collection)


def test_two_images_that_swap_their_names_are_told_apart(folder, search):
  one, two, other = (folder / f"{name}.bmp" for name in ("photo-003", "photo-004", ".other"))
  one.rename(other)
  two.rename(one)
  other.rename(two)
  collection, described = search()
  assert described == 0
  photos.check(collection, folder)


def test_many_small_changes_end_as_the_folder(folder, tmp_path, search):
  rng = np.random.default_rng(0)
  for step in range(6):
    present = sorted(folder.glob("*.bmp"))
    photos.write(folder / f"new-{rng.integers(1000):03d}.bmp", 100 + step)
    present[rng.integers(len(present))].unlink()
    photos.write(present[rng.integers(len(present))], 200 + step)
    photos.check(search()[0], folder)
  assert len(generations(tmp_path / "work")) == 3


def test_past_a_share_of_changes_all_is_learned_anew(folder, tmp_path, search):
  for number in range(10):
    photos.write(folder / f"more-{number}.bmp", 300 + number)
  collection, _ = search()
  assert generations(tmp_path / "work") == ["global-000001", "index-000001", "vlad-000001"]
  for number in range(35):
    photos.write(folder / f"even-more-{number}.bmp", 400 + number)
  collection, described = search()
  assert described == 35
  assert generations(tmp_path / "work") == ["global-000002", "index-000002", "vlad-000002"]
  photos.check(collection, folder)
  # It is what a first search makes.
  fresh = photos.follow(folder, tmp_path / "fresh")
  assert fresh.names == collection.names
  np.testing.assert_array_equal(fresh.global_features, collection.global_features)
  np.testing.assert_array_equal(fresh.lists.ids, collection.lists.ids)


def test_past_a_smaller_share_the_index_is_compacted(folder, tmp_path, search):
  for number in range(12):
    photos.write(folder / f"photo-{number:03d}.bmp", 300 + number)
  collection, _ = search()
  photos.check(collection, folder)
  manifest = files.read_manifest(collection.kinds[0].index.directory / "index.json")
  assert len(manifest["segments"]) == 1
  assert generations(tmp_path / "work") == ["global-000001", "index-000001", "vlad-000001"]


def test_a_folder_that_was_replaced_as_a_whole(folder, search):
  for path in folder.iterdir():
    path.unlink()
  for number in range(20):
    photos.write(folder / f"photo-{number:03d}.bmp", 500 + number)
  photos.check(search()[0], folder)


def test_settings_of_searches_share_an_index(folder, tmp_path, search):
  before = made(tmp_path / "work")
  config = CannConfig(num_lists=4, num_probes=1, rescoring_depth=3)
  collection, described = search(index=config)
  assert described == 0
  assert made(tmp_path / "work") == before
  query = collections.describe_query(
    collection, ImageJob("query", folder / "photo-004.bmp"), Stopwatch()
  )
  index = collection.kinds[0].index
  descriptors = [values for (values,) in query.descriptors]
  expected = index.search_many(descriptors, 9, num_probes=1, rescoring_depth=3)
  found = collection.search(query.descriptors, 9)
  np.testing.assert_array_equal(found.ids, expected.ids)
  np.testing.assert_array_equal(found.similarities, expected.similarities)
  # Others have their own.
  search(whiten=False)
  assert len(list((tmp_path / "work").glob("collection-*"))) == 2


def test_a_damaged_index_is_built_anew(folder, tmp_path, search, capsys):
  (path,) = (tmp_path / "work").glob("collection-*/index-000001/descriptors-*/values.npy")
  path.write_bytes(path.read_bytes()[:-1])
  photos.check(search()[0], folder)
  assert "The index is built anew: " in capsys.readouterr().out
  assert generations(tmp_path / "work") == ["global-000002", "index-000002", "vlad-000002"]


def damage(path):
  content = path.read_bytes()
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_reopening_reads_sizes_alone_unless_asked_to_verify(folder, tmp_path, search, monkeypatch):
  read = []
  original = digests.checksum_file

  def checksum_file(path):
    read.append(pathlib.Path(path).suffix)
    return original(path)

  monkeypatch.setattr(digests, "checksum_file", checksum_file)
  search()
  assert ".npy" not in read
  photos.write(folder / "new.bmp", 77)
  search()
  assert ".npy" not in read
  search(verify=True)
  assert read.count(".npy") > 10


@pytest.mark.parametrize(
  "name",
  ["rows-*/database/part-*/descriptors.npy", "collection-*/index-*/descriptors-*/scales.npy"],
)
def test_what_was_altered_is_made_again_where_that_is_verified(folder, tmp_path, search, name):
  (path,) = (tmp_path / "work").glob(name)
  right = path.read_bytes()
  damage(path)
  search()
  assert path.read_bytes() != right
  collection, described = search(verify=True)
  assert described == (photos.NUM_IMAGES if "part" in name else 0)
  photos.check(collection, folder)
  # A file of a bundle that is replaced has another name.
  (path,) = (tmp_path / "work").glob(name.replace(".npy", "*.npy"))
  assert path.read_bytes() == right


@pytest.mark.parametrize("name", ["collection.json", "vlad-000001", "global-000001"])
def test_what_is_lost_is_made_again(folder, tmp_path, search, name):
  (path,) = (tmp_path / "work").glob(f"collection-*/{name}")
  path.unlink() if path.is_file() else shutil.rmtree(path)
  photos.check(search()[0], folder)


def test_what_an_earlier_version_made_with_these_settings_is_removed(folder, tmp_path, search):
  work = tmp_path / "work"
  (index,) = work.glob("collection-*/index-000001")
  for number, whiten in enumerate((True, False)):
    place = work / f"index-{number:016x}"
    shutil.copytree(index, place)
    manifest = files.read_manifest(place / "index.json")
    manifest["config"]["num_probes"] = 9
    manifest["whitening"] = manifest["whitening"] if whiten else None
    files.write_manifest(place / "index.json", manifest)
  shutil.copytree(next(work.glob("collection-*/vlad-000001")), work / "vlad-0123456789abcdef")
  (work / "index-ffffffffffffffff").mkdir()
  (work / "index-ffffffffffffffff" / "photograph.jpg").touch()
  photos.write(folder / "new.bmp", 77)
  search()
  left = {path.name for path in work.iterdir()}
  assert f"index-{0:016x}" not in left
  assert {f"index-{1:016x}", "vlad-0123456789abcdef", "index-ffffffffffffffff"} < left
  # What is no index of theirs keeps nothing of them.
  shutil.rmtree(work / f"index-{1:016x}")
  photos.write(folder / "new.bmp", 78)
  search()
  assert not (work / "vlad-0123456789abcdef").exists()
  assert (work / "index-ffffffffffffffff" / "photograph.jpg").exists()


def test_features_of_an_earlier_version_are_removed(folder, tmp_path):
  work = tmp_path / "work"
  released = ROOT / "tests" / "released" / "0.1.0" / "store-float16"
  place = work / "sift-0123456789abcdef"
  for part in ("database", "queries"):
    shutil.copytree(released, place / part)
  (place / "database" / "photograph.jpg").touch()
  photos.write(folder / "new.bmp", 77)
  photos.follow(folder, work)
  assert [path.name for path in place.rglob("*")] == ["database", "photograph.jpg"]


def test_what_an_interrupted_search_extracted_of_images_that_are_gone_is_removed(
  folder, tmp_path, search
):
  (place,) = (tmp_path / "work").glob("rows-*/database")
  before = {path.name for path in place.iterdir()}
  extra = photos.write(tmp_path / "extra.bmp", 77)
  extract_local([ImageJob("extra", extra)], photos.extractor(), tmp_path / "other")
  (part,) = (tmp_path / "other").glob("part-*")
  shutil.copytree(part, place / part.name)
  (place / "part-0123456789abcdef").mkdir()
  (place / "part-0123456789abcdef" / "photograph.jpg").touch()
  (folder / "photo-007.bmp").unlink()
  photos.check(search()[0], folder)
  assert {path.name for path in place.iterdir()} == {*before, "part-0123456789abcdef"}


def test_an_entry_that_the_index_does_not_hold_is_no_harm(folder, tmp_path, search):
  # As if killed between removing and adding.
  (place,) = (tmp_path / "work").glob("collection-*")
  known = members.read_members(place)
  keys = {name: key for name, key in known.keys.items() if name != "photo-005"}
  members.write_members(place, dataclasses.replace(known, keys=keys, state=None))
  collection, described = search()
  assert described == 0
  photos.check(collection, folder)


def test_a_data_set_is_as_if_made_at_once(folder, tmp_path):
  kept = []

  def prepare(work):
    watch = Stopwatch()
    made = collections.prepare(photos.jobs_of(folder), work, photos.options(), watch)
    kept.append({*watch.kept.values()})
    return made

  before = prepare(tmp_path / "data")
  assert before.names == tuple(job.name for job in photos.jobs_of(folder))
  photos.write(folder / "a-first.bmp", 77)
  after, fresh = prepare(tmp_path / "data"), prepare(tmp_path / "fresh")
  assert after.names == tuple(job.name for job in photos.jobs_of(folder))
  assert generations(tmp_path / "data") == ["global-000002", "index-000002", "vlad-000002"]
  np.testing.assert_array_equal(after.global_features, fresh.global_features)
  for one, other in zip(after.lists, fresh.lists, strict=True):
    np.testing.assert_array_equal(one, other)
  assert prepare(tmp_path / "data").kinds[0].index.state == after.kinds[0].index.state
  # The stopwatch tells that the last found all there.
  assert kept == [{False}, {False}, {False}, {True}]
  # The order alone makes another index.
  jobs = photos.jobs_of(folder)[::-1]
  turned = collections.prepare(jobs, tmp_path / "data", photos.options(), Stopwatch())
  assert turned.names == tuple(job.name for job in jobs)


def test_queries_of_one_name_size_and_time_get_their_own_answers(folder, tmp_path, search):
  collection, _ = search()
  for number in (3, 4):
    place = tmp_path / str(number)
    place.mkdir()
    query = photos.write(place / "query.bmp", number)
    assert photos.best(collection, query) == f"photo-{number:03d}"
    queries = collections.describe_queries(collection, [ImageJob("query.bmp", query)], Stopwatch())
    found = collection.search(queries.descriptors, 1).ids[0, 0]
    assert collection.names[found] == f"photo-{number:03d}"


def run_script(*arguments):
  """Runs a script of the tests and returns what it counted."""
  result = subprocess.run(
    [sys.executable, "-m", *map(str, arguments)],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "NUMBA_NUM_THREADS": "1"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return json.loads(result.stdout.splitlines()[-1])


def test_killed_anywhere_the_next_search_is_right(tmp_path):
  counted = run_script("tests.retriever.killing", tmp_path / "kills", 4)
  assert counted["killed"] == 4
  assert counted["points"] > 100


def test_processes_at_once_get_their_own_answers(tmp_path):
  counted = run_script("tests.retriever.processes", tmp_path / "runs", 12, 4)
  assert counted == {"runs": 12, "failed": 0, "wrong": 0}

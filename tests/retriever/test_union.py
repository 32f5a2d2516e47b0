import dataclasses

import numpy as np
import pytest

from l2g_jax.errors import SettingError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.union import unite
from l2g_jax.retriever import collection as collections
from l2g_jax.retriever.options import Features
from l2g_jax.retriever.stages import Kind
from l2g_jax.runtime.stopwatch import Stopwatch
from tests.retriever import photos


def describe_columns(image):
  """Describes a photograph turned by 90 degrees."""
  return photos.describe(np.ascontiguousarray(np.swapaxes(image, 0, 1)[:, :8]))


def columns():
  return dataclasses.replace(photos.extractor(describe_columns), name="columns")


def follow(folder, work):
  features = Features(local=(photos.extractor(), columns()), whiten=True)
  options = photos.options(features=features)
  return collections.follow(photos.jobs_of(folder), work, options, Stopwatch())


@pytest.fixture
def folder(tmp_path):
  return photos.write_folder(tmp_path / "photos")


def test_the_lists_of_two_kinds_are_united_and_kept(folder, tmp_path):
  collection = follow(folder, tmp_path / "work")
  expected = unite(
    [Ranked(*map(np.asarray, kind.lists)) for kind in collection.kinds],
    [kind.list_backgrounds(range(photos.NUM_IMAGES)) for kind in collection.kinds],
    5,
  )
  np.testing.assert_array_equal(collection.lists.ids, expected.ids)
  np.testing.assert_array_equal(collection.lists.similarities, expected.similarities)
  assert isinstance(collection.lists.ids, np.memmap)
  (path,) = (tmp_path / "work").glob("union-*/lists-*")
  time = (path / "ids.npy").stat().st_mtime_ns
  again = follow(folder, tmp_path / "work")
  assert (path / "ids.npy").stat().st_mtime_ns == time
  np.testing.assert_array_equal(again.lists.ids, expected.ids)
  (path / "ids.npy").write_bytes(b"damaged")
  np.testing.assert_array_equal(follow(folder, tmp_path / "work").lists.ids, expected.ids)


def backgrounds_looked_for(monkeypatch):
  """Counts the images whose backgrounds are computed, of each kind."""
  counts = []
  found = Kind.list_backgrounds

  def counted(kind, images):
    counts.append(len(images))
    return found(kind, images)

  monkeypatch.setattr(Kind, "list_backgrounds", counted)
  return counts


def test_backgrounds_are_kept_until_the_whitening_changes(folder, tmp_path, monkeypatch):
  counts = backgrounds_looked_for(monkeypatch)
  follow(folder, tmp_path / "work")
  assert sum(counts) == 2 * photos.NUM_IMAGES
  counts.clear()
  photos.write(folder / "photo-900.bmp", 900)
  (folder / "photo-004.bmp").unlink()
  collection = follow(folder, tmp_path / "work")
  assert sum(counts) == 2
  assert len(list((tmp_path / "work").glob("union-*/lists-*"))) == 1
  assert collection.lists.ids.shape == (photos.NUM_IMAGES, 5)
  counts.clear()
  # More than half of the photographs are new: everything is learned anew.
  for number in range(10, 35):
    photos.write(folder / f"photo-{number:03d}.bmp", 1000 + number)
  follow(folder, tmp_path / "work")
  assert sum(counts) == 2 * photos.NUM_IMAGES


def test_a_data_set_is_as_if_made_at_once(folder, tmp_path):
  # Without a whitening, only the lists of an image say that others came.
  def prepare(work):
    features = Features(local=(photos.extractor(), columns()), whiten=False)
    options = photos.options(features=features)
    return collections.prepare(photos.jobs_of(folder), work, options, Stopwatch())

  prepare(tmp_path / "work")
  for number in range(5):
    photos.write(folder / f"late-{number}.bmp", 500 + number)
  late, fresh = prepare(tmp_path / "work"), prepare(tmp_path / "fresh")
  np.testing.assert_array_equal(late.lists.ids, fresh.lists.ids)
  np.testing.assert_array_equal(late.lists.similarities, fresh.lists.similarities)


@pytest.mark.parametrize("kinds", [(), (photos.extractor(), photos.extractor())])
def test_kinds_are_one_at_least_and_differ(kinds):
  with pytest.raises(SettingError, match="one kind of local features, or several that differ"):
    Features(local=kinds)


def test_every_photograph_is_found_by_both_kinds(folder, tmp_path):
  collection = follow(folder, tmp_path / "work")
  assert collection.global_features.shape[0] == len(collection.names) == photos.NUM_IMAGES
  np.testing.assert_allclose(np.linalg.norm(collection.global_features, axis=1), 1.0, atol=1e-5)
  np.testing.assert_array_equal(collection.counts(), 12 + 8)
  for job in photos.jobs_of(folder)[::7]:
    query = collections.describe_query(collection, job, Stopwatch())
    assert [len(values) for values in query.descriptors[0]] == [12, 8]
    found = collection.search(query.descriptors, 3)
    assert collection.names[found.ids[0, 0]] == job.name
    compared = collection.compare(query.descriptors, found.ids[:, ::-1])
    assert compared.ids[0, 0] == found.ids[0, 0]
    by_global = np.argmax(query.global_features @ collection.global_features.T)
    assert collection.names[by_global] == job.name


def test_images_in_another_order_in_one_index_keep_their_names(folder, tmp_path):
  work = tmp_path / "work"
  late = photos.write(folder / "a-late.bmp", 90)
  held = tmp_path / "held.bmp"
  late.rename(held)
  # One kind knew the folder before the photograph came, the other meets it complete.
  collections.follow(
    photos.jobs_of(folder),
    work,
    photos.options(features=Features(local=photos.extractor(), whiten=True)),
    Stopwatch(),
  )
  held.rename(late)
  collection = follow(folder, work)
  first, second = collection.kinds
  assert first.index.names != second.index.names
  assert first.names == second.names == collection.names == first.index.names
  jobs = [*photos.jobs_of(folder)]
  assert collection.names[-1] == jobs[0].name == "a-late"
  for job in (jobs[0], jobs[9]):
    query = collections.describe_query(collection, job, Stopwatch())
    number = collection.names.index(job.name)
    for kind, values in zip(collection.kinds, query.descriptors[0], strict=True):
      assert kind.search([values], 1).ids[0, 0] == number
      similarities = kind.similarities(values, np.arange(len(collection.names)))
      assert np.argmax(similarities) == number
    assert collection.search(query.descriptors, 1).ids[0, 0] == number
  alone = collections.follow(
    jobs,
    tmp_path / "other",
    photos.options(features=Features(local=columns(), whiten=True)),
    Stopwatch(),
  )
  by_name = {name: number for number, name in enumerate(alone.names)}
  for number, name in enumerate(collection.names):
    ids = [collection.names[i] for i in second.lists.ids[number]]
    assert ids == [alone.names[i] for i in alone.lists.ids[by_name[name]]]
  vlad = second.vlad
  assert vlad is not None
  np.testing.assert_allclose(
    vlad[1], alone.global_features[[by_name[name] for name in collection.names]], atol=1e-6
  )


def test_queries_of_a_data_set_are_described_by_both_kinds(folder, tmp_path):
  collection = follow(folder, tmp_path / "work")
  jobs = [ImageJob("query", folder / "photo-003.bmp"), ImageJob("other", folder / "photo-005.bmp")]
  queries = collections.describe_queries(collection, jobs, Stopwatch())
  alone = collections.describe_query(collection, jobs[0], Stopwatch())
  for part, expected in zip(queries.descriptors[0], alone.descriptors[0], strict=True):
    np.testing.assert_allclose(part, expected, atol=2e-3)
  assert queries.global_features.shape == (2, collection.global_features.shape[1])

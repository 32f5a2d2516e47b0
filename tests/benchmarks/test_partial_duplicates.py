import numpy as np
import pytest

from benchmarks import hash_peers, made_duplicates
from benchmarks.duplicate_scores import Truth, score, score_distances
from benchmarks.made_duplicates import KINDS
from l2g_jax.errors import InputError
from tests.retriever.groups import pictures


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp("source")
  for number in range(6):
    pictures.texture(number).save(folder / f"photo-{number}.png")
  return folder


def make(source, output, **changes):
  settings = {"num_originals": 5, "num_sources": 4, "num_made": 12, "seed": 3, **changes}
  return made_duplicates.make(source, output, **settings)


def test_the_same_seed_makes_the_same_pictures_and_truth(source, tmp_path):
  first, second = make(source, tmp_path / "a"), make(source, tmp_path / "b")
  assert first.pairs == second.pairs
  assert first.num_pictures == len(list(first.folder.iterdir())) == 17
  for path in first.folder.iterdir():
    assert path.read_bytes() == (second.folder / path.name).read_bytes()
  assert all(len(first.pairs[kind]) >= 2 for kind in KINDS)
  assert make(source, tmp_path / "a") == first
  with pytest.raises(InputError, match="other settings"):
    make(source, tmp_path / "a", seed=4)


def test_changes_are_what_they_are_called():
  rng = np.random.default_rng(0)
  picture = pictures.texture(1)
  crop, _ = made_duplicates.crop([picture], rng)
  share = crop.width * crop.height / (picture.width * picture.height)
  assert 0.09 < share < 0.51
  mirrored, _ = made_duplicates.mirror([picture], rng)
  np.testing.assert_array_equal(np.asarray(mirrored), np.asarray(picture)[:, ::-1])
  turned, _ = made_duplicates.turn([picture], rng)
  assert sorted(np.asarray(turned).ravel()) == sorted(np.asarray(picture).ravel())
  assert made_duplicates.jpeg([picture], rng)[1] == {"quality": 20}


TRUTH = Truth(
  {frozenset("ab"): "crop", frozenset("ac"): "turn"},
  {"b": frozenset("a"), "c": frozenset("a")},
)


def test_pairs_of_one_source_count_neither_way():
  found = {frozenset("ab"), frozenset("bc"), frozenset("ad")}
  row = score(TRUTH, found)
  assert (row["crop"], row["turn"], row["all"]) == (100.0, 0.0, 50.0)
  assert (row["precision"], row["wrong"]) == (50.0, 1)


def test_peers_stand_at_their_best_threshold():
  distances = np.full((4, 4), 9.0, np.float32)
  for first, second, value in ((0, 1, 1), (1, 2, 2), (0, 2, 5), (2, 3, 3)):
    distances[first, second] = distances[second, first] = value
  row = score_distances(TRUTH, "abcd", distances, precision=0.99)
  assert (row["threshold"], row["all"], row["precision"]) == (1.0, 50.0, 100.0)
  row = score_distances(TRUTH, "abcd", distances, precision=0.6)
  assert (row["threshold"], row["all"], row["wrong"]) == (5.0, 100.0, 1)


def test_distances_are_the_bits_that_differ():
  bits = np.array([[[0, 1, 1, 0]], [[0, 1, 0, 1]]], bool)
  np.testing.assert_array_equal(hash_peers._distances(bits), [[0, 2], [2, 0]])

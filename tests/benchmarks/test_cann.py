import itertools

import numpy as np
import pytest

from benchmarks import cann, search_peers
from experiments.fire_like import BEST_MATCHES, QUANTILES, FireLike


def test_best_matches_are_those_of_fire():
  collection = FireLike(80, num_landmarks=40, images_per_landmark=2)
  images = [collection[number][1] for number in range(80)]
  cosines = {"same landmark": [], "other landmark": []}
  for first, second in itertools.permutations(range(80), 2):
    same = first // 2 == second // 2
    if same or (first + second) % 17 == 0:
      best = (images[first] @ images[second].T).max(axis=1)
      cosines["same landmark" if same else "other landmark"].append(best)
  for kind, expected in BEST_MATCHES.items():
    quantiles = np.quantile(np.concatenate(cosines[kind]), QUANTILES)
    np.testing.assert_allclose(quantiles, expected, atol=0.08)
    assert np.mean(np.abs(quantiles - expected)) < 0.045


def test_images_are_the_same_whenever_they_are_made():
  collection = FireLike(50, num_landmarks=2, images_per_landmark=3, count=30)
  name, values = collection[7]
  assert name == "0000007"
  np.testing.assert_array_equal(values, FireLike(50, 2, 3, count=30)[7][1])
  np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0, atol=1e-5)
  assert not np.array_equal(values, collection[8][1])
  assert list(collection.relevant(1)) == [3, 4, 5]
  with pytest.raises(IndexError):
    collection[50]
  with pytest.raises(ValueError, match="more images of landmarks"):
    FireLike(5, 2, 3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
  collection = FireLike(120, num_landmarks=3, images_per_landmark=20, count=30)
  folder = tmp_path_factory.mktemp("index")
  peers = ["numpy", "muvera"]
  return cann.compare(collection, folder, num_queries=3, recall=0.9, peers=peers)


def test_methods_are_compared_at_one_recall(tables):
  best, own = tables.values()
  assert [row["method"].split(",")[0] for row in best] == [
    "l2g_jax CannIndex",
    "l2g_jax",
    "brute force",
    "MUVERA encodings",
  ]
  assert [row["ratio"] for row in best] == [best[0]["ms a query"] / r["ms a query"] for r in best]
  assert best[0]["recall"] >= 0.9
  assert best[1]["recall"] == 1.0
  # The stored descriptors are rounded; NumPy's are not.
  assert best[2]["recall"] >= 0.98
  assert best[0]["bytes an image"] < 40 * 30
  assert len(own) == 9
  assert sum("(default)" in row["setting"] for row in own) == 1


@pytest.mark.fast
def test_the_fastest_of_those_that_reach_the_recall():
  rows = [
    {"recall": 0.5, "ms a query": 1.0},
    {"recall": 0.95, "ms a query": 3.0},
    {"recall": 0.99, "ms a query": 2.0},
  ]
  assert cann.best_row(rows, 0.9) == rows[2]
  assert cann.best_row(rows, 0.995) == rows[2]
  assert cann.best_row(rows, 0.2) == rows[0]


def test_peers_that_are_not_installed_are_named(monkeypatch, capsys):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  assert search_peers.available(["numpy", "asmk", "muvera"]) == ["numpy", "muvera"]
  assert "asmk is not installed" in capsys.readouterr().out

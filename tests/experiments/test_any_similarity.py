import types

import numpy as np
import pytest

from experiments import any_similarity
from experiments.fire_like import FireLike
from experiments.similarities import measure, metrics, peers, trees
from experiments.similarities.sources import NUM_DIGITS, Source, chamfer, images_of, module, series
from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkConfig

NUMBER, QUERIES = 300, 4
POINTS = np.random.default_rng(0).normal(size=(NUMBER + QUERIES, 3)).astype(np.float32)
CONFIG = LandmarkConfig(16, 8, num_dimensions=3, power=1.0, profile_weight=0.0, weighting="equal")


def compare(first, second):
  return -np.linalg.norm(POINTS[first][:, None] - POINTS[second][None], axis=-1)


SOURCE = Source("points", NUMBER, QUERIES, compare, relevant=[np.arange(3)] * QUERIES)


def test_every_method_is_measured_at_the_same_evaluations(tmp_path):
  found = measure.measure(SOURCE, tmp_path, tmp_path / "index", CONFIG, [40, 100], 0)
  recalls = {(row["method"], row["evaluations"]): row["recall 10"] for row in found["rows"]}
  for method in ("landmark index", "profiles", "landmark MDS", "FastMap", "vantage-point tree"):
    assert recalls[method, 40] > recalls["chance", 40] + 0.3, method
    assert recalls[method, 100] >= recalls[method, 40]
  assert recalls["landmark index", 40] > 0.9
  assert recalls["brute force", NUMBER] == 1.0
  assert found["asymmetry"] < 1e-6
  # Of a normal distribution in 3 dimensions, about 2.2.
  assert 1.0 < found["intrinsic dimension"] < 5.0


def test_peers_may_have_as_many_landmarks_more_as_items_are_compared_to(tmp_path):
  found = measure.measure(SOURCE, tmp_path, tmp_path / "index", CONFIG, [20, 60], 0)
  settings = {(row["settings"], row["evaluations"], row["an item"]) for row in found["sweeps"]}
  assert ("euclidean, 16 landmarks", 20, 16) in settings
  assert ("euclidean, 24 landmarks", 60, 24) in settings
  assert ("euclidean, 24 landmarks", 20, 24) not in settings


def test_recall_counts_ties_and_average_precision_the_labels():
  truth = np.tile(np.linspace(1.0, 0.0, 101).astype(np.float32), (1, 1))
  truth[0, 9:12] = truth[0, 9]
  source = Source("line", 101, 1, compare, relevant=[np.asarray([0, 5])])
  figures = measure._figures(source, truth, [np.asarray([11, 0, 4, 50])])
  assert figures["recall 10"] == pytest.approx(0.3)
  # Item 0 is first, and item 5 was not scored.
  assert figures["mAP"] == pytest.approx(50.0)


def test_a_tree_evaluates_each_item_once_and_the_nearest_first():
  tree, count = trees.vantage_tree(SOURCE, 0.0, seed=0)
  assert NUMBER < count < NUMBER * np.log2(NUMBER)
  values = compare(np.asarray([NUMBER]), np.arange(NUMBER))[0]
  assert sorted(trees.search_tree(tree, values, 0.0, NUMBER)) == list(range(NUMBER))
  first = trees.search_tree(tree, values, 0.0, 100)
  assert len(first) == 100
  assert np.argmax(values) in first


def test_a_graph_is_walked_towards_the_nearest():
  values = compare(np.asarray([NUMBER]), np.arange(NUMBER))[0]
  near = np.argsort(-compare(np.arange(NUMBER), np.arange(NUMBER)), axis=1)[:, :6]
  graph = trees.both_ways(near)
  assert all(item in graph[other] for item in range(5) for other in graph[item])
  walked = trees.search_graph(graph, values, 120, seed=0)
  assert len(set(walked.tolist())) == 120
  assert np.argmax(values) in walked


def test_chamfer_of_images_is_that_of_their_descriptors(tmp_path):
  source = chamfer(40, 1, count=6, seed=0, folder=tmp_path)
  made = FireLike(40, 1, 20, 6, 0, 3)
  cosines = made.query(0) @ made[7][1].T
  expected = np.mean(np.maximum(cosines.max(axis=1), 0.0) ** 7)
  np.testing.assert_allclose(
    source.compare(np.asarray([40]), np.asarray([3, 7]))[0, 1], expected, 1e-5
  )


def test_chamfer_of_a_data_set_compares_its_images_and_queries():
  rng = np.random.default_rng(5)

  def described(count):
    values = rng.normal(size=(count, 128)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return [types.SimpleNamespace(descriptors=values)]

  query = types.SimpleNamespace(easy=[1], hard=[0])
  material = types.SimpleNamespace(
    num_images=3,
    num_queries=1,
    images=[described(5), described(2), described(0)],
    described_queries=[described(4)],
    dataset=types.SimpleNamespace(name="made", ground_truth=types.SimpleNamespace(queries=[query])),
  )
  source = images_of(material, 9, weights=None, count=4)
  assert (source.num_items, source.num_queries) == (3, 1)
  assert source.relevant[0].tolist() == [1, 0]
  own = material.described_queries[0][0].descriptors
  expected = [
    np.mean(np.maximum((own @ material.images[i][0].descriptors[:4].T).max(axis=1), 0.0) ** 7)
    for i in (0, 1)
  ]
  np.testing.assert_allclose(
    source.compare(np.asarray([3]), np.arange(3))[0], [*expected, 0.0], rtol=1e-5
  )


def _warping(first, second):
  """Dynamic time warping by recursion."""
  if not first or not second:
    return 0.0 if len(first) == len(second) else np.inf
  steps = ((first[:-1], second), (first, second[:-1]), (first[:-1], second[:-1]))
  return (first[-1] - second[-1]) ** 2 + min(_warping(*step) for step in steps)


def test_metrics_are_those_of_their_definitions():
  first, second = [0.0, 1.0, 3.0], [0.0, 0.0, 1.0, 2.5]
  series_of = [np.asarray(some, np.float32)[:, None] for some in (first, second)]
  assert metrics.warping(*series_of) == pytest.approx(_warping(first, second) ** 0.5)
  rows = [np.asarray([*map(ord, text), 0, 0], np.float32) for text in ("kitten", "sitting"[:6])]
  assert metrics.levenshtein(*rows) == pytest.approx(2 / 6)
  made = FireLike(4, 1, 2, 6, 0, 3)
  one, other = made[0][1], made[1][1]
  expected = 1.0 - np.mean(np.maximum((one @ other.T).max(axis=1), 0.0) ** 7)
  flat = metrics.of_rows(metrics.chamfer, 128)
  assert flat(one.ravel(), other.ravel()) == pytest.approx(expected, rel=1e-5)


def test_a_counted_metric_counts_in_its_row():
  rows = np.asarray([[97, 98, 0], [97, 0, 0]], np.float32)
  metric = metrics.counted(metrics.levenshtein)
  assert [metric(rows[0], rows[1]) for _ in range(3)] == [0.5] * 3
  assert rows[:, -1].tolist() == [3, 0]


def test_digits_are_alike_by_warping():
  source = series(5, seed=0)
  assert source.num_items + source.num_queries == NUM_DIGITS
  found = source.compare(np.asarray([source.num_items, 3]), np.arange(200))
  assert found.shape == (2, 200)
  assert found[1, 3] == 0.0
  assert np.all(found <= 0.0)
  near = np.argsort(-found[0])[:5]
  assert np.isin(near, source.relevant[0]).mean() > 0.5


def test_nystrom_is_exact_for_inner_products():
  items = np.abs(POINTS[:NUMBER]) / 10.0
  given = peers.Profiles(items[:20] @ items[:20].T, items @ items[:20].T, items[:5] @ items[:20].T)
  scores = {text: scores for _, text, scores in peers.nystrom(given)}
  np.testing.assert_allclose(scores["m=3, p=1"], items[:5] @ items.T, atol=1e-4)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--sizes=5"], "--sizes"),
    (["--budgets=2"], "--budgets"),
    (["--sizes=x"], "lists of numbers"),
    (["--sizes=1000", "--budgets=0.01"], "none of them exceeds 32 landmarks"),
  ],
)
def test_flags_out_of_range_are_refused(flags, message, tmp_path):
  values, _ = any_similarity.COMMAND.parse([*flags, f"--work_dir={tmp_path}"])
  with pytest.raises(InputError, match=message):
    any_similarity.main(values)


def test_a_missing_package_is_named():
  with pytest.raises(InputError, match="pip install no-such-package"):
    module("no_such_module", "no-such-package")

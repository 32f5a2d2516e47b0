import dataclasses
from typing import Any

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, scoring
from l2g_jax.cann.config import Reach
from l2g_jax.errors import InputError
from l2g_jax.similarity import kernels
from l2g_jax.similarity.codec import encode
from tests.cann import oracle

ALL = 10**6


def build(path, images, **settings):
  return CannIndex.build(path / "index", images.items(), CannConfig(**settings))


def check_equals_brute_force(index, query, images, kernel=kernels.Power(), burst_power=0.0):
  result = index.search(query, len(images), num_probes=ALL, rescoring_depth=ALL)
  ids, similarities = oracle.ranking(query, list(images.values()), kernel, burst_power)
  found = similarities > 0.0
  np.testing.assert_allclose(result.similarities, similarities, atol=1e-6)
  np.testing.assert_array_equal(result.ids[found], ids[found])
  assert np.all(result.ids[~found] == -1)


@pytest.mark.parametrize(
  "kernel", [kernels.Chamfer(), kernels.Power(alpha=2.5, tau=0.1), kernels.Cann()], ids=str
)
@pytest.mark.fast
def test_all_probes_and_full_rescoring_equal_brute_force(tmp_path, kernel):
  images = oracle.collection(0)
  index = build(tmp_path, images, kernel=kernel, num_lists=12)
  for query in oracle.collection(1, num_images=4).values():
    check_equals_brute_force(index, query, images, kernel)


@pytest.mark.parametrize("burst_power", [1.0, 3.5])
def test_descriptors_of_a_burst_count_about_once(tmp_path, burst_power):
  images = oracle.collection(0)
  index = build(tmp_path, images, num_lists=12, burst_power=burst_power)
  for query in oracle.collection(1, num_images=3).values():
    bursts = np.concatenate([query, np.repeat(query[:2], 9, axis=0)])
    check_equals_brute_force(index, bursts, images, burst_power=burst_power)
    scanned = index.search(bursts, 40, num_probes=ALL, rescoring_depth=0)
    exact = index.similarities(bursts, scanned.ids[scanned.ids >= 0])
    np.testing.assert_allclose(scanned.similarities[: len(exact)], exact, atol=0.06)


def test_lists_weigh_the_bursts_of_each_image(tmp_path):
  images = oracle.collection(2, num_images=12)
  images = {name: np.concatenate([rows, *[rows[:1]] * 9]) for name, rows in images.items()}
  index = build(tmp_path, images, num_lists=3, num_probes=ALL, burst_power=3.0)
  lists = index.neighbor_lists(11, show_progress=False)
  for row, rows in enumerate(images.values()):
    ids, similarities = oracle.ranking(rows, list(images.values()), burst_power=3.0)
    wanted = (ids != row) & (similarities > 0.0)
    np.testing.assert_array_equal(lists.ids[row][: wanted.sum()], ids[wanted])
    np.testing.assert_allclose(
      lists.similarities[row][: wanted.sum()], similarities[wanted], atol=1e-6
    )


@pytest.mark.parametrize("unreached", ["zero", "bound"])
@pytest.mark.parametrize("dimension", [5, 16, 70, 200])
def test_the_scan_alone_is_near_where_it_reads_everything(tmp_path, unreached, dimension):
  images = oracle.collection(2, dimension=dimension)
  kernel = kernels.Chamfer()
  index = build(tmp_path, images, kernel=kernel, num_lists=9, unreached=unreached)
  query = oracle.collection(3, num_images=1, dimension=dimension)["image-000"]
  scanned = index.search(query, 40, num_probes=ALL, rescoring_depth=0)
  scores = np.zeros(40)
  scores[scanned.ids[scanned.ids >= 0]] = scanned.similarities[scanned.ids >= 0]
  exact = [oracle.similarity(query, values, kernel) for values in images.values()]
  np.testing.assert_allclose(scores, exact, atol=0.06)
  assert np.sum(scores > 0.0) > 30


@pytest.mark.fast
def test_few_probes_find_what_is_near(tmp_path):
  images = oracle.collection(4, num_images=60)
  index = build(tmp_path, images, num_lists=20, num_probes=3, rescoring_depth=10)
  for number in (0, 7, 31):
    result = index.search(images[f"image-{number:03d}"], 5)
    assert result.ids[0] == number
    assert result.similarities[0] == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.diff(result.similarities) <= 0.0)


@pytest.mark.parametrize(("unreached", "found"), [("zero", False), ("bound", True)])
def test_an_unreached_image_counts_zero_or_the_bound(tmp_path, unreached, found):
  images = {"near": np.eye(4)[:1], "far": np.array([[-1.0, 0.2, 0.0, 0.0]])}
  index = build(tmp_path, images, num_lists=2, num_probes=1, unreached=unreached)
  result = index.search(np.array([[1.0, 0.1, 0.0, 0.0]]), 2, rescoring_depth=0)
  assert (result.ids[1] == 1) == found


def test_an_image_of_a_thousand_near_equal_descriptors_counts_once(tmp_path):
  rng = np.random.default_rng(5)
  motif = rng.standard_normal(16)
  crowd = motif + 0.01 * rng.standard_normal((1000, 16))
  images = {"crowd": crowd, **oracle.collection(6)}
  images["single"] = np.stack([motif, rng.standard_normal(16)])
  index = build(tmp_path, images, num_lists=16)
  query = np.concatenate([motif[None], rng.standard_normal((5, 16))])
  check_equals_brute_force(index, query, images)
  found = index.search(query, len(images), num_probes=2, rescoring_depth=0).ids
  assert {0, len(images) - 1} <= set(found.tolist())
  assert len(set(found[found >= 0].tolist())) == np.sum(found >= 0)


def test_images_without_residuals_are_told_apart(tmp_path):
  images = {str(axis): np.repeat(np.eye(8)[[axis]], 50, axis=0) for axis in range(8)}
  index = build(tmp_path, images, num_lists=8)
  for axis in range(8):
    result = index.search(np.eye(8)[[axis]], 3, rescoring_depth=0)
    assert result.ids.tolist() == [axis, -1, -1]
    assert result.similarities[0] == pytest.approx(1.0, abs=1e-3)


def test_ties_go_to_the_smaller_id(tmp_path):
  values = oracle.collection(7, num_images=1)["image-000"]
  images = dict.fromkeys(("c", "a", "b"), values)
  index = build(tmp_path, images)
  assert index.names == ("c", "a", "b")
  for depth in (0, 1, 3):
    assert index.search(values, 3, rescoring_depth=depth).ids.tolist() == [0, 1, 2]


def test_k_beyond_the_collection_pads(tmp_path):
  index = build(tmp_path, {"only": np.eye(4)})
  result = index.search(np.eye(4)[:2], 5)
  assert result.ids.tolist() == [0, -1, -1, -1, -1]
  assert result.similarities.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0])


def test_a_query_without_descriptors_finds_nothing(tmp_path):
  index = build(tmp_path, oracle.collection(8))
  for query in (np.zeros((0, 16)), np.zeros((3, 16))):
    result = index.search(query, 4)
    assert result.ids.tolist() == [-1] * 4
    assert result.similarities.tolist() == [0.0] * 4


def test_a_collection_without_descriptors_is_searched(tmp_path):
  index = build(tmp_path, {"a": np.zeros((0, 4)), "b": np.zeros((2, 4))})
  assert index.search(np.eye(4), 2).ids.tolist() == [-1, -1]
  assert index.neighbor_lists(2, show_progress=False).ids.tolist() == [[-1, -1]] * 2


def test_descriptors_of_norm_zero_are_left_out(tmp_path):
  values = oracle.collection(9, num_images=1)["image-000"]
  index = build(tmp_path, {"a": np.concatenate([np.zeros((2, 16)), values])})
  assert len(index.codes(0)) == len(values)
  padded = np.concatenate([values, np.zeros((7, 16))])
  assert index.search(padded, 1).similarities[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
  "kernel", [kernels.Power(alpha=1.0, tau=0.85), kernels.Chamfer(), kernels.Cann()], ids=str
)
def test_an_image_has_its_exact_similarity_or_beyond_the_depth_the_scans(tmp_path, kernel):
  images = oracle.collection(18)
  index = build(tmp_path, images, kernel=kernel, num_lists=9)
  for query in oracle.collection(19, num_images=6).values():
    scanned = index.search(query, 40, rescoring_depth=0)
    order = scanned.ids[scanned.ids >= 0].tolist()
    estimates = dict(zip(order, scanned.similarities.tolist(), strict=False))
    order += sorted(set(range(40)) - set(order))
    for depth in (0, 1, 9, 21, 39):
      exact = index.similarities(query, order[:depth]).tolist()
      values = estimates | dict(zip(order[:depth], exact, strict=True))
      for k in (4, 22, 60):
        best = sorted((-value, image) for image, value in values.items() if value > 0.0)[:k]
        padding = [(0.0, -1)] * (k - len(best))
        result = index.search(query, k, rescoring_depth=depth)
        pairs = zip(-result.similarities, result.ids, strict=True)
        assert [(float(s), int(i)) for s, i in pairs] == best + padding


@pytest.mark.parametrize(("count", "step", "first"), [(600, 4, 2), (200, 3, 1), (20, 1, 0)])
def test_no_fewer_than_some_descriptors_are_scanned_and_screen(count, step, first):
  assert scoring.screening_rows(count) == slice(0, None, step)
  assert scoring.scanning_rows(count) == slice(first, None, step)


def test_screened_images_are_ordered_by_a_share_of_the_descriptors_and_the_scan():
  rng = np.random.default_rng(21)
  partial, scanned = rng.uniform(0.1, 1.0, (2, 50)).astype(np.float32)
  best = scoring.best_scanned(scanned.astype(float), 40)
  screened = scoring.screen(best, 30, lambda ids: partial[ids])
  both = (partial + scanned)[best.ids[:30]]
  np.testing.assert_array_equal(screened.ids[:30], best.ids[:30][np.argsort(-both)])
  np.testing.assert_array_equal(screened.ids[30:], best.ids[30:])
  np.testing.assert_array_equal(screened.values[:30], partial[screened.ids[:30]])
  np.testing.assert_array_equal(screened.values[30:], best.values[30:])


def test_a_search_scores_the_best_of_those_that_it_screens(tmp_path, monkeypatch):
  monkeypatch.setattr(scoring, "_LEAST_DESCRIPTORS", 3)
  images = oracle.collection(22, num_images=60)
  index = build(tmp_path, images, num_lists=4, num_probes=4)
  searcher = index._searcher
  name = max(images, key=lambda name: len(images[name]))
  query = encode(images[name], where="query")
  found = searcher.search([query], 60, Reach(4, 5, 20, whole=False))
  everything = np.arange(60)
  exact = searcher.similarities([query], everything)[0]
  partial = searcher.similarities([query], everything, screening=True)[0]
  assert not np.array_equal(partial, exact)
  count = np.sum(found.ids[0] >= 0)
  ids, values = found.ids[0, :count], found.similarities[0, :count]
  assert np.sum(np.isclose(values, exact[ids])) >= 5
  assert np.sum(np.isclose(values, exact[ids]) | np.isclose(values, partial[ids])) >= 20
  assert index.names[ids[0]] == name


def test_a_search_that_screens_scans_a_share_of_the_descriptors(tmp_path, monkeypatch):
  monkeypatch.setattr(scoring, "_LEAST_DESCRIPTORS", 3)
  images = oracle.collection(23, num_images=60)
  searcher = build(tmp_path, images, num_lists=4, num_probes=4)._searcher
  query = encode(max(images.values(), key=len), where="query")
  rows = scoring.scanning_rows(len(query))
  share, whole = query[rows], searcher.scan(query, 60, Reach(4, 5, 0, whole=True))
  scanned = searcher.scan(query, 60, Reach(4, 5, 20, whole=False))
  expected = searcher.scan(share, 60, Reach(4, 5, 0, whole=True))
  np.testing.assert_array_equal(scanned.ids, expected.ids)
  np.testing.assert_array_equal(scanned.values, expected.values)
  assert not np.array_equal(scanned.values, whole.values)


def test_an_exact_zero_takes_no_place_of_an_image_behind_it(tmp_path):
  # Cosines near the threshold of the kernel, in codes too short for the scan to tell them apart.
  rng = np.random.default_rng(0)
  query, *noise = rng.standard_normal((61, 64))
  query /= np.linalg.norm(query)
  noise -= np.outer(noise @ query, query)
  noise /= np.linalg.norm(noise, axis=1, keepdims=True)
  cosines = np.linspace(0.75, 0.9, 60)[:, None]
  values = cosines * query + np.sqrt(1.0 - cosines**2) * noise
  images = {f"{number:02d}": row[None] for number, row in enumerate(values)}
  kernel = kernels.Power(alpha=1.0, tau=0.8)
  index = build(tmp_path, images, kernel=kernel, num_lists=1, code_bytes=4)
  query = query[None]
  scanned = index.search(query, 60, rescoring_depth=0)
  reached = scanned.ids[scanned.ids >= 0]
  zeros = np.cumsum(index.similarities(query, reached) == 0.0)
  assert zeros[len(reached) // 2] > 0
  for depth in range(1, len(reached) + 1):
    left = len(reached) - zeros[depth - 1]
    for k in (3, int(left), 60):
      found = index.search(query, k, rescoring_depth=depth)
      assert np.sum(found.ids >= 0) == min(k, left)


@pytest.mark.fast
def test_many_queries_equal_single_ones(tmp_path):
  images = oracle.collection(10)
  index = build(tmp_path, images, num_lists=12, num_probes=4, rescoring_depth=5)
  queries = [*oracle.collection(11, num_images=14).values()]
  together = index.search_many(queries, 9)
  for row, query in enumerate(queries):
    single = index.search(query, 9)
    np.testing.assert_array_equal(together.ids[row], single.ids)
    np.testing.assert_array_equal(together.similarities[row], single.similarities)


def test_only_the_first_query_descriptors_count(tmp_path):
  images = oracle.collection(12)
  limited = build(tmp_path, images, max_query_descriptors=3)
  free = CannIndex.build(tmp_path / "free", images.items())
  query = images["image-003"]
  np.testing.assert_array_equal(limited.search(query, 9).ids, free.search(query[:3], 9).ids)


def test_the_number_of_threads_changes_nothing(tmp_path, monkeypatch):
  images = oracle.collection(13, num_images=70)
  query = oracle.collection(14, num_images=1)["image-000"]
  results = []
  for threads in (1, 2, 3):
    monkeypatch.setattr("l2g_jax.runtime.threads.available_cores", lambda threads=threads: threads)
    index = CannIndex.build(tmp_path / str(threads), images.items(), CannConfig(num_lists=20))
    results.append((index.state, index.search(query, 30, num_probes=5, rescoring_depth=8)))
  for state, result in results[1:]:
    assert state == results[0][0]
    np.testing.assert_array_equal(result.ids, results[0][1].ids)
    np.testing.assert_array_equal(result.similarities, results[0][1].similarities)


@pytest.mark.parametrize(
  ("query", "k", "message"),
  [
    (np.zeros((2, 5)), 3, r"query 0 must be \[count, 16\], not \(2, 5\)"),
    (np.zeros(16), 3, "query 0 must be"),
    (np.full((2, 16), np.nan), 3, "query 0 hold a value that is not finite"),
    (np.full((2, 16), np.inf), 3, "query 0 hold a value that is not finite"),
    (np.ones((2, 16)), 0, "k of at least 1, not 0"),
    (np.ones((2, 16)), -3, "k of at least 1, not -3"),
    (np.ones((2, 16)), 2.0, "k as a whole number, not 2.0"),
    (np.ones((2, 16)), True, "k as a whole number, not True"),
    (np.ones((2, 16)), 2**31, "k of at most 2147483647"),
    (np.full((2, 16), 1j), 3, "query 0 must be real numbers, not complex128"),
    (np.full((2, 16), "a"), 3, "query 0 must be real numbers"),
  ],
)
def test_a_query_that_does_not_fit_is_refused(tmp_path, query, k, message):
  index = build(tmp_path, oracle.collection(15, num_images=3))
  with pytest.raises(InputError, match=message):
    index.search(query, k)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"num_probes": 0}, "num_probes of at least 1, not 0"),
    ({"num_probes": -2}, "num_probes of at least 1, not -2"),
    ({"num_probes": 1.5}, "num_probes as a whole number, not 1.5"),
    ({"rescoring_depth": -1}, "rescoring_depth of at least 0, not -1"),
    ({"rescoring_depth": np.nan}, "rescoring_depth as a whole number, not nan"),
  ],
)
def test_a_search_that_does_not_fit_is_refused(tmp_path, settings, message):
  index = build(tmp_path, oracle.collection(15, num_images=3))
  with pytest.raises(InputError, match=f"A search needs {message}"):
    index.search(np.ones((2, 16)), 3, **settings)


def test_whole_numbers_of_numpy_are_taken(tmp_path):
  index = build(tmp_path, oracle.collection(15, num_images=3), num_probes=np.int64(4))
  query = np.eye(16)
  settings: dict[str, Any] = {
    "k": np.int16(2),
    "num_probes": np.int32(2),
    "rescoring_depth": np.uint8(1),
  }
  found = index.search(query, **settings)
  plain = index.search(query, 2, num_probes=2, rescoring_depth=1)
  np.testing.assert_array_equal(found.ids, plain.ids)


@pytest.mark.parametrize(
  "settings",
  [
    {"num_probes": 0},
    {"num_lists": 0},
    {"num_lists": 2.5},
    {"rescoring_depth": -1},
    {"unreached": "x"},
    {"code_bytes": 6},
    {"code_bytes": None},
    {"max_query_descriptors": 0},
    {"seed": -1},
    {"seed": 0.5},
    {"kernel": "chamfer"},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(InputError, match="must be "):
    dataclasses.replace(CannConfig(), **settings)


def test_settings_follow_the_size_of_the_collection():
  config = CannConfig()
  assert [config.probes(size) for size in (1, 5000, 10**6)] == [32, 32, 350]
  assert [config.depth(size) for size in (1, 5000, 10**6)] == [500, 500, 1750]
  assert [config.screened(size) for size in (1, 5000, 10**6)] == [0, 0, 7000]
  assert config.reach(5000) == (32, 500, 0, True)
  assert config.reach(10**6) == (500, 1750, 7000, False)
  assert config.reach(10**6, rescoring_depth=9) == (350, 9, 0, True)
  assert config.reach(10**6, num_probes=9) == (9, 1750, 7000, False)
  assert config.list_reach(1000, 64) == (32, 64, 0, True)
  assert config.list_reach(5000, 64) == (32, 64, 141, True)
  assert config.list_reach(10**6, 64) == (32, 128, 3000, False)
  assert config.list_reach(10**6, 0) == (32, 0, 0, True)
  config = CannConfig(num_probes=3, rescoring_depth=0)
  assert config.reach(10**6) == (3, 0, 0, True)
  assert config.list_reach(10, 64) == (3, 64, 0, True)


def test_similarities_of_some_images_are_exact(tmp_path):
  images = oracle.collection(16)
  index = build(tmp_path, images)
  query = oracle.collection(17, num_images=1)["image-000"]
  ids = np.array([30, 2, 12, 2])
  values = list(images.values())
  expected = [oracle.similarity(query, values[i]) for i in ids]
  np.testing.assert_allclose(index.similarities(query, ids), expected, atol=1e-6)
  assert index.similarities(query[:0], ids).tolist() == [0.0] * 4
  assert index.similarities(query, ids[:0]).shape == (0,)
  assert index.similarities(query, ids.tolist()).tolist() == index.similarities(query, ids).tolist()
  assert index.similarities(query, []).shape == (0,)


@pytest.mark.parametrize("ids", [[-1], [40], [1.0], [True], [[1, 2]], ["a"], 3])
def test_ids_that_are_not_of_the_index_are_refused(tmp_path, ids):
  index = build(tmp_path, oracle.collection(16))
  with pytest.raises(InputError, match="Ids must be from 0 to 39"):
    index.similarities(np.eye(16), ids)


def test_similarities_from_images_are_those_of_their_descriptors(tmp_path, monkeypatch):
  images = oracle.collection(16)
  index = build(tmp_path, images, max_query_descriptors=5)
  queries, ids = [39, 0, 12, 0], [3, 39, 12, 3]
  expected = [index.similarities(images[f"image-{image:03d}"], ids) for image in queries]
  for cosines in (1, 50, 10**6):
    monkeypatch.setattr(scoring, "BLOCK_COSINES", cosines)
    np.testing.assert_array_equal(index.similarities_from(queries, ids), expected)
  assert index.similarities_from([], ids).shape == (0, 4)
  assert index.similarities_from(queries, []).shape == (4, 0)


@pytest.mark.parametrize("image", [-1, 40, 1.5])
def test_an_image_that_is_not_there_has_no_similarities(tmp_path, image):
  index = build(tmp_path, oracle.collection(16))
  with pytest.raises(InputError, match="An image needs an id"):
    index.similarities_from([image], [0])


def test_settings_survive_json():
  config = CannConfig(kernel=kernels.Cann(), num_lists=7, unreached="bound", seed=3)
  assert CannConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"other": 1}, "no settings of an index"),
    ({"kernel": 7}, "no settings of an index"),
    ({"kernel": "other"}, "is not one of"),
    ({"num_probes": "many"}, "num_probes must be an integer, at least 1, not 'many'"),
  ],
)
def test_settings_of_a_file_that_do_not_fit_are_refused(change, message):
  with pytest.raises(InputError, match=message):
    CannConfig.from_json({**CannConfig().to_json(), **change})


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"num_lists": 10**400}, "num_lists must be at least 1"),
    ({"rescoring_depth": 1 << 31}, "rescoring_depth must be at least 0"),
    ({"seed": 1 << 32}, "seed must be from 0 to 4294967295"),
    ({"code_bytes": 6}, "code_bytes must be a multiple of 4"),
    ({"unreached": ["zero"]}, "unreached must be zero or bound"),
    ({"kernel": "chamfer"}, "kernel must be one of"),
  ],
)
def test_settings_beyond_their_range_are_refused(change, message):
  with pytest.raises(InputError, match=message):
    CannConfig(**change)


def test_names_that_are_no_utf8_come_back(tmp_path):
  names = ["caf\u00e9", "odd-\udcff", "\ud800", "line\nbreak"]
  images = [(name, np.eye(4, 8, seed, np.float32)) for seed, name in enumerate(names)]
  assert CannIndex.build(tmp_path / "index", iter(images)).names == tuple(names)
  index = CannIndex.open(tmp_path / "index")
  assert index.names == tuple(names)
  np.testing.assert_array_equal(index.counts(), [4] * 4)
  assert index.remove(["odd-\udcff"]).names == (names[0], *names[2:])

import dataclasses

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk import AsmkConfig, Codebook, build_index, rank, score, search
from l2g_jax.ranking.asmk import descriptors as batching
from tests.ranking.asmk import oracle


def problem(seed, *, dimension=40, num_words=6, num_images=12):
  """Ragged images around the words; some are empty, some repeat descriptors."""
  rng = np.random.default_rng(seed)
  centroids = rng.standard_normal((num_words, dimension)).astype(np.float32)

  def describe(count):
    near = centroids[rng.integers(0, num_words, count)]
    return (near + 0.7 * rng.standard_normal((count, dimension))).astype(np.float32)

  images = [describe(rng.integers(1, 5)) for _ in range(num_images)]
  images[3] = images[3][:0]
  images[5] = np.repeat(images[5], 3, axis=0)
  images[7] = centroids[:1].copy()
  # Parts of images, so that matches are good.
  queries = [np.concatenate([images[row][:4], describe(3)]) for row in (0, 5, 9)]
  queries += [images[8], images[0][:0]]
  return centroids, images, queries


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
  ("dimension", "num_words"), [(40, 6), (128, 30), (40, 1)], ids=["d40", "d128", "one_word"]
)
def test_scores_equal_a_loop(binary, dimension, num_words):
  centroids, images, queries = problem(1, dimension=dimension, num_words=num_words)
  settings = [(1, 3.0, 0.0, False), (5, 3.0, 0.0, True), (5, 1.5, 0.25, False), (9, 0.0, 0.1, True)]
  for count, alpha, threshold, use_idf in settings:
    config = AsmkConfig(
      binary=binary,
      multiple_assignment=count,
      alpha=alpha,
      threshold=threshold,
      use_idf=use_idf,
    )
    index = build_index(Codebook(centroids), images, config)
    scores = np.stack([score(index, query) for query in queries])
    expected = oracle.score(queries, images, centroids, **dataclasses.asdict(config))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    # With one word, all images have it, and its idf is 0.
    assert np.any(expected > 0.02) or (num_words == 1 and use_idf)
    np.testing.assert_array_equal(rank(index, queries), np.argsort(-scores, axis=1, kind="stable"))


@pytest.mark.fast
def test_a_score_by_hand():
  # Two words far apart; bits of residuals are the signs of small numbers.
  centroids = np.zeros((3, 32), np.float32)
  centroids[1, 0], centroids[2, 1] = 100.0, 100.0
  plus, minus = np.full(32, 1.0, np.float32), np.full(32, -1.0, np.float32)
  mixed = np.where(np.arange(32) < 4, minus, plus)
  images = [
    np.stack([centroids[0] + plus, centroids[1] + plus]),
    (centroids[0] + mixed)[None],
    (centroids[1] + minus)[None],
    np.stack([centroids[1] + plus, centroids[2] + plus]),
  ]
  query = np.stack([centroids[0] + plus, centroids[1] + plus])
  config = AsmkConfig(multiple_assignment=1)
  index = build_index(Codebook(centroids), images, config)
  expected = [2 / 2, 0.75**3 / 2**0.5, 0.0, 1 / 2]
  np.testing.assert_allclose(score(index, query), expected, rtol=1e-12)
  index = build_index(Codebook(centroids), images, dataclasses.replace(config, use_idf=True))
  first, second, third = np.log([4 / 2, 4 / 3, 4]) ** 2
  total = first + second
  expected = [1.0, first * 0.75**3 / (total * first) ** 0.5, 0.0]
  expected.append(second / (total * (second + third)) ** 0.5)
  np.testing.assert_allclose(score(index, query), expected, rtol=1e-12)


def test_an_image_scores_one_by_itself_and_the_most():
  centroids, images, _ = problem(2)
  for binary in (True, False):
    config = AsmkConfig(binary=binary, multiple_assignment=1)
    index = build_index(Codebook(centroids), images, config)
    own = np.stack([score(index, image) for image in images])
    np.testing.assert_allclose(np.diag(own)[[0, 1, 2, 4, 5]], 1.0, atol=1e-5)
    assert np.all(own <= 1.0 + 1e-6)


def test_equal_images_are_ranked_by_id():
  centroids, images, queries = problem(3)
  index = build_index(Codebook(centroids), [*images, *images])
  rankings = rank(index, queries)
  assert rankings.dtype == np.int32
  places = np.argsort(rankings, axis=1)
  assert np.all(places[:, :12] < places[:, 12:])
  # Without descriptors all images score 0.
  np.testing.assert_array_equal(rankings[-1], np.arange(24))


def test_the_order_of_images_does_not_matter():
  centroids, images, queries = problem(4)
  order = np.random.default_rng(4).permutation(len(images))
  index = build_index(Codebook(centroids), images)
  turned = build_index(Codebook(centroids), (images[row] for row in order))
  for query in queries:
    np.testing.assert_array_equal(score(index, query)[order], score(turned, query))


def test_batches_change_nothing(monkeypatch):
  centroids, images, queries = problem(5)
  for use_idf in (False, True):
    config = AsmkConfig(use_idf=use_idf)
    index = build_index(Codebook(centroids), images, config)
    rankings = rank(index, queries)
    with monkeypatch.context() as patch:
      patch.setattr(batching, "_BATCH", 10)
      again = build_index(Codebook(centroids), images, config)
      np.testing.assert_array_equal(rank(again, queries), rankings)
    for name in ("offsets", "images", "vectors", "norms", "weights"):
      np.testing.assert_array_equal(getattr(again, name), getattr(index, name), strict=True)


def test_a_search_finds_the_head_of_a_ranking():
  centroids, images, queries = problem(6)
  # Every score comes four times.
  index = build_index(Codebook(centroids), 4 * images)
  ids, scores = search(index, queries, 60)
  rankings = rank(index, queries)
  for row, query in enumerate(queries):
    expected = score(index, query)[rankings[row]]
    count = np.count_nonzero(expected)
    np.testing.assert_array_equal(ids[row, :count], rankings[row, :count])
    np.testing.assert_allclose(scores[row, :count], expected[:count], rtol=1e-6)
    assert np.all(ids[row, count:] == -1)
    assert np.all(scores[row, count:] == 0.0)
  np.testing.assert_array_equal(search(index, queries, 2).ids, ids[:, :2])


def test_what_does_not_fit_is_refused():
  centroids, images, queries = problem(7)
  index = build_index(Codebook(centroids), images)
  bad = images[0].copy()
  bad[0, 0] = np.inf
  for call, message in (
    (lambda: build_index(index.codebook, []), "at least one image"),
    (lambda: build_index(index.codebook, [images[0], bad]), "image 1 hold a value that is not"),
    (lambda: build_index(index.codebook, [images[0][:, :9]]), r"image 0 must be \[count, 40\]"),
    (lambda: score(index, bad), "not finite"),
    (lambda: score(index, images[0][0]), r"must be \[count, 40\]"),
    (lambda: rank(index, []), "at least one query"),
    (lambda: rank(index, [images[0], bad]), "query 1 hold"),
    (lambda: search(index, queries, 0), "k must be"),
  ):
    with pytest.raises(InputError, match=message):
      call()

import json
import math

import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.errors import InputError
from l2g_jax.evaluation import PROTOCOLS, evaluate
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.ames import ENSEMBLES, VARIANTS, ensemble, ignored_last, rerank_by_ames
from tests.golden.files import load_golden
from tests.variants import VariantTestCase, jit_variants


class EnsembleVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.parameters((0.55, 0.3), (0.0, 1.0), (1.0, 2.0))
  def test_equals_the_formula(self, weight, temperature):
    similarities = np.array([[0.9, 0.8, -0.1], [0.5, 0.5, 0.5]], np.float32)
    logits = np.array([[-3.0, 2.0, 0.0], [100.0, -1000.0, 1.5]], np.float32)
    score = self.variant(ensemble)
    scores = score(similarities, logits, weight=weight, temperature=temperature)
    for place, logit in np.ndenumerate(logits):
      certainty = 1.0 / (1.0 + math.exp(min(-temperature * float(logit), 700.0)))
      expected = weight * float(similarities[place]) + (1.0 - weight) * certainty
      np.testing.assert_allclose(scores[place], expected, atol=1e-6)


def published():
  """Lists of the reference, its logits by image, and its ground truth."""
  golden = load_golden("ames")
  queries = [
    {label: np.array(query[label], int) for label in ("easy", "hard", "junk")}
    for query in json.loads(str(golden["rr.gnd_json"]))
  ]
  return golden, Ranked(golden["rr.ids"].astype(np.int32), golden["rr.similarities"]), queries


@pytest.mark.fast
@pytest.mark.parametrize("protocol", ["medium", "hard"])
@pytest.mark.parametrize(("count", "weight", "temperature"), [(100, 0.55, 0.3), (20, 0.85, 0.8)])
def test_equals_the_public_implementation(protocol, count, weight, temperature):
  golden, ranked, queries = published()
  ignored = [
    np.concatenate([query[label] for label in PROTOCOLS[protocol][1]]) for query in queries
  ]
  ranked = ignored_last(ranked, ignored)
  heads = ranked.ids[:, :count]
  logits = np.take_along_axis(golden["rr.raw"], heads, axis=1)
  rankings = rerank_by_ames(ranked, logits, weight=weight, temperature=temperature)
  np.testing.assert_array_equal(rankings[:, count:], ranked.ids[:, count:])
  key = f"rr.{protocol}.k{count}.l{weight}.t{temperature}"
  scores = weight * ranked.similarities[:, :count].astype(np.float64) + (1 - weight) / (
    1 + np.exp(-temperature * logits.astype(np.float64))
  )
  for row, expected in enumerate(golden[f"{key}.ranks"]):
    by_image = dict(zip(heads[row], scores[row], strict=True))
    ours = [by_image[image] for image in rankings[row, :count]]
    theirs = [by_image[image] for image in expected]
    assert len(set(expected)) == count
    # Places may differ only where the double precision scores are a tie.
    np.testing.assert_allclose(ours, theirs, atol=3e-7)
  names = tuple(map(str, range(300)))
  judgements = tuple(QueryJudgement(bbx=None, **query) for query in queries)
  truth = GroundTruth(imlist=names, qimlist=names[:12], queries=judgements)
  for name, report in evaluate(rankings, truth).items():
    letter = name[0].upper()
    precisions = [report.mean_precision[k] for k in (1, 5, 10)]
    # The reference has percent of three decimals.
    np.testing.assert_allclose(100 * report.map, golden[f"{key}.{letter}_map"], atol=6e-4)
    np.testing.assert_allclose(100 * np.array(precisions), golden[f"{key}.{letter}_mp"], atol=6e-4)


def test_published_ensembles():
  assert {name: (each.weight, each.temperature) for name, each in ENSEMBLES.items()} == {
    "dinov2_fp": (0.55, 0.30),
    "dinov2_dist": (0.35, 0.10),
    "cvnet_fp": (0.85, 0.80),
    "cvnet_dist": (0.65, 0.20),
  }
  assert ENSEMBLES.keys() == VARIANTS.keys()


def test_ignored_images_keep_their_order_at_the_end():
  ranked = Ranked(np.array([[5, 2, 7, 0, -1], [3, 1, 4, 0, 2]]), np.arange(10.0).reshape(2, 5))
  moved = ignored_last(ranked, [np.array([0, 5, 9]), np.array([])])
  np.testing.assert_array_equal(moved.ids, [[2, 7, 5, 0, -1], [3, 1, 4, 0, 2]])
  np.testing.assert_array_equal(moved.similarities, [[1, 2, 0, 3, 4], [5, 6, 7, 8, 9]])


def test_a_head_is_ordered_by_hand():
  ranked = Ranked(np.array([[4, 9, 2, 7]]), np.array([[0.9, 0.5, 0.4, 0.3]], np.float32))
  # sigmoid(ln 3) = 0.75, so the scores are 0.45 + 0, 0.25 + 0.375 and 0.2 + 0.5.
  logits = np.array([[-200.0, math.log(3.0), 200.0]])
  ids = rerank_by_ames(ranked, logits, weight=0.5, temperature=1.0)
  np.testing.assert_array_equal(ids, [[2, 9, 4, 7]])


def test_ties_keep_their_places_and_padding_stays_last():
  similarities = np.array([[-0.5, -0.5, -0.5, 0.0, 0.0]], np.float32)
  ranked = Ranked(np.array([[8, 3, 5, -1, -1]]), similarities)
  logits = np.array([[0.0, 0.0, 1.0, np.nan, 99.0]])
  ids = rerank_by_ames(ranked, logits, weight=0.5, temperature=1.0)
  np.testing.assert_array_equal(ids, [[5, 8, 3, -1, -1]])


@given(st.integers(0, 10_000), st.sampled_from([1, 9]))
def test_a_weight_of_one_keeps_the_order(seed, count):
  rng = np.random.default_rng(seed)
  ids = np.stack([rng.permutation(9) for _ in range(3)])
  ranked = Ranked(ids, -np.sort(-rng.standard_normal((3, 9)).astype(np.float32), axis=1))
  logits = rng.standard_normal((3, count))
  np.testing.assert_array_equal(rerank_by_ames(ranked, logits, weight=1.0, temperature=1.0), ids)
  scores = rerank_by_ames(ranked, logits, weight=0.0, temperature=0.5)
  expected = np.take_along_axis(ids, np.argsort(-logits, axis=1), axis=1)
  np.testing.assert_array_equal(scores[:, :count], expected)
  np.testing.assert_array_equal(scores[:, count:], ids[:, count:])


LIST = Ranked(np.array([[1, 0, 2]]), np.array([[0.3, 0.2, 0.1]]))


@pytest.mark.parametrize(
  ("ranked", "logits", "settings", "message"),
  [
    (LIST, np.zeros((1, 4)), {}, r"Logits must be \[1, M\], M from 1 to 3, not \[1, 4\]"),
    (LIST, np.zeros((1, 0)), {}, r"not \[1, 0\]"),
    (LIST, np.zeros((2, 3)), {}, r"not \[2, 3\]"),
    (LIST, np.zeros(3), {}, r"not \[3\]"),
    (LIST, np.array([[1.0, np.nan]]), {}, "Logits hold a value that is not finite"),
    (LIST, np.zeros((1, 3)), {"weight": 1.5}, "weight must be between 0 and 1, not 1.5"),
    (LIST, np.zeros((1, 3)), {"temperature": 0.0}, "temperature must be above 0"),
    (Ranked(LIST.ids, LIST.ids[0]), np.zeros((1, 3)), {}, r"\[Q, k\], not \[1, 3\] and \[3\]"),
    (Ranked(*(array[:, :0] for array in LIST)), np.zeros((1, 1)), {}, r"\[1, 0\] and \[1, 0\]"),
    (Ranked(LIST.similarities, LIST.similarities), np.zeros((1, 3)), {}, "integers, not float64"),
    (Ranked(LIST.ids, LIST.similarities * np.inf), np.zeros((1, 3)), {}, "similarity that is not"),
  ],
)
def test_input_that_does_not_fit_is_refused(ranked, logits, settings, message):
  with pytest.raises(InputError, match=message):
    rerank_by_ames(ranked, logits, **{"weight": 0.5, "temperature": 1.0, **settings})


@pytest.mark.parametrize(
  ("ignored", "message"),
  [
    ([], "Ignored ids must be of 1 queries, not of 0"),
    ([np.array([0.5])], "ignored ids of query 0 must be integers, not float64"),
  ],
)
def test_ignored_ids_that_do_not_fit_are_refused(ignored, message):
  with pytest.raises(InputError, match=message):
    ignored_last(LIST, ignored)

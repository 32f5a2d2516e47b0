import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax import evaluation
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement, load_ground_truth
from l2g_jax.errors import InputError

pytestmark = pytest.mark.fast

GOLDEN = pathlib.Path(__file__).parent / "golden"
LETTERS = {"easy": "E", "medium": "M", "hard": "H"}


def judged(num_images, *queries):
  judgements = [
    QueryJudgement(None, *(np.array(ids, np.int64) for ids in labels)) for labels in queries
  ]
  return GroundTruth(
    tuple(f"i{i}" for i in range(num_images)),
    tuple(f"q{i}" for i in range(len(queries))),
    tuple(judgements),
  )


def test_equals_the_public_evaluation():
  golden = np.load(GOLDEN / "protocol.npz")
  ground_truth = load_ground_truth(GOLDEN / "gnd_protocol.json")
  report = evaluation.evaluate(golden["rankings"], ground_truth)
  for name, letter in LETTERS.items():
    np.testing.assert_allclose(
      report[name].average_precisions, golden[f"{letter}.aps"], atol=1e-12, rtol=0
    )
    precisions = np.stack([report[name].precisions[k] for k in (1, 5, 10)], axis=1)
    np.testing.assert_allclose(precisions, golden[f"{letter}.prs"], atol=1e-12, rtol=0)


def test_equals_the_public_evaluation_on_all_queries(tmp_path):
  reference = np.load(GOLDEN / "evaluation.npz")
  counts = reference["counts"]
  ends = np.cumsum(counts.sum(axis=1))[:-1]
  rankings, judgements = [], []
  for count, ids, places in zip(
    counts, *(np.split(reference[name], ends) for name in ("labelled", "places")), strict=True
  ):
    easy, hard, junk = (part.tolist() for part in np.split(ids, np.cumsum(count)[:-1]))
    judgements.append({"bbx": [0, 0, 1, 1], "easy": easy, "hard": hard, "junk": junk})
    # Which images without a label fill the other places says nothing.
    ranking = np.empty(800, int)
    ranking[places] = ids
    ranking[np.setdiff1d(np.arange(800), places)] = np.setdiff1d(np.arange(800), ids)
    rankings.append(ranking)
  names = {"imlist": [f"i{i}" for i in range(800)], "qimlist": [f"q{i}" for i in range(70)]}
  (tmp_path / "gnd.json").write_text(json.dumps({**names, "gnd": judgements}))
  report = evaluation.evaluate(np.array(rankings), load_ground_truth(tmp_path / "gnd.json"))
  for name, letter in LETTERS.items():
    assert abs(report[name].map - reference[f"{letter}.map"]) < 1e-12
    means = [report[name].mean_precision[k] for k in (1, 5, 10)]
    np.testing.assert_allclose(means, reference[f"{letter}.mpk"], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "letter"), LETTERS.items())
def test_first_hundred_as_ames_and_by_rectangles(name, letter):
  golden = np.load(GOLDEN / "protocol.npz")
  ground_truth = load_ground_truth(GOLDEN / "gnd_protocol.json")
  positive, ignored = evaluation.PROTOCOLS[name]
  for row, query in enumerate(ground_truth.queries):
    positives = np.concatenate([getattr(query, label) for label in positive])
    junk = np.concatenate([getattr(query, label) for label in ignored])
    if not len(positives):
      continue
    places = evaluation.positive_places(golden["rankings"][row, :100], positives, junk)
    divisor = min(len(positives), 100)
    rules: dict[evaluation.Rule, str] = {"trapezoid": "ames100", "rectangle": "rect100"}
    for rule, key in rules.items():
      ap = evaluation.average_precision(places, divisor, rule=rule)
      assert abs(ap - golden[f"{letter}.{key}.aps"][row]) < 1e-12


@pytest.mark.parametrize(
  ("places", "count", "expected"),
  [([0], 1, 1.0), ([1], 1, 0.25), ([0, 1, 2], 3, 1.0), ([0, 2, 5], 4, 61 / 120), ([], 2, 0.0)],
)
def test_average_precision_by_hand(places, count, expected):
  np.testing.assert_allclose(
    evaluation.average_precision(np.array(places, np.int64), count), expected, atol=1e-12
  )


def test_precision_stops_at_the_last_positive():
  assert evaluation.precision_at(np.array([0, 2]), 10) == pytest.approx(2 / 3)
  assert evaluation.precision_at(np.array([0, 2]), 2) == pytest.approx(1 / 2)
  assert evaluation.precision_at(np.array([], np.int64), 5) == 0.0


def test_query_without_positives_is_left_out():
  ground_truth = judged(3, ([0], [], []), ([], [], [1]))
  report = evaluation.evaluate(np.array([[0, 1, 2], [0, 1, 2]]), ground_truth)
  assert report["medium"].map == 1.0
  assert np.isnan(report["medium"].average_precisions[1])
  assert np.isnan(report["hard"].map)


def test_truncated_rankings_count_what_is_missing_as_never_found():
  ground_truth = judged(4, ([0, 3], [], []))
  report = evaluation.evaluate(np.array([[0, 1]]), ground_truth, truncated=True)
  assert report["easy"].map == pytest.approx(0.5)
  report = evaluation.evaluate(np.array([[1, 2]]), ground_truth, truncated=True)
  assert report["easy"].map == 0.0


@pytest.mark.parametrize(
  ("rankings", "message"),
  [
    ([[0, 1, 1]], "twice"),
    ([[0, 1, 3]], "outside"),
    ([[0, 1]], "all 3 images"),
    ([[0.0, 1.0, 2.0]], "integer"),
    ([[0, 1, 2], [0, 1, 2]], "must be"),
  ],
)
def test_bad_rankings_are_refused(rankings, message):
  with pytest.raises(InputError, match=message):
    evaluation.evaluate(np.array(rankings), judged(3, ([0], [], [])))


@st.composite
def problems(draw):
  size = draw(st.integers(2, 30))
  labels = np.array(draw(st.lists(st.sampled_from("ehjn"), min_size=size, max_size=size)))
  ranking = np.array(draw(st.permutations(range(size))))
  return ranking, *(np.flatnonzero(labels == letter) for letter in "ehj")


def medium(ranking, easy, hard, junk):
  report = evaluation.evaluate(ranking[None], judged(len(ranking), (easy, hard, junk)))
  return report["medium"].map


@given(problems(), st.randoms(use_true_random=False))
def test_moving_junk_changes_nothing(problem, random):
  ranking, easy, hard, junk = problem
  kept = [image for image in ranking if image not in junk]
  for image in junk:
    kept.insert(random.randint(0, len(kept)), image)
  assert medium(ranking, easy, hard, junk) == pytest.approx(
    medium(np.array(kept), easy, hard, junk), nan_ok=True
  )


@given(problems(), st.randoms(use_true_random=False))
def test_renumbering_changes_nothing(problem, random):
  ranking, *labels = problem
  numbers = list(range(len(ranking)))
  random.shuffle(numbers)
  numbers = np.array(numbers)
  renumbered = medium(numbers[ranking], *(numbers[ids] for ids in labels))
  assert medium(ranking, *labels) == pytest.approx(renumbered, nan_ok=True)


@given(problems(), st.data())
def test_moving_a_positive_up_never_lowers_ap(problem, data):
  ranking, easy, hard, junk = problem
  place = data.draw(st.integers(1, len(ranking) - 1))
  positives = set(np.concatenate([easy, hard]).tolist())
  if ranking[place] not in positives:
    return
  better = ranking.copy()
  better[[place - 1, place]] = ranking[[place, place - 1]]
  assert medium(better, easy, hard, junk) >= medium(ranking, easy, hard, junk) - 1e-12


@given(problems())
def test_perfect_is_one_and_all_are_in_the_unit_interval(problem):
  ranking, easy, hard, junk = problem
  if not len(easy) + len(hard):
    return
  assert 0.0 <= medium(ranking, easy, hard, junk) <= 1.0
  positives = np.concatenate([easy, hard])
  perfect = np.concatenate([positives, np.setdiff1d(ranking, positives)])
  assert medium(perfect, easy, hard, junk) == pytest.approx(1.0)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_a_precision_at_nothing_is_refused(k):
  ground_truth = judged(3, ([0], [], []))
  with pytest.raises(InputError, match="kappas must be"):
    evaluation.evaluate(np.arange(3)[None], ground_truth, kappas=(1, k))
  with pytest.raises(InputError, match="k must be"):
    evaluation.precision_at(np.array([0]), k)

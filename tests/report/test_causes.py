import numpy as np
import pytest

from l2g_jax.data.dataset import Dataset
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from l2g_jax.pipeline.l2g import Diagnostics
from l2g_jax.ranked import Ranked
from l2g_jax.report import causes
from l2g_jax.report.queries import Stage
from l2g_jax.report.run import Run, judge

# Image 0 is easy, 1 and 4 are hard; 4 is beyond the candidates.
ORDERS = {
  "chamfer": [0, 1, 2, 3, 4],
  "embedding": [0, 2, 1, 3, 4],
  "l2g": [0, 2, 3, 1, 4],
}


def make_run(orders=ORDERS, *, hard=(1, 4), candidates=(0, 1, 2, 3), easy=(0,), junk=()):
  judgement = QueryJudgement(None, *(np.array(ids, np.int64) for ids in (easy, hard, junk)))
  truth = GroundTruth(tuple("abcdef")[: len(orders["chamfer"])], ("q",), (judgement,))
  stages = [Stage(name, np.array([order])) for name, order in orders.items()]
  ids = np.array([candidates])
  made = Diagnostics(np.array([9]), np.array([0.1]), np.array([5]), np.array([True]))
  found = Ranked(ids, np.zeros(ids.shape, np.float32))
  dataset = Dataset("tiny", truth, (), ())
  strengths = np.zeros((len(candidates) + 1,) * 2, np.float32)
  return Run(dataset, {}, stages, "chamfer", found, made, lambda _: strengths, None)


def explain(run, protocol):
  return causes.explain(run, judge(run), 0, protocol)


@pytest.mark.fast
def test_a_loss_is_told_for_medium_and_hard():
  run = make_run()
  assert explain(run, "medium").startswith("L2G loses 19.4 points against chamfer: the embedding")
  assert "embedding alone -13.9, the global features on top -5.6" in explain(run, "medium")
  # Hard ignores the easy image, so that all loss is of the first rank.
  assert explain(run, "hard").endswith("the loss is of the embedding.")
  assert causes.find_cause(run, judge(run), 0, "hard") == causes.BY_EMBEDDING


def test_the_cause_is_what_loses_more():
  run = make_run({**ORDERS, "embedding": [0, 1, 2, 3, 4]})
  assert causes.find_cause(run, judge(run), 0, "medium") == causes.BY_GLOBAL
  assert explain(run, "medium").endswith("the loss is of the global features.")


def test_a_gain_is_a_gain():
  run = make_run({**ORDERS, "chamfer": [2, 3, 0, 1, 4]})
  assert explain(run, "medium").startswith("L2G gains 2")
  assert causes.find_cause(run, judge(run), 0, "medium") is None
  assert causes.summarize(run, judge(run), "medium").startswith(
    "No losses in medium. 1 query gains and 0 stay"
  )


def test_few_positives_are_told():
  assert explain(make_run(hard=(1,)), "hard").endswith("so one change of rank moves AP far.")
  assert explain(make_run(hard=()), "hard") == "The query has no positives in hard."
  assert "so none is embedded" in explain(make_run(hard=(4,)), "hard")


def test_losses_are_counted_by_cause():
  run = make_run()
  assert causes.summarize(run, judge(run), "hard").startswith(
    "Of 1 loss in hard: 1 by the embedding, 0 by the global features."
  )


def test_positives_that_are_not_embedded_are_named():
  run = make_run()
  text = causes.list_embedded(run, judge(run), 0)
  assert text == (
    "2 of 3 positives; not embedded, so they keep the order of the search: e (rank 5)"
  )
  assert causes.list_embedded(make_run(hard=(1,)), judge(make_run(hard=(1,))), 0) == (
    "2 of 2 positives"
  )

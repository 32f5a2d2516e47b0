import dataclasses

import numpy as np
import pytest

from l2g_jax.report import reasons
from l2g_jax.report.ties import find_ties
from tests.report.test_causes import make_run

# Images 0 and 1 are positives, 4 is junk, the others negatives; 1 falls behind 2 and 3.
ORDERS = {
  "chamfer": [0, 1, 2, 4, 3, 5],
  "embedding": [0, 2, 4, 3, 1, 5],
  "l2g": [0, 2, 4, 3, 1, 5],
}
PAIRS = {(-1, 0): 0.9, (0, 2): 0.8, (0, 3): 0.1, (1, 3): 0.5, (1, 5): 0.4, (1, 4): 0.2}


def strengths(pairs):
  """Returns the matrix of a query, -1, and the candidates 0 to 4 and, in place of 5, padding."""
  made = np.zeros((7, 7), np.float32)
  for (a, b), value in pairs.items():
    made[a + 1, b + 1] = made[b + 1, a + 1] = value
  return made


def run_with(pairs=PAIRS, **changes):
  # The candidates stand by their ids, so that rows of the matrix are ids.
  run = make_run({**ORDERS, **changes}, hard=(1,), junk=(4,), candidates=(0, 1, 2, 3, 4, 5))
  return dataclasses.replace(run, strengths=lambda _: strengths(pairs))


@pytest.mark.fast
def test_ties_of_a_fallen_positive_by_hand():
  query = find_ties(run_with(), 0)
  assert (query.num_holders, query.num_negative) == (1, 0)
  first, second = query.positives
  assert first.is_holder
  assert (first.fall, first.held) == (0, pytest.approx(0.9))
  assert (second.rank, second.before, second.before_embedded, second.fall) == (2, 0, 2, 2)
  # It has no pair with image 0, which 2 and 3 have.
  assert (second.held, second.num_held, second.num_closer) == (0, 0, 2)
  assert second.nearest == pytest.approx((0.5 + 0.4 + 0.2) / 3)
  assert (second.num_nearest, second.num_nearest_negative) == (3, 2)
  assert (second.num_overtaking, second.num_overtaking_closer) == (2, 2)
  # Of 2 the strength is 0.8, of 3 the strengths are 0.5 and 0.1.
  assert second.overtaking_nearest == pytest.approx((0.8 + 0.3) / 2)
  assert reasons.list_reasons(query, second) == ["outdone", "untied", "surrounded"]
  assert reasons.list_reasons(query, first) == ["surrounded"]


def test_reasons_are_of_the_pairs():
  near = find_ties(run_with({(-1, 0): 0.9, (-1, 2): 0.8, (-1, 3): 0.7, (0, 1): 0.9}), 0)
  assert (near.num_holders, near.num_negative) == (3, 2)
  # Images 2 and 3 hold the query with less than 1 has.
  assert near.positives[1].num_closer == 0
  assert reasons.list_reasons(near, near.positives[1]) == ["misled"]
  unknown = find_ties(run_with({}), 0)
  assert (unknown.num_holders, unknown.positives[1].num_nearest) == (0, 0)
  assert reasons.list_reasons(unknown, unknown.positives[1]) == ["untied"]


def test_reasons_are_counted_beside_those_of_other_positives():
  run = run_with()
  lead, table = reasons.count_reasons([find_ties(run, 0)] * 2, "chamfer")
  assert lead.text.startswith("Of 4 embedded positives 2 fall in the embedding alone, w = 1")
  rows = {row[0].partition(":")[0]: row[1:] for row in table.rows}
  assert rows["no tie to the query's nearest"] == (
    2,
    100.0,
    None,
    0.0,
  )
  assert rows["among negatives"] == (
    2,
    100.0,
    None,
    100.0,
  )
  assert "none holds of 0 of the fallen" in table.note
  still = find_ties(run_with(embedding=ORDERS["chamfer"]), 0)
  assert len(reasons.count_reasons([still], "chamfer")) == 1


def test_what_fell_is_told_in_words():
  run = run_with()
  query = find_ties(run, 0)
  assert reasons.list_fallen(run, 0) == [1]
  reason, facts = reasons.explain(run, query, 0, 1)
  assert reason == (
    "Negatives closer to the query's nearest; no tie to the query's nearest; among negatives"
  )
  assert facts == [
    "Rank 2 in chamfer, 5 in embedding, 5 in l2g; negatives before it 0, 2, 2.",
    "No known pair with the query's 1 nearest (0 negative); 2 negatives have a stronger one.",
    "Of its own 3 nearest 2 are negatives; mean strength 0.37.",
    "2 negatives overtook it: 2 have a stronger pair with the query's nearest; strength to their"
    " own nearest 0.55 (median).",
  ]
  assert reasons.summarize_query(query).startswith(
    "1 of 2 embedded positives fall. The query is held by 1 image, 0 of them negatives."
  )
  by_global = run_with(embedding=ORDERS["chamfer"])
  told, _ = reasons.explain(by_global, find_ties(by_global, 0), 0, 1)
  assert told == "By the global features, not by the embedding"
  assert reasons.list_fallen(run_with(l2g=ORDERS["chamfer"]), 0) == []

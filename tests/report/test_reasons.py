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
  assert (second.held, second.num_closer) == (0, 2)
  assert (second.num_nearest, second.num_nearest_negative) == (3, 2)
  assert (second.num_overtaking, second.num_overtaking_closer) == (2, 2)
  assert second.num_overtaking_linked == 0
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


def test_overtaking_negatives_tied_at_two_removes_by_hand():
  # 2 has no pair with image 0, which holds the query, but a strong one with 3, which has.
  pairs = {(-1, 0): 0.9, (0, 3): 0.4, (2, 3): 0.7, (1, 3): 0.3}
  query = find_ties(run_with(pairs), 0)
  own = query.positives[1]
  assert (own.num_overtaking, own.num_overtaking_closer, own.num_overtaking_linked) == (2, 1, 1)
  # With as strong a tie of its own to 3 the positive is no worse than 2.
  equal = find_ties(run_with({**pairs, (1, 3): 0.8}), 0).positives[1]
  assert equal.num_overtaking_linked == 0
  told = reasons.explain(run_with(pairs), query, 0, 1)[1][-1]
  assert told == (
    "2 negatives overtook it: 1 has a stronger pair with the query's nearest; 1 has a stronger tie"
    " to images that have a pair with these."
  )
  unknown = find_ties(run_with({}), 0)
  assert reasons.explain(run_with({}), unknown, 0, 1)[1][-1] == (
    "2 negatives overtook it: why the 2 did, the page does not know."
  )


# Image 1 rises before 2 and has a known pair with the query's nearest.
RISING = {(-1, 0): 0.9, (0, 1): 0.8, (0, 2): 0.1}


def find_fallen_and_risen():
  fallen = find_ties(run_with(), 0)
  risen = find_ties(run_with(RISING, chamfer=[0, 2, 1, 4, 3, 5], embedding=[0, 1, 2, 4, 3, 5]), 0)
  return [fallen, fallen, risen]


def test_reasons_are_counted_beside_those_of_other_positives():
  ties = find_fallen_and_risen()
  words, lead, table, _ = reasons.count_reasons(ties, "chamfer", losing={1})
  for word in (
    "A negative is",
    "A known pair is",
    "a known pair, 1 at most: they hold it",
    "strength of",
  ):
    assert word in words.text
  assert lead.text == (
    "Of 6 embedded positives 2 fall, 1 rises and 3 keep their place. 1 of the fallen belongs to the"
    " losing queries: the 1 that loses AP, medium, by the embedding."
  )
  rows = {row[0].partition(":")[0]: row[1:] for row in table.rows}
  # Fallen, their share, those in losing queries, their share, and of the risen and the others.
  untied = rows["no tie to the query's nearest"]
  assert untied == (2, 100.0, 1, 100.0, 0.0, 0.0)
  assert rows["a query among negatives"] == (0, 0.0, 0, 0.0, 0.0, 0.0)
  assert "none holds of 0 of the fallen" in table.note
  still = find_ties(run_with(embedding=ORDERS["chamfer"]), 0)
  assert len(reasons.count_reasons([still], "chamfer", losing=())) == 2


def test_the_reason_most_special_to_the_fallen_closes_the_section():
  fallen, _, risen = find_fallen_and_risen()
  positive = risen.positives[1]
  assert positive.fall < 0
  closing = reasons.count_reasons([fallen, fallen, risen], "chamfer", losing={1})[-1].text
  assert closing == (
    "Most special to the fallen is: negatives closer to the query's nearest (2 of 2 fallen, 0 of 1"
    " risen). In the losing queries it holds of 1 of 1 fallen positives."
  )
  # Two of three risen have the other reasons of the fallen; no fallen is of a losing query.
  outdone = dataclasses.replace(positive, held=0.0, num_closer=9)
  surrounded = dataclasses.replace(risen, positives=(outdone, positive, outdone))
  closing = reasons.count_reasons([fallen, surrounded], "chamfer", losing=())[-1].text
  assert closing == "Most special to the fallen is: among negatives (1 of 1 fallen, 0 of 3 risen)."
  alike = dataclasses.replace(fallen.positives[1], before_embedded=0, before=1)
  same = dataclasses.replace(fallen, positives=(*fallen.positives, alike))
  closing = reasons.count_reasons([same], "chamfer", losing={0})[-1].text
  assert closing == "No reason is more frequent among the fallen than among the risen."
  # Without risen positives no ratio is known, so the table comes last.
  assert reasons.count_reasons([fallen], "chamfer", losing={0})[-1].title.startswith("Why")


def test_a_ratio_that_is_known_is_told():
  fallen, _, risen = find_fallen_and_risen()
  untied = dataclasses.replace(risen.positives[1], held=0.0, num_closer=9, num_nearest_negative=0)
  near = dataclasses.replace(untied, held=0.5, num_closer=0)
  mixed = dataclasses.replace(risen, positives=(untied, near, near, near))
  never = dataclasses.replace(fallen.positives[1], num_nearest_negative=0)
  closing = reasons.count_reasons(
    [dataclasses.replace(fallen, positives=(never,)), mixed], "chamfer", losing=()
  )[-1].text
  assert "(1 of 1 fallen, 1 of 4 risen, 4.0 times as often)" in closing


def test_what_fell_is_told_in_words():
  run = run_with()
  query = find_ties(run, 0)
  assert reasons.list_fallen(run, 0) == [1]
  reason, facts = reasons.explain(run, query, 0, 1)
  assert reason == (
    "Negatives closer to the query's nearest; no tie to the query's nearest; among negatives"
  )
  assert facts == [
    "Rank: chamfer 2, embedding 5, l2g 5.",
    "No known pair with the query's 1 nearest; 2 negatives have one.",
    "2 of its own 3 nearest are negative.",
    "2 negatives overtook it: 2 have a stronger pair with the query's nearest.",
  ]
  assert reasons.summarize_query(query).startswith(
    "1 of 2 embedded positives falls. The query's nearest: 1 image, of which 0 negative."
  )
  by_global = run_with(embedding=ORDERS["chamfer"])
  told, _ = reasons.explain(by_global, find_ties(by_global, 0), 0, 1)
  assert told == "By the global features, not by the embedding"
  assert reasons.list_fallen(run_with(l2g=ORDERS["chamfer"]), 0) == []

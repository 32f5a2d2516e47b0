import dataclasses

import numpy as np
import pytest

from experiments.measured import RERANKING, maps, measure
from experiments.problems import problem_of
from experiments.shortlists import Shortlists
from l2g_jax.embedding import mds
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.runtime.stopwatch import Stopwatch
from tests.experiments.labelled import labelled
from tests.pipeline.problems import CONFIG


def test_a_sweep_of_numbers_compiles_once():
  given, watch = labelled(), Stopwatch()
  (first,) = measure(given, CONFIG, [0.5], watch)
  before = watch.programs[RERANKING]
  varied = dataclasses.replace(CONFIG, num_known=2, power=0.3, rtol=0.1, beta=0.2, seed=3)
  (second,) = measure(given, varied, [0.2], watch)
  assert watch.programs[RERANKING] == before
  assert first["stress"] != second["stress"]


def test_figures_are_those_of_the_method():
  given = labelled()
  (row,) = measure(given, CONFIG, [0.5], Stopwatch())
  result = L2G(0.5, CONFIG)(given.candidates, given.lists, given.features)
  assert {name: row[name] for name in ("easy", "medium", "hard")} == maps(
    result.rankings, given.truth
  )
  assert row["iterations"] == np.mean(result.diagnostics.num_iterations)
  assert row["converged"] == 100.0 * np.mean(result.diagnostics.converged)


def test_the_problem_of_a_query_is_the_one_that_the_method_embeds():
  given = labelled()
  result = L2G(0.5, CONFIG)(given.candidates, given.lists, given.features)
  ids, delta, weights = problem_of(given, 1, CONFIG)
  np.testing.assert_array_equal(ids, given.candidates.ids[1])
  embedded = mds.smacof(
    delta,
    weights=weights,
    num_dimensions=CONFIG.num_dimensions,
    max_iterations=CONFIG.max_iterations,
    rtol=CONFIG.rtol,
    method=CONFIG.method,
  )
  expected = result.diagnostics.normalized_stress[1]
  assert float(embedded.normalized_stress) == pytest.approx(expected, abs=1e-5)


def test_map_without_positives_is_none():
  given = labelled()
  queries = tuple(dataclasses.replace(query, easy=query.easy[:0]) for query in given.truth.queries)
  truth = dataclasses.replace(given.truth, queries=queries)
  found = maps(complete_rankings(given.candidates.ids, None, len(truth.imlist)), truth)
  assert found["easy"] is None
  assert found["hard"] is not None


def test_shortlists_are_known_by_their_content():
  given = labelled()
  assert labelled().key == given.key
  ids = given.candidates.ids.copy()
  ids[0, :2] = ids[0, 1::-1]
  swapped = Ranked(ids, given.candidates.similarities)
  fewer = given.every(2)
  assert len(fewer.candidates.ids) == len(fewer.truth.queries) == 2
  keys = {
    given.key,
    fewer.key,
    labelled(1).key,
    Shortlists(swapped, given.lists, given.features, given.truth).key,
  }
  assert len(keys) == 4

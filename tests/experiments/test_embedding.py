import sys

import numpy as np
import pytest
import scipy.stats

from experiments.embeddings import convergence, pictures, stress
from experiments.embeddings.correlation import correlate
from experiments.outputs import tables_of
from l2g_jax.errors import InputError
from l2g_jax.report import Plot
from l2g_jax.runtime.stopwatch import Stopwatch
from tests.experiments.labelled import labelled
from tests.pipeline.problems import CONFIG


def test_rank_correlation_is_scipys_with_ties():
  rng = np.random.default_rng(0)
  x = rng.integers(0, 6, 40).astype(float)
  y = x + rng.integers(0, 9, 40)
  found = correlate(x, y)
  expected, _ = scipy.stats.spearmanr(x, y)
  assert found.rho is not None
  assert found.rho == pytest.approx(expected, abs=1e-12)
  assert found.low is not None
  assert found.high is not None
  assert found.low < found.rho < found.high
  assert found.count == 40
  # Few pairs are less certain.
  few = correlate(x[:8], y[:8])
  assert few.low is not None
  assert few.high is not None
  assert few.high - few.low > found.high - found.low


def test_what_has_no_rank_has_no_correlation():
  assert correlate([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).rho is None
  assert correlate([1.0, 2.0], [1.0, 2.0]).rho is None
  found = correlate([1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 2.0, 3.0])
  assert (found.rho, found.count) == (pytest.approx(1.0), 3)


@pytest.fixture(scope="module")
def queries():
  return stress.measure_queries(labelled(), CONFIG, 0.9, Stopwatch())


def test_queries_have_their_stress_and_precision(queries):
  given = labelled()
  assert all(len(values) == len(given.candidates.ids) for values in queries.values())
  # A perfect search has no gain.
  assert max(queries["search medium"]) <= 100.0
  section = stress.make_section(queries, [*given.truth.qimlist], has_plots=False)
  (table,) = tables_of([section])
  assert len(table.rows) == 12


def test_variants_end_at_convergence():
  variants = dict(convergence.variants(CONFIG, [0, 5]))
  assert list(variants) == ["0", "5", "rtol 0.0001", "rtol 1e-05"]
  assert (variants["5"].max_iterations, variants["5"].rtol) == (5, 0.0)
  assert variants["rtol 0.0001"] is CONFIG


def test_pictured_are_the_greatest_the_median_and_the_least_gain():
  queries = {
    "medium": [10.0, 90.0, None, 50.0, 55.0],
    "search medium": [50.0, 20.0, 0.0, 50.0, 50.0],
  }
  assert pictures.choose(queries) == [1, 3, 0]
  assert pictures.choose({"medium": [1.0], "search medium": [1.0]}) == [0]


class Flat:
  """Stands for scikit-learn's t-SNE, which takes seconds to import."""

  def __init__(self, num_dimensions, *, perplexity, init, random_state):
    assert 0.0 < perplexity < 8
    self.num_dimensions = num_dimensions

  def fit_transform(self, points):
    return points[:, : self.num_dimensions]


def test_pictures_show_every_candidate_by_its_label(monkeypatch):
  monkeypatch.setattr(pictures, "_sklearn_tsne", lambda: Flat)
  given = labelled()
  asked = []

  def read(number):
    return lambda image: asked.append((number, image)) or b"JPEG"

  section = pictures.make_section(given, [2], CONFIG, has_tsne=True, read=read)
  (table,) = tables_of([section])
  assert [row[:3] for row in table.rows] == [["2", 8, 3]]
  # Two dimensions fit no better than more.
  for _, _, _, flat, full, _ in table.rows:
    assert isinstance(flat, float)
    assert isinstance(full, float)
    assert flat > full
  drawn = [block for block in section.blocks if isinstance(block, Plot)]
  assert len(drawn) == 2
  for plot in drawn:
    assert all(label in plot.svg for label in ("easy", "hard", "negative", "junk", "query"))
    assert plot.svg.count("<image") == 9
  # The query, and every candidate, in both pictures.
  candidates = given.candidates.ids[2].tolist()
  assert sorted(asked) == sorted([(2, image) for image in (-1, *candidates)] * 2)


def test_tsne_without_scikit_learn_says_what_to_do(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
  with pytest.raises(InputError, match=r"pip install .l2g_jax\[report\].*--notsne"):
    pictures.require_tsne()

import numpy as np
import pytest

from experiments.ablations.cell import Cell, Value
from experiments.ablations.cells import Row
from experiments.ablations.sweep import SWEEPS, parse_values
from experiments.ablations.symmetry import combine, reverse_similarities, symmetric_lists
from experiments.ablations.tables import KNEE, find_knee, make_section
from experiments.outputs import tables_of
from l2g_jax.errors import InputError, SettingError
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.ranked import Ranked
from l2g_jax.similarity.codec import decode
from tests.retriever import photos

BASE = Cell(L2GConfig(), 0.9, 700, "power(alpha=7.0,tau=0.0)")


def sweep_of(name):
  return next(sweep for sweep in SWEEPS if sweep.name == name)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_a_sweep_varies_its_own_setting(sweep):
  cells = sweep.cells(BASE, None, 10_000)
  assert cells[sweep.read(BASE)] == BASE
  assert len({*cells.values()}) == len(cells) > 2
  for value, cell in cells.items():
    assert sweep.read(cell) == value
    others = [other for other in SWEEPS if other.name not in (sweep.name, "M", "k")]
    assert all(other.read(cell) == other.read(BASE) for other in others)


def test_sizes_beyond_the_collection_are_left_out():
  small = Cell(L2GConfig(), 0.9, 300, BASE.kernel)
  assert list(sweep_of("k").cells(small, None, 300)) == [25, 50, 100, 200, 300]
  # What a user asks for stays.
  assert 400 in sweep_of("k").cells(small, [400], 300)


def test_values_are_read_from_the_command_line():
  found = parse_values(["k:50, 100", "kernel:chamfer,cann(radius=2,p=0.3)", "certainty:5,inf"])
  assert found == {
    "k": [50, 100],
    "kernel": ["chamfer", "cann(radius=2.0,p=0.3)"],
    "certainty": [5.0, float("inf")],
  }


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x:1", "of one of k, w, completion"),
    ("k", "not 'k'"),
    ("k:many", "no number: 'many'"),
    ("kernel:cosine", "Kernel 'cosine' is not one of"),
    ("direction:up", "A direction is one of query, mean, least"),
  ],
)
def test_values_that_can_not_be_are_refused(text, message):
  with pytest.raises(InputError, match=message):
    parse_values([text])


def test_a_value_out_of_range_is_refused_by_its_flag():
  with pytest.raises(SettingError, match="--p must be above 0"):
    sweep_of("p").cells(BASE, [0.0], 100)


def row(medium, hard):
  costs = {"search": 0.1, "seconds": 0.2, "iterations": 9.0, "stress": 0.1, "converged": 100.0}
  return {"easy": None, "medium": medium, "hard": hard, **costs}


def test_the_knee_is_the_least_k_near_the_best():
  rows: dict[Value, Row] = {
    25: row(50.0, 20.0),
    50: row(60.0, 40.0 - KNEE),
    100: row(60.0, 40.0),
    200: row(60.0, 40.5),
  }
  assert find_knee(rows) == 50
  assert find_knee({25: row(None, None)}) is None


def test_a_table_marks_the_default_and_the_knee():
  sweep = sweep_of("k")
  cells = sweep.cells(BASE, [50], 1000)
  rows = {cells[50]: row(60.0, 40.0), BASE: row(60.0, 40.1)}
  (table,) = tables_of([make_section(sweep, cells, rows, BASE, has_plots=False)])
  assert [line[0] for line in table.rows] == [50, 700]
  assert [line[-1] for line in table.rows] == ["knee", "default"]
  assert "within 0.5 points" in table.note
  assert table.marked == [0, 1]


def test_symmetric_lists_by_hand():
  # The list of image 2 does not hold image 0, so its last similarity stands for the other way.
  lists = Ranked(
    np.array([[1, 2], [0, 2], [1, -1]], np.int32),
    np.array([[0.9, 0.8], [0.5, 0.2], [0.4, 0.0]], np.float32),
  )
  least = symmetric_lists(lists, "least")
  np.testing.assert_array_equal(least.ids, [[1, 2], [0, 2], [1, -1]])
  np.testing.assert_allclose(least.similarities, [[0.5, 0.4], [0.5, 0.2], [0.2, 0.0]])
  mean = symmetric_lists(lists, "mean")
  np.testing.assert_allclose(mean.similarities, [[0.7, 0.6], [0.7, 0.3], [0.3, 0.0]])


def test_both_directions_order_candidates():
  found = Ranked(np.array([[4, 7, -1]], np.int32), np.array([[0.9, 0.6, 0.0]], np.float32))
  both = combine(found, np.array([[0.1, 0.8, 0.0]], np.float32), "mean")
  np.testing.assert_array_equal(both.ids, [[7, 4, -1]])
  np.testing.assert_allclose(both.similarities, [[0.7, 0.5, 0.0]])


def test_similarities_to_a_query_are_exact(tmp_path):
  collection = photos.follow(photos.write_folder(tmp_path / "photos"), tmp_path / "work")
  (kind,) = collection.kinds
  ids = np.array([[3, 9, 0, -1]])
  found = reverse_similarities(collection, [(decode(kind.codes(5)),)], ids)
  expected = kind.index.similarities_from(
    [int(kind._rows[image]) for image in ids[0, :3]], [int(kind._rows[5])]
  )
  np.testing.assert_allclose(found[0, :3], expected[:, 0], atol=1e-5)
  assert found[0, 3] == 0.0

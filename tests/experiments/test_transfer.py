import numpy as np
import pytest

from experiments import transfer
from experiments.outputs import tables_of
from experiments.transfers import tables
from experiments.transfers.descriptor_set import read_descriptors
from experiments.transfers.tables import Measured
from l2g_jax.errors import InputError
from l2g_jax.similarity.chamfer import chamfer_similarity
from l2g_jax.similarity.kernels import Power
from tests.cli import toy


def measured(name, means):
  rows = {weight: {"easy": 0.0, "medium": m, "hard": m} for weight, m in means.items()}
  return Measured(name, rows, rule=0.9, search={"easy": None, "medium": 1.0, "hard": 2.0})


FIRST = measured("first", {0.19: 40.0, 0.5: 60.0, 0.9: 70.0})
SECOND = measured("second", {0.19: 90.0, 0.5: 80.0, 0.9: 60.0})


def test_losses_are_below_the_best_of_each_set():
  assert (FIRST.best, SECOND.best) == (0.9, 0.19)
  assert SECOND.loss(0.9) == 30.0
  # 10 + 10 is less than 30 + 0 and 0 + 30.
  assert tables.one_weight([FIRST, SECOND]) == 0.5
  comparison, losses, _ = tables_of(tables.make_sections([FIRST, SECOND], has_plots=False))
  assert [row[1:] for row in losses.rows] == [[0.0, 30.0], [30.0, 0.0]]
  assert [row[-3:] for row in comparison.rows] == [[30.0, 10.0, 0.0], [0.0, 10.0, 30.0]]


def test_a_set_without_hard_images_counts_by_its_medium_ones():
  rows = {0.5: {"medium": 60.0, "hard": None}, 0.9: {"medium": 70.0, "hard": None}}
  assert Measured("set", rows, 0.9, {}).loss(0.5) == 10.0


@pytest.fixture
def file(tmp_path):
  rng = np.random.default_rng(0)
  landmarks = np.repeat(np.arange(3), 3)
  values = rng.standard_normal((3, 6, 8))[landmarks] + 0.4 * rng.standard_normal((9, 6, 8))
  path = tmp_path / "set.npz"
  np.savez(path, names=[f"i{n}" for n in range(9)], descriptors=7.0 * values, landmarks=landmarks)
  return path


def test_descriptors_are_searched_among_the_others(file):
  given = read_descriptors(file, Power())
  assert given.candidates.ids.shape == (9, 8)
  assert not np.any(given.candidates.ids == np.arange(9)[:, None])
  np.testing.assert_array_equal(given.truth.queries[4].hard, [3, 5])
  np.testing.assert_array_equal(given.truth.queries[4].junk, [4])
  sets = np.load(file)["descriptors"]
  sets = (sets / np.linalg.norm(sets, axis=2, keepdims=True)).astype(np.float32)
  best = given.candidates.ids[4, 0]
  expected = chamfer_similarity(sets[4], sets[best], kernel=Power())
  assert given.candidates.similarities[4, 0] == pytest.approx(float(expected), abs=1e-5)


def test_a_file_that_is_no_set_is_refused(file, tmp_path):
  with pytest.raises(InputError, match=r"must be an \.npz with names, descriptors, landmarks"):
    read_descriptors(tmp_path / "none.npz", Power())
  arrays = dict(np.load(file))
  np.savez(file, **{**arrays, "landmarks": arrays["landmarks"][:4]})
  with pytest.raises(InputError, match="n names and n landmarks"):
    read_descriptors(file, Power())
  arrays["descriptors"][0, 0, 0] = np.nan
  np.savez(file, **arrays)
  with pytest.raises(InputError, match="not finite"):
    read_descriptors(file, Power())


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"w": 0.5}, "--w is what varies here"),
    ({"weights": "0,many"}, "--weights are numbers from 0 to 1"),
    ({"weights": "0,2"}, "--weights are numbers from 0 to 1"),
    ({"dataset": "toy"}, "--sets names the data sets here"),
  ],
)
def test_flags_that_make_no_sense_are_refused(values, message):
  with pytest.raises(InputError, match=message):
    toy.call(transfer.COMMAND, **values)

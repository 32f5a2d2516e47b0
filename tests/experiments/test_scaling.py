import json

import numpy as np
import pytest

from experiments import scaling
from experiments.outputs import data_of, tables_of
from experiments.scalings import growth
from experiments.scalings.distractors import Synthetic
from l2g_jax.errors import InputError
from tests.cli import toy


def test_growth_is_the_slope_of_logarithms():
  assert growth.exponent([10, 100, 1000], [3.0, 30.0, 300.0]) == pytest.approx(1.0)
  assert growth.exponent([10, 100], [4.0, 4.0]) == pytest.approx(0.0)
  assert growth.exponent([10], [4.0]) is None
  assert growth.exponent([10, 100], [0.0, 4.0]) is None


def test_larger_sizes_grow_from_the_last():
  rows = [{"search": 1.0, "none": 0.0}, {"search": 10.0, "none": 5.0}]
  assert growth.extrapolate([10, 1000], rows, 100_000) == {"search": pytest.approx(100.0)}


def test_distractors_have_the_moments_of_real_descriptors_and_are_the_same_at_any_size():
  rng = np.random.default_rng(0)
  real = rng.standard_normal((4000, 128)) * np.linspace(0.2, 2.0, 128) + 0.5
  real /= np.linalg.norm(real, axis=1, keepdims=True)
  made = Synthetic(40, 60, real, seed=3)
  values = np.concatenate([made[number] for number in range(60)])
  np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0, rtol=1e-5)
  # Directions that vary much do so in both.
  assert np.corrcoef(values.std(axis=0), real.std(axis=0))[0, 1] > 0.8
  np.testing.assert_array_equal(Synthetic(40, 500, real, seed=3)[7], made[7])


def test_distractors_of_another_dimension_are_refused():
  with pytest.raises(InputError, match="128 dimensions, and the descriptors of the data set 64"):
    Synthetic(40, 10, np.eye(64), seed=0)


@pytest.mark.parametrize("texts", [["-1"], ["ten"], [""]])
def test_sizes_must_be_whole_numbers(texts):
  with pytest.raises(InputError, match="--distractors must be whole numbers"):
    scaling._numbers("distractors", texts)


def test_extrapolated_rows_are_marked():
  figures = {
    "global": dict.fromkeys(("easy", "medium", "hard"), 1.0),
    "bytes": {"index": 9.0, "lists": 8.0, "global features": 4.0},
    "all lists hours": 1.0,
    "memory": 100.0,
  }
  rows = [
    {
      **figures,
      "images": images,
      "distractors": images - 10,
      "seconds": dict.fromkeys(("build", "search", "re-ranking", "list"), seconds),
    }
    for images, seconds in ((110, 1.0), (1010, 10.0))
  ]
  (block,) = tables_of([scaling._costs(rows, [500, 100_000], has_plots=False)])
  table = data_of(block)
  assert [row[0] for row in table["rows"]] == [110, 1010, "growth exponent", 100_010]
  assert [row[-1] for row in table["rows"]] == ["measured", "measured", "fit", "extrapolated"]


def test_a_run_measures_every_size_and_keeps_it(tmp_path, capsys):
  toy.write_dataset(tmp_path / "data")
  output = tmp_path / "scaling.json"
  flags = {
    "data_root": tmp_path / "data",
    "dataset": "toy",
    "work_dir": tmp_path / "work",
    "local": "sift",
    "max_descriptors": 60,
    "k": 8,
    "descriptors": 30,
    "extrapolate": "1000",
    "output": output,
  }
  toy.call(scaling.COMMAND, **flags, distractors="40,0")
  rows = json.loads(output.read_text())["rows"]
  assert [row["images"] for row in rows] == [16, 56]
  assert all(row["l2g"]["medium"] > 30.0 for row in rows)
  toy.call(scaling.COMMAND, **flags, distractors="0,40")
  assert json.loads(output.read_text())["rows"] == rows
  # Indexes are removed when they are measured.
  assert not [*(tmp_path / "work").rglob("index-40")]
  # More than any before, by features of distractors that are kept in part.
  toy.call(scaling.COMMAND, **flags, distractors="60")
  assert [row["images"] for row in json.loads(output.read_text())["rows"]] == [76]
  assert "1016" in capsys.readouterr().out

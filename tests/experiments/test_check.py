import json
import shutil

import pytest

from experiments import ablation, check
from experiments.checks.figures import comparable, differences
from experiments.checks.small_set import NAME
from experiments.comparison.published import PUBLISHED
from experiments.embeddings import degenerate
from l2g_jax.embedding.reason import Reason
from l2g_jax.errors import InputError
from tests.cli import toy

TOLERANCES = {"medium": 1.0, "stress.*": 0.01}
TABLES = {
  "k": {
    "columns": ["k", "medium", "hard", "stress", "seconds"],
    "rows": [[50, 60.0, 40.0, 0.1, 3.0], [100, 61.0, None, 0.09, 4.0]],
  },
  "names": {"columns": ["name", "sentence"], "rows": [["a", "It is."]]},
}


def changed(row, column, value):
  rows = [list(cells) for cells in TABLES["k"]["rows"]]
  rows[row][column] = value
  return {**TABLES, "k": {**TABLES["k"], "rows": rows}}


def test_figures_within_their_tolerance_are_the_same():
  assert not [*differences(changed(0, 1, 60.9), TABLES, TOLERANCES)]
  # Seconds have no tolerance: they are not compared.
  assert not [*differences(changed(0, 4, 99.0), TABLES, TOLERANCES)]


@pytest.mark.parametrize(
  ("found", "sentence"),
  [
    (changed(0, 1, 61.5), "k, 50, medium: 61.5 in place of 60, further than the tolerance of 1."),
    (changed(1, 3, None), "k, 100, stress: nothing in place of 0.09."),
    (changed(1, 0, 200), "k, 100: the row is missing."),
    ({"names": TABLES["names"]}, "k: the table is missing."),
  ],
)
def test_what_differs_is_said(found, sentence):
  assert [*differences(found, TABLES, TOLERANCES)] == [sentence]


def test_only_what_is_compared_is_kept():
  assert comparable(TABLES, TOLERANCES) == {
    "k": {"columns": ["k", "medium", "stress"], "rows": [[50, 60.0, 0.1], [100, 61.0, 0.09]]}
  }


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def checked(work):
  """The short form of all experiments, which ends with an error where a figure differs."""
  toy.call(check.COMMAND, work_dir=work)


def test_the_short_form_gives_the_expected_figures(checked, work):
  assert any((work / NAME / "ablation").iterdir())


def test_a_figure_that_left_its_tolerance_fails(checked, work, tmp_path, monkeypatch, capsys):
  shutil.copytree(check.EXPECTED, tmp_path / "expected")
  path = tmp_path / "expected" / "short" / "ablation.json"
  expected = json.loads(path.read_text())
  table = expected["tables"]["p, power of D = 1 - s^p"]
  table["rows"][0][table["columns"].index("medium")] -= 20.0
  path.write_text(json.dumps(expected))
  monkeypatch.setattr(check, "EXPECTED", tmp_path / "expected")
  with pytest.raises(SystemExit, match="1"):
    toy.call(check.COMMAND, work_dir=work, experiments="ablation")
  printed = capsys.readouterr().out
  assert "1 figures differ" in printed
  assert "p, power of D = 1 - s^p, 0.3, medium: " in printed


def test_an_ablation_resumes_and_grows(checked, work, monkeypatch):
  flags = {"k": 20, "dimensions": 8, "local": "sift", "work_dir": work, "sweeps": "p"}
  flags |= {"data_root": work / "check", "dataset": NAME}

  def refuse(*_):
    raise ArithmeticError("It is measured.")

  monkeypatch.setattr("experiments.ablations.cells.measure", refuse)
  toy.call(ablation.COMMAND, **flags, values="p:0.3")
  with pytest.raises(ArithmeticError):
    toy.call(ablation.COMMAND, **flags, values="p:0.3,0.7")
  with pytest.raises(ArithmeticError):
    toy.call(ablation.COMMAND, **flags, values="p:0.3", again=True)


def test_smacof_says_what_a_degenerate_problem_is():
  rows = {row[0]: row for row in degenerate.make_table().rows}
  sentences = {name: row[-1] for name, row in rows.items()}
  assert sentences["no neighbour, unknown pairs masked"] == Reason.EMPTY.sentence
  assert sentences["all pairs are known and as similar"] == Reason.NEGLIGIBLE.sentence
  assert sentences["all pairs are known"] == Reason.SETTLED.sentence
  assert all(row[6] == "yes" for row in rows.values())
  # As many points in fewer dimensions do not all lie as far from one another.
  simplex = rows["no neighbour: nothing is known, all dissimilarities are 1"]
  assert simplex[4] == pytest.approx(0.13, abs=0.03)


def test_names_that_are_none_are_refused():
  names = "ablation, embedding, scaling, transfer"
  with pytest.raises(InputError, match=f"'none', which is none of {names}"):
    toy.call(check.COMMAND, experiments="none")
  with pytest.raises(InputError, match="'none', which is none of k, w"):
    toy.call(ablation.COMMAND, sweeps="none", dataset="toy", data_root="nowhere")


def test_published_figures_are_those_of_the_comparison():
  entries = json.loads((check.EXPECTED / "published.json").read_text())["entries"]
  known = {(p.system, p.source): (p.roxford[0], p.rparis[0]) for p in PUBLISHED}
  for entry in entries:
    assert entry["medium"] in known[entry["system"], entry["source"]]

import html
import json
import re

import pytest

from benchmarks import baselines as sweep
from experiments import compare
from experiments.comparison.published import PUBLISHED
from experiments.comparison.registry import make_systems
from l2g_jax.errors import InputError
from tests.cli import toy

# One of each kind of work; the others differ in their functions, which have tests of their own.
SYSTEMS = (
  *("global", "global+diffusion", "chamfer", "chamfer+aqe", "chamfer+spatial"),
  *("asmk", "l2g, paper's recipe", "l2g", "l2g by asmk"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return toy.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def run(root, work):
  def main(systems=SYSTEMS, **values):
    values = {"data_root": root, "dataset": "toy", "local": "sift", "work_dir": work, **values}
    # A list flag takes names with commas in quotes.
    names = ",".join(f'"{name}"' if "," in name else name for name in systems)
    toy.call(compare.COMMAND, systems=names, **values)

  return main


@pytest.fixture(scope="module")
def report(run, work):
  run(output=work / "report.json", report=work / "page")
  return json.loads((work / "report.json").read_text())


def test_every_row_has_its_figures_and_costs(report):
  assert [row["name"] for row in report["rows"]] == [*SYSTEMS]
  for row in report["rows"]:
    assert 0.0 < row["hard"]["map"] <= 100.0
    assert row["seconds_a_query"] >= 0.0
    assert row["bytes_an_image"] > 0.0
  rows = {row["name"]: row for row in report["rows"]}
  # What needs more than a search has its bytes too.
  assert rows["l2g"]["bytes_an_image"] > rows["chamfer"]["bytes_an_image"]
  assert rows["chamfer+spatial"]["bytes_an_image"] > rows["chamfer"]["bytes_an_image"]
  assert rows["l2g by asmk"]["bytes_an_image"] > rows["asmk"]["bytes_an_image"]
  assert rows["l2g, paper's recipe"]["w"] == 0.19
  assert rows["asmk"]["seconds_once"] > 0.0


def test_the_textures_are_found_by_all_that_match_local_features(report):
  for row in report["rows"]:
    if not row["name"].startswith(("global", "l2g, paper")):
      assert row["easy"]["map"] == pytest.approx(100.0), row["name"]


def test_the_page_has_tables_a_plot_and_the_lists_of_four_systems(report, work):
  page = (work / "page" / "index.html").read_text()
  assert page.count("<figure><svg") == 1
  assert all(entry.system in html.unescape(page) for entry in PUBLISHED)
  assert (work / "page" / "measured.csv").read_text().count("\n") == 1 + len(SYSTEMS)
  shared = json.loads(re.findall(r'id="browser-0">(.*?)</script>', page)[0])
  rows = [row for row in report["rows"] if row["name"] in {*SYSTEMS[1:2], *SYSTEMS[3:6]}]
  best = max(rows, key=lambda row: row["hard"]["map"])["name"]
  assert shared["stages"] == ["global", "chamfer", best, "l2g"]
  data = json.loads((work / "page" / "report.json").read_text())
  assert data["data"]["rows"] == report["rows"]
  assert data["fingerprint"]["settings"]["l2g by asmk"]["num_words"] == 4096


def test_published_figures_stand_apart(report):
  assert len(report["published"]) == len(PUBLISHED)
  for entry in report["published"]:
    assert entry["source"]
    assert entry["training"]
  assert not {entry["system"] for entry in report["published"]} & {*SYSTEMS}


def test_rows_are_kept_until_they_are_asked_for_again(report, run, work, monkeypatch):
  rows = {row["name"]: row for row in report["rows"]}

  def diffuse(*_, **__):
    raise ArithmeticError("It is measured.")

  monkeypatch.setattr("experiments.comparison.baselines.diffusion.diffuse", diffuse)
  run(systems=["global+diffusion"], output=work / "kept.json")
  (kept,) = json.loads((work / "kept.json").read_text())["rows"]
  assert kept == rows["global+diffusion"]
  with pytest.raises(ArithmeticError):
    run(systems=["global+diffusion"], again=True)


def test_a_row_of_other_settings_is_another_row(report, run, work):
  run(systems=["l2g"], w=0.25, output=work / "other.json")
  (row,) = json.loads((work / "other.json").read_text())["rows"]
  assert row["w"] == 0.25
  assert next(row for row in report["rows"] if row["name"] == "l2g")["w"] == 0.9


def test_a_damaged_row_is_measured_anew(report, run, work):
  (folder,) = work.rglob("compare")
  for path in folder.iterdir():
    path.write_bytes(path.read_bytes()[:-9])
  run(systems=["chamfer"], output=work / "again.json")
  (row,) = json.loads((work / "again.json").read_text())["rows"]
  expected = next(row for row in report["rows"] if row["name"] == "chamfer")
  assert row["hard"] == expected["hard"]


def test_an_unknown_system_is_refused_before_the_work(run):
  with pytest.raises(InputError, match="'none', which is none of global, global\\+rerank"):
    run(systems=["none"])


def test_only_rows_are_shown(run):
  with pytest.raises(InputError, match="--shown has 'asmk', which is none of the rows: l2g"):
    run(systems=["l2g"], shown="asmk")


def test_rows_without_weights_say_what_makes_them(run):
  with pytest.raises(InputError, match=r"'bilstm': `python -m experiments.train_lists` makes its"):
    run(systems=["bilstm"])
  with pytest.raises(InputError, match=r"no weights at nowhere; `python -m experiments.train_sim"):
    run(systems=["learned"], learned="nowhere")
  left = [system.name for system in make_systems() if system.missing is not None]
  assert left == ["learned", "chamfer+learned", "l2g by learned", "bilstm"]


def test_names_of_systems_are_unique():
  names = [system.name for system in make_systems()]
  assert len({*names}) == len(names)
  assert {*SYSTEMS} < {*names}


def test_the_sweep_covers_every_baseline_of_the_table():
  swept = {system.name for system in sweep.variants()}
  chosen = {system.name for system in make_systems()}
  # What is trained here has no settings to sweep.
  trained = {system.name for system in make_systems() if system.missing is not None}
  assert {name for name in chosen - swept - trained if not name.startswith("l2g")} == {
    "global+diffusion offline",
    "chamfer+diffusion offline",
  }


def test_the_best_setting_of_each_baseline_is_marked():
  rows = [
    {"system": "a", "mean": 1.0},
    {"system": "a", "mean": 3.0},
    {"system": "b", "mean": 2.0},
  ]
  sweep.mark_best(rows)
  assert [row.get("best") for row in rows] == [None, "best", "best"]

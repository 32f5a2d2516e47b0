import csv
import json

import pytest

from l2g_jax.cli import groups, main, pairs
from l2g_jax.errors import InputError
from tests.cli import toy
from tests.retriever.groups import pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("photos") / "jpg"
  (root / "below").mkdir(parents=True)
  whole = pictures.texture(11)
  whole.save(root / "whole.png")
  whole.crop((40, 30, 260, 200)).save(root / "below" / "crop.png")
  pictures.texture(12).save(root / "other.png")
  return root


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  return tmp_path_factory.mktemp("work")


def test_groups_are_printed_and_written(folder, work, tmp_path, capsys):
  flags = {"images": folder, "work_dir": work, "local": "sift"}
  toy.call(groups.COMMAND, **flags, output=tmp_path / "groups.json")
  printed = capsys.readouterr().out
  assert "* whole  (320 x 240" in printed
  assert "below/crop" in printed
  assert "): crop" in printed
  assert "1 groups of duplicates, 2 members; 3 images." in printed
  report = json.loads((tmp_path / "groups.json").read_text())
  (group,) = report["groups"]
  assert [member["name"] for member in group["members"]] == ["whole", "below/crop"]
  assert [member["is_best"] for member in group["members"]] == [True, False]
  assert group["relations"][0]["kind"] == "part"

  toy.call(groups.COMMAND, **flags, kind="insets")
  assert "0 groups of insets, 0 members; 3 images." in capsys.readouterr().out
  for ending in ("csv", "txt"):
    for _ in range(2):  # An earlier result is replaced.
      toy.call(groups.COMMAND, **flags, output=tmp_path / f"groups.{ending}")
  rows = list(csv.DictReader((tmp_path / "groups.csv").read_text().splitlines()))
  assert [(row["name"], row["relation"], row["to"]) for row in rows] == [
    ("whole", "", ""),
    ("below/crop", "crop", "whole"),
  ]
  assert "* whole" in (tmp_path / "groups.txt").read_text()


def test_pairs_are_lines_of_paths(folder, work, tmp_path, capsys):
  flags = {"images": folder, "work_dir": work, "local": "sift"}
  output = tmp_path / "pairs.txt"
  toy.call(pairs.COMMAND, **flags, output=output)
  lines = ["below/crop.png other.png", "below/crop.png whole.png", "other.png whole.png"]
  assert set(output.read_text().splitlines()) <= set(lines)
  assert "below/crop.png whole.png\n" in output.read_text()
  toy.call(pairs.COMMAND, **flags, output=output, verified=True)
  assert output.read_text() == "below/crop.png whole.png\n"
  assert "1 pairs of 3 images" in capsys.readouterr().out


def test_names_that_a_line_can_not_hold_are_refused_before_the_work(tmp_path):
  (tmp_path / "jpg").mkdir()
  for name in ("a b.png", "line\nbreak.png", "plain.png"):
    pictures.texture(1).save(tmp_path / "jpg" / name)
  flags = {"images": tmp_path / "jpg", "work_dir": tmp_path / "work", "local": "sift"}
  with pytest.raises(InputError, match="2 paths have spaces or line breaks"):
    toy.call(pairs.COMMAND, **flags, output=tmp_path / "pairs.txt")
  assert not (tmp_path / "work").exists()


def test_other_files_and_endings_are_refused(folder, tmp_path):
  (tmp_path / "mine.csv").write_text("my,own\n")
  (tmp_path / "mine.txt").write_text("A letter to a friend.\n")
  flags = {"images": folder, "work_dir": tmp_path / "work", "local": "sift"}
  with pytest.raises(InputError, match="no earlier result"):
    toy.call(groups.COMMAND, **flags, output=tmp_path / "mine.csv")
  with pytest.raises(InputError, match="no earlier result"):
    toy.call(pairs.COMMAND, **flags, output=tmp_path / "mine.txt")
  with pytest.raises(InputError, match="must end in"):
    toy.call(groups.COMMAND, **flags, output=tmp_path / "groups.xml")


@pytest.mark.fast
def test_the_command_lists_both(capsys):
  main.main(["--help"])
  printed = capsys.readouterr().out
  assert "  groups  " in printed
  assert "  pairs  " in printed

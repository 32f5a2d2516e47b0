import csv
import dataclasses
import json
import re

import pytest

from l2g_jax.errors import InputError
from l2g_jax.report import Section, Text, folder, page, write_report
from l2g_jax.runtime import files
from tests.report import samples

pytest.importorskip("matplotlib")


def write(path, parts, **changes):
  values = {"data": {}, "fingerprint": {}, **changes}
  write_report(path, "A report", [Section("Part", parts)], **values)


def content(path):
  """All files of a report but its lock, by name."""
  found = (file for file in path.rglob("*") if file.is_file() and file.name != files.LOCK)
  return {str(file.relative_to(path)): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  path = tmp_path_factory.mktemp("whole")
  samples.write(path)
  return path


@pytest.mark.fast
def test_words_of_others_are_shown_as_text(whole):
  page = (whole / "index.html").read_text(encoding="utf-8")
  assert "<img" not in page
  assert "&lt;img src=x onerror=" in page
  assert "\\u003cimg src=x onerror=" in page
  assert page.count("<script") == page.count("</script>") == 1 + 1 + 3


def test_a_page_asks_for_nothing_from_elsewhere(whole):
  page = (whole / "index.html").read_text(encoding="utf-8")
  assert not re.search(r"https?:|@import|url\((?!#)|(?:src|href)=\W*//", page)
  assert "default-src 'none'" in page
  assert "unsafe" not in page


def test_a_picture_has_a_name_of_ours(whole):
  names = {file.name for file in (whole / "pictures").iterdir()}
  assert names == {f"browser-0-{number:05d}.jpg" for number in range(4)} | {
    f"browser-0-query-{number:04d}.jpg" for number in range(3)
  }


def test_a_table_is_csv_and_all_else_json(whole):
  with (whole / "a-table.csv").open(encoding="utf-8", newline="") as file:
    rows = [*csv.reader(file)]
  assert rows == [
    ["name", "value", samples.EVIL],
    ["b", "2.0", "10"],
    [samples.EVIL, "", "9"],
    ["a", "-1.25", ""],
    ["c", "0.5", "11"],
  ]
  report = files.read_manifest(whole / "report.json")
  assert report["data"] == {"rows": [1]}
  assert report["fingerprint"] == samples.FINGERPRINT
  assert set(report["files"]) | {"report.json"} == set(content(whole))


def test_ranked_lists_are_csv(whole):
  with (whole / "ranked-lists.csv").open(encoding="utf-8", newline="") as file:
    rows = [*csv.DictReader(file)]
  assert len(rows) == 3 * 2 * 4
  wanted = {"list": "l2g", "rank": "2", "image": samples.EVIL, "label": "hard", "change": "-1"}
  assert wanted.items() <= rows[5].items()
  with (whole / "ranked-lists-positives.csv").open(encoding="utf-8", newline="") as file:
    rows = [*csv.DictReader(file)]
  assert (rows[0]["image"], rows[0]["chamfer"], rows[0]["l2g"]) == ("one", "4", "1")


def test_tables_of_one_title_have_files_of_their_own(tmp_path):
  write(tmp_path, [samples.table(), samples.table(rows=[]), samples.table(title="/ \u00e9 ..")])
  assert {path.name for path in tmp_path.glob("*.csv")} == {
    "a-table.csv",
    "a-table-2.csv",
    "table.csv",
  }


def test_names_that_are_no_text_are_written(tmp_path):
  write(tmp_path, [samples.table(rows=[("odd-\udcff", 1.0, 1)])])
  assert b"odd-\xff" in (tmp_path / "a-table.csv").read_bytes()
  assert "odd-\\udcff" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.fast
def test_a_folder_of_other_files_is_refused(tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  for refused in (tmp_path, tmp_path / "notes.txt"):
    with pytest.raises(InputError, match=r"name (another|a) folder"):
      folder.check_folder(refused)
    with pytest.raises(InputError, match=r"name (another|a) folder"):
      write(refused, [])
  (tmp_path / "json").mkdir()
  (tmp_path / "json" / "report.json").write_text(json.dumps({"kind": "theirs"}))
  with pytest.raises(InputError, match="holds files that are no report"):
    write(tmp_path / "json", [])
  assert content(tmp_path).keys() == {"notes.txt", "json/report.json"}


def test_files_of_others_in_a_report_stay(tmp_path):
  write(tmp_path, [samples.table()])
  (tmp_path / "notes.txt").write_text("mine")
  (tmp_path / "theirs.csv").write_text("mine")
  write(tmp_path, [Text("shorter")])
  assert not (tmp_path / "a-table.csv").exists()
  with pytest.raises(InputError, match=r"theirs\.csv is no file of a report"):
    write(tmp_path, [samples.table(title="Theirs")])
  assert (tmp_path / "notes.txt").read_text() == (tmp_path / "theirs.csv").read_text() == "mine"


def test_a_damaged_list_of_files_removes_nothing_of_others(tmp_path):
  path = tmp_path / "report"
  write(path, [samples.table()])
  (tmp_path / "precious.csv").write_text("mine")
  body = files.read_manifest(path / "report.json")
  files.write_manifest(path / "report.json", body | {"files": [*body["files"], "../precious.csv"]})
  write(path, [])
  assert (tmp_path / "precious.csv").read_text() == "mine"


def test_a_report_that_was_interrupted_is_finished(tmp_path, monkeypatch):
  parts = [Section("Lists", [samples.table(), samples.browser()])]
  samples.write(tmp_path / "whole", parts)
  write_whole, written = files.atomic_path, []

  def interrupted(path):
    written.append(path)
    if len(written) == limit:
      raise KeyboardInterrupt
    return write_whole(path)

  for limit in (1, 2, 6, 11):
    path = tmp_path / f"part-{limit}"
    written.clear()
    # Manifests are written by another module's name of the same function.
    monkeypatch.setattr("l2g_jax.runtime.manifests.atomic_path", interrupted)
    monkeypatch.setattr(files, "atomic_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
      samples.write(path, parts)
    assert not (path / "index.html").exists()
    monkeypatch.undo()
    samples.write(path, parts)
    assert content(path) == content(tmp_path / "whole")


def test_a_page_that_is_there_is_whole(tmp_path, monkeypatch):
  write(tmp_path, [samples.table()])

  def interrupted(path):
    raise KeyboardInterrupt

  monkeypatch.setattr(files, "atomic_path", interrupted)
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, [samples.table(title="Another")])
  assert not (tmp_path / "index.html").exists()


def test_what_is_no_number_is_missing(tmp_path):
  write(tmp_path, [samples.table(rows=[("a", float("nan"), None)])])
  assert (tmp_path / "a-table.csv").read_text().splitlines()[1] == "a,,"
  page = (tmp_path / "index.html").read_text(encoding="utf-8")
  assert page.count(">-</td>") == 2
  assert "nan" not in page.partition("<tbody>")[2].partition("</tbody>")[0]


def test_settings_are_a_table_of_names_and_values(tmp_path):
  settings = {"k": 7, "method": {"beta": 0.5, "name": None, "more": {}}}
  write(tmp_path, [], fingerprint={"all": "0123", "settings": settings})
  page = (tmp_path / "index.html").read_text(encoding="utf-8")
  for name, value in (
    ("k", "7"),
    ("method.beta", "0.5"),
    ("method.name", "-"),
    ("method.more", "-"),
  ):
    assert re.search(rf'<th scope="row"[^>]*>{name}</th><td[^>]*>{value}</td>', page)
  assert "{&quot;" not in page


def test_marked_rows_and_links_are_on_the_page(tmp_path):
  write(tmp_path, [samples.table(links=["query-1", "query-0", "query-2", "query-2"])])
  page = (tmp_path / "index.html").read_text(encoding="utf-8")
  assert page.count('<tr class="marked">') == 1
  assert '<a href="#query-0">&lt;img' in page
  assert ">2.00</td>" in page
  assert ">-</td>" in page


def page_of(sections, fingerprint):
  return page.render("A page", sections, fingerprint=fingerprint, notice=None, files=[])


def test_a_table_of_three_rows_is_not_sorted():
  rows = samples.table().rows
  for count in (3, 4):
    text = page_of([Section("One", [samples.table(rows=rows[:count])])], {})
    assert ('<table class="sortable">' in text) == (count > 3)
    assert ('<button type="button" title="its value">value</button>' in text) == (count > 3)
    assert ('<span title="its value">value</span>' in text) == (count == 3)


def test_the_page_tells_what_the_fingerprint_covers():
  made = {"all": "0123", "images": "a", "ground_truth": "b", "settings": {"k": 7}}
  text = page_of([], made)
  assert "one checksum of all inputs: images and ground truth. Two runs may be compared" in text
  assert "not in it: compare them separately, under Settings." in text
  assert "under Settings" not in page_of([], {"all": "0123", "images": "a"})
  assert "What the figures were made from." in page_of([], {"seed": 1})


def test_blocks_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    samples.table().title = "another"  # pyright: ignore[reportAttributeAccessIssue]

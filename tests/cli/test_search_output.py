import csv
import io
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from l2g_jax.cli import search, search_output
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.retriever import Result, Results
from l2g_jax.retriever.matched import View
from l2g_jax.retriever.photo_search import read_query

NAMES = ["=HYPERLINK(1)", " @a", "-1+2", "plain, <b>", "odd-\udcff"]


@pytest.fixture
def query(tmp_path):
  path = tmp_path / "query.png"
  Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path)
  return read_query(path, None)


def render(form, query, box=None):
  images = [
    Result(name, pathlib.Path("/nowhere") / name, rank, -0.5, 0.25, {"chamfer": 1, "global": 2})
    for rank, name in enumerate(NAMES, start=1)
  ]
  none = Ranked(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32))
  view = View((), query.photograph.size, box)
  found = Results(tuple(images), ("A <remark>.",), 0.9, 7, view, none)
  return search_output.render(form, query, box, found, {"seconds": {}})


def test_no_cell_of_a_csv_is_a_formula(query):
  rows = [*csv.DictReader(io.StringIO(render("csv", query)))]
  assert [row["name"] for row in rows] == [
    "'=HYPERLINK(1)",
    "' @a",
    "'-1+2",
    "plain, <b>",
    "odd-\udcff",
  ]
  # Numbers below 0 stay numbers, and what is not there stays empty.
  assert {(row["score"], row["copy"]) for row in rows} == {("-0.5", "")}


def test_json_has_names_as_they_are(query):
  made = json.loads(render("json", query, (1.0, 2.0, 30.0, 20.0)))
  assert [row["name"] for row in made["results"]] == NAMES
  assert made["box"] == [1.0, 2.0, 30.0, 20.0]


def test_a_page_is_one_file_of_escaped_words(query):
  page = render("html", query, (1.0, 2.0, 30.0, 20.0))
  assert "plain, &lt;b&gt;" in page
  assert "A &lt;remark&gt;." in page
  assert not re.findall(r"(?:src|href)=.(?!data:image/jpeg;base64,)", page)
  assert page.count("<img") == 1 + len(NAMES)
  assert 'points="2.50,6.67 75.00,6.67 75.00,66.67 2.50,66.67"' in page
  page.encode()


@pytest.mark.parametrize(
  ("name", "form"), [("a.CSV", "csv"), ("a.html", "html"), ("a.htm", "html"), ("a", "json")]
)
def test_the_ending_says_the_form_and_only_files_of_ours_are_replaced(tmp_path, query, name, form):
  path = str(tmp_path / name)
  assert search_output.form_of(path) == form
  search_output.check(path)
  search_output.write(path, render(form, query))
  search_output.check(path)
  pathlib.Path(path).write_text("my own notes")
  with pytest.raises(InputError, match="is there and no earlier result, so it stays"):
    search_output.check(path)


def test_two_forms_are_refused():
  values, _ = search.COMMAND.parse(["photos", "a.jpg", "--json", "--html"])
  with pytest.raises(InputError, match="--json and --html are two forms"):
    search.main(values)

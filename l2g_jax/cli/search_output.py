"""What a search leaves for other programs and people: JSON, CSV, or a page of one file."""

import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from l2g_jax.cli.command import check_file
from l2g_jax.data.images import Box
from l2g_jax.report import search_page, spreadsheet
from l2g_jax.retriever import Result, Results
from l2g_jax.retriever.photo_search import Query
from l2g_jax.runtime import files

Form = Literal["json", "csv", "html"]
FORMS: tuple[Form, ...] = get_args(Form)

_ENDINGS: Mapping[str, Form] = {".csv": "csv", ".html": "html", ".htm": "html"}
_COLUMNS = ("rank", "name", "path", "score", "similarity", "chamfer_rank", "global_rank", "copy")
# What an earlier file of ours begins with.
_HEADS = {
  "json": b"{",
  "csv": ",".join(_COLUMNS).encode(),
  "html": b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
  b'<meta name="generator" content="l2g search">',
}


def form_of(path: str) -> Form:
  """Returns the form of a file by its ending; JSON where it has another one."""
  return _ENDINGS.get(pathlib.Path(path).suffix.lower(), "json")


def check(path: str) -> None:
  """Refuses, before the work, a file that could not be written after it, or that would be lost."""
  head = _HEADS[form_of(path)]

  def is_ours(there: pathlib.Path) -> bool:
    with there.open("rb") as file:
      return file.read(len(head)) == head

  check_file(path, is_ours)


def render(
  form: Form, query: Query, box: Box | None, found: Results, more: Mapping[str, Any]
) -> str:
  """Returns the results as text.

  Args:
    form: of the text.
    query: the photograph that was searched for.
    box: the part of it; None = all of it.
    found: the results.
    more: further values, which JSON alone has.
  """
  if form == "html":
    return search_page.render(query, box, found.images, found.remarks)
  rows = [_to_json(result) for result in found]
  if form == "csv":
    text = io.StringIO()
    spreadsheet.write_csv(text, _COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])
    return text.getvalue()
  values = {"query": str(query.path), "box": box, "w": found.weight, "results": rows, **more}
  return json.dumps(values, indent=2) + "\n"


def write(path: str, text: str) -> None:
  """Writes a text, whole or not at all."""
  with (
    files.atomic_path(path) as temporary,
    temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
  ):
    file.write(text)


def _to_json(result: Result) -> dict[str, Any]:
  return {
    "name": result.name,
    "path": str(result.path),
    "rank": result.rank,
    "score": result.score,
    "similarity": result.similarity,
    "copy": result.copy,
    **{f"{stage}_rank": rank for stage, rank in result.ranks.items()},
  }

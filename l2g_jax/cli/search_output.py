"""What a search leaves for other programs and people: JSON, CSV, or a page of one file."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from l2g_jax.cli.command import check_file
from l2g_jax.data.images import Box
from l2g_jax.report import search_page, spreadsheet
from l2g_jax.report.pictures import QUERY_SIDE, read_picture
from l2g_jax.retriever import Result, Results
from l2g_jax.retriever.photo_search import Query
from l2g_jax.runtime import files
from l2g_jax.runtime.threads import in_threads

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
    return _page(query, box, found)
  rows = [_to_json(result) for result in found]
  if form == "csv":
    return spreadsheet.csv_text(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])
  values = {"query": str(query.path), "box": box, "w": found.weight, "results": rows, **more}
  return json.dumps(values, indent=2) + "\n"


def write(path: str, text: str) -> None:
  """Writes a text, whole or not at all."""
  with (
    files.atomic_path(path) as temporary,
    temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
  ):
    file.write(text)


def _page(query: Query, box: Box | None, found: Results) -> str:
  height, width = query.photograph.size
  region = None
  if box is not None:
    region = [(x / width, y / height) for x, y in search_page.corners(box)]
  asked = read_picture(query.path.name, query.path, side=QUERY_SIDE)
  pictures = in_threads(lambda result: read_picture(result.name, result.path), found.images)
  tiles = [
    search_page.Tile(result.name, picture.jpeg, lines=_lines(result))
    for result, picture in zip(found, pictures, strict=True)
  ]
  return search_page.render(
    search_page.Tile(query.path.name, asked.jpeg, region), tiles, found.remarks
  )


def _lines(result: Result) -> list[str]:
  score = "not re-ranked" if result.score is None else f"score {result.score:.3f}"
  return [
    f"{score}, similarity {result.similarity:.4f}",
    ", ".join(f"{stage} {rank}" for stage, rank in result.ranks.items()),
    *([result.copy] if result.copy else []),
  ]


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

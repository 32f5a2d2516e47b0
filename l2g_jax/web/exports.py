"""Results as files to take away: tables, pairs for other programs, a sheet, a page."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from l2g_jax.data.image_names import printable
from l2g_jax.report import search_page, spreadsheet
from l2g_jax.report.contact_sheet import Tile, save_contact_sheet
from l2g_jax.retriever.results import Result
from l2g_jax.web.failures import Refusal
from l2g_jax.web.pictures import Pictures
from l2g_jax.web.searching import Overlap, Search

_SIDE = 256

_COLUMNS = (
  "rank",
  "name",
  "file",
  "score",
  "similarity",
  "rank_local",
  "rank_global",
  "copy",
  "found",
)


def table(search: Search, results: Sequence[Result], overlaps: Sequence[Overlap | None]) -> str:
  """Returns results as CSV; `found` is how many points agree where the part was located."""
  rows = (
    (
      result.rank,
      printable(result.name),
      _file(search, result.path),
      "" if result.score is None else f"{result.score:.6f}",
      f"{result.similarity:.6f}",
      result.ranks["chamfer"],
      result.ranks["global"],
      result.copy or "",
      "" if overlap is None or overlap.region is None else len(overlap.lines),
    )
    for result, overlap in zip(results, overlaps, strict=True)
  )
  return spreadsheet.csv_text(_COLUMNS, rows)


def document(search: Search, results: Sequence[Result], overlaps: Sequence[Overlap | None]) -> str:
  """Returns the query and results, with the regions in them, as JSON."""
  query = search.query
  content = {
    "query": {
      "name": query.picture.name,
      "box": query.box,
      "turn": query.turn,
      "mirror": query.mirror,
    },
    "generation": search.state.generation,
    "num_images": search.state.num_readable,
    "weight": search.results.weight,
    "remarks": list(search.results.remarks),
    "results": [
      {
        "id": search.state.ids[search.state.numbers[result.name]],
        "name": printable(result.name),
        "file": _file(search, result.path),
        "rank": result.rank,
        "score": result.score,
        "similarity": result.similarity,
        "ranks": dict(result.ranks),
        "copy": result.copy,
        "region": None if overlap is None or overlap.region is None else overlap.region.tolist(),
        "inliers": 0 if overlap is None else len(overlap.lines),
      }
      for result, overlap in zip(results, overlaps, strict=True)
    ],
  }
  return json.dumps(content, indent=2)


def pairs(search: Search, results: Sequence[Result]) -> str:
  """Returns the file of the query and that of a result, a pair a line, as COLMAP and hloc read."""
  picture = search.query.picture
  query = _file(search, picture.path) if not picture.id.startswith("u-") else picture.name
  return write_pairs((query, _file(search, result.path)) for result in results)


def sheet(search: Search, results: Sequence[Result], file: pathlib.Path) -> bytes:
  """Returns a contact sheet of the query and results as a PNG.

  Args:
    search: that was done.
    results: of it.
    file: of the query as it is displayed.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "sheet.png"
    tiles = [
      Tile(result.path, [f"{result.rank}. {result.name}", *_lines(result)]) for result in results
    ]
    query = Tile(file, ["query", search.query.picture.name])
    save_contact_sheet(path, query, search.results.query.box, tiles)
    return path.read_bytes()


def page(
  search: Search,
  results: Sequence[Result],
  overlaps: Sequence[Overlap | None],
  pictures: Pictures,
) -> str:
  """Returns a page in one file: the query and results as pictures, the regions drawn on them."""
  query = search.query
  shown = pictures.reduced(query.picture, _SIDE, query.turn, mirror=query.mirror)
  region = None if query.box is None else search_page.corners(query.box)
  found = {picture.path: picture for picture in pictures.present()}
  tiles = []
  for result, overlap in zip(results, overlaps, strict=True):
    content = None
    # The file may be gone, or damaged.
    with contextlib.suppress(KeyError, Refusal):
      content = pictures.reduced(found[result.path], _SIDE, 0, mirror=False)
    part = None if overlap is None or overlap.region is None else overlap.region.tolist()
    tiles.append(search_page.Tile(result.name, content, part, _lines(result)))
  return search_page.render(
    search_page.Tile(query.picture.name, shown, region), tiles, search.results.remarks
  )


def write_pairs(rows: Any) -> str:
  """Returns pairs of names, one a line."""
  return "".join(f"{printable(first)} {printable(second)}\n" for first, second in rows)


def below(path: pathlib.Path, root: pathlib.Path) -> str:
  """Returns the path of a file below a folder, or its own where it lies elsewhere."""
  shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)
  return printable(shown)


def _file(search: Search, path: pathlib.Path) -> str:
  return below(path, search.root)


def _lines(result: Result) -> list[str]:
  score = "not re-ranked" if result.score is None else f"score {result.score:.3f}"
  return [
    f"{score}, similarity {result.similarity:.4f}",
    f"local {result.ranks['chamfer']}, global {result.ranks['global']}",
  ]

"""Reports that are small and hold words that a page must not take for its own."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from l2g_jax.report import Cell, Column, Plot, Section, Table, Text, plots, write_report
from l2g_jax.report.blocks import Browser, Fallen, Matches, Picture, Query, Result, Terms

EVIL = "<img src=x onerror=\"document.title='taken'\">"
FINGERPRINT = {"all": "0123", "settings": {"k": 7, "name": EVIL}}


def picture(name: str, colour: tuple[int, int, int], size: tuple[int, int] = (30, 40)) -> Picture:
  file = io.BytesIO()
  Image.new("RGB", (size[1], size[0]), colour).save(file, format="JPEG")
  return Picture(name, file.getvalue(), size)


def browser() -> Browser:
  """Three queries of four images; the first loses most."""
  images = [
    picture(name, (50 * n, 90, 90)) for n, name in enumerate(["one", EVIL, "three", "four"])
  ]
  results = [
    Result(0, "easy", 0.5, 2),
    Result(1, "hard", None, -1),
    Result(2, "junk", 0.25, 0),
    Result(3, "negative", 0.125, 3),
  ]
  found = Matches(5, np.array([[100, 100, 200, 200], [900, 900, 800, 800]]))
  queries = [
    Query(
      picture(f"query {number} {EVIL}", (90, 50 * number, 90)),
      (5.0, 5.0, 35.0, 25.0),
      [("AP", f"{number}0.0")],
      {"chamfer": results[::-1], "l2g": results},
      [(0, "easy", (4, 1)), (1, "hard", (12, 2))],
      {0: found, 1: Matches(0, np.zeros((0, 4), int))},
      [Fallen(results[0], 40, EVIL, [f"Fact {EVIL}"])] if number else [],
    )
    for number in range(3)
  ]
  orders = {"loss": [2, 0, 1], "data set": [0, 1, 2]}
  return Browser(
    "Ranked lists",
    images,
    ["chamfer", "l2g"],
    "chamfer",
    queries,
    orders,
    EVIL,
    scores={"l2g": "L2G score"},
    scales={"L2G score": EVIL},
    least_matches=5,
  )


def table(**changes: object) -> Table:
  rows: list[tuple[Cell, ...]] = [
    ("b", 2.0, 10),
    (EVIL, None, 9),
    ("a", -1.25, None),
    ("c", 0.5, 11),
  ]
  columns = [Column("name"), Column("value", 2, "its value"), Column(EVIL)]
  stands_out = {"marked": [1], "bests": [1]}
  return Table(**{"title": "A table", "columns": columns, "rows": rows, **stands_out, **changes})


def sections() -> list[Section]:
  series = {"one": ([1, 10, 100], [1.0, 2.0, 3.0]), "two": ([1, 10, 100], [3.0, 2.0, 1.0])}
  svg = plots.lines(series, x="k", y="mAP", log_x=True, mark_x=10)
  links = ["query-1", "query-0", "query-2", "query-2"]
  return [
    Section(EVIL, [Text(EVIL), table(links=links), Plot(EVIL, svg, EVIL)]),
    Section("Queries", [browser(), table(title="Long", rows=[("a", 1.0, 1)] * 25, marked=[])]),
    Section("Words", [Terms("Terms", {EVIL: EVIL})]),
  ]


def write(folder: pathlib.Path, parts: Sequence[Section] | None = None) -> None:
  values = {"data": {"rows": [1]}, "fingerprint": FINGERPRINT, "notice": EVIL}
  write_report(folder, EVIL, sections() if parts is None else parts, **values)

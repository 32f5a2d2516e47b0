"""Tables as CSV that a spreadsheet opens without running any of it."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TextIO

from l2g_jax.report.blocks import Cell, is_missing

# With these a spreadsheet begins a formula, also behind white space.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(file: TextIO, names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
  """Writes a table; a text that a spreadsheet would take for a formula gets an apostrophe.

  Args:
    file: opened with `newline=""`.
    names: of the columns.
    rows: of as many cells each.
  """
  writer = csv.writer(file)
  writer.writerow(map(_safe, names))
  writer.writerows(map(_safe, row) for row in rows)


def csv_text(names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
  """Returns a table as `write_csv` writes it."""
  text = io.StringIO(newline="")
  write_csv(text, names, rows)
  return text.getvalue()


def _safe(cell: Cell) -> Cell:
  if is_missing(cell):
    return None
  return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA) else cell

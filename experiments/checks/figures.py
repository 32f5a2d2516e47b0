"""Compares the tables of a run with expected ones, figure by figure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# By title: `columns`, their names, and `rows` of as many cells; see `outputs.data_of`.
Tables = Mapping[str, Mapping[str, Any]]


def differences(found: Tables, expected: Tables, tolerances: Mapping[str, float]) -> Iterator[str]:
  """Yields a sentence for every figure that left its tolerance, and for every one that is missing.

  A row is known by its first cell. Columns without a tolerance, such as seconds, are not compared.

  Args:
    found: tables of a run.
    expected: likewise; further tables and rows may be found.
    tolerances: by regular expression of a column's whole name, the first that fits, the greatest
      difference that is none.
  """
  for title, table in expected.items():
    if title not in found:
      yield f"{title}: the table is missing."
      continue
    rows = _by_name(found[title])
    for name, row in _by_name(table).items():
      if name not in rows:
        yield f"{title}, {name}: the row is missing."
        continue
      for column, value in row.items():
        tolerance = _tolerance(column, tolerances)
        if tolerance is not None:
          own = rows[name].get(column)
          yield from _compare(f"{title}, {name}, {column}", own, value, tolerance)


def comparable(tables: Tables, tolerances: Mapping[str, float]) -> dict[str, dict[str, Any]]:
  """Returns tables with the first column and those that have a tolerance, if there are any."""
  kept = {}
  for title, table in tables.items():
    columns, rows = table["columns"], table["rows"]
    chosen = [
      number
      for number, column in enumerate(columns)
      if not number or _tolerance(column, tolerances) is not None
    ]
    if len(chosen) > 1:
      kept[title] = {
        "columns": [columns[number] for number in chosen],
        "rows": [[row[number] for number in chosen] for row in rows],
      }
  return kept


def _by_name(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Returns rows by their first cell, each its other cells by column."""
  _, *columns = table["columns"]
  return {str(name): dict(zip(columns, cells, strict=True)) for name, *cells in table["rows"]}


def _tolerance(column: str, tolerances: Mapping[str, float]) -> float | None:
  return next(
    (value for pattern, value in tolerances.items() if re.fullmatch(pattern, column)), None
  )


def _compare(name: str, found: Any, expected: Any, tolerance: float) -> Iterator[str]:
  if found is None or expected is None:
    if found is not expected:
      yield f"{name}: {_text(found)} in place of {_text(expected)}."
  elif abs(found - expected) > tolerance:
    yield (
      f"{name}: {_text(found)} in place of {_text(expected)}, further than the tolerance of"
      f" {tolerance:g}."
    )


def _text(value: Any) -> str:
  return "nothing" if value is None else f"{value:.4g}"

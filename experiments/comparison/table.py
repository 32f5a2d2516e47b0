"""The table of a comparison: measured rows, and published figures in columns of their own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.comparison.published import PUBLISHED
from l2g_jax.evaluation import PROTOCOLS

# Width of the first column; the units of the last ones.
_NAME, _UNITS = 28, ("s a query", "s once", "kB an image")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], notice: str | None) -> None:
  """Prints the measured rows.

  Args:
    title: of the data set.
    rows: of the report, in order.
    notice: a sentence that a reader must not miss; None = none.
  """
  print(f"\n{title}: mAP in percent")
  if notice:
    print(notice)
  head = "".join(f"{name:>9}" for name in PROTOCOLS) + "".join(f"{unit:>13}" for unit in _UNITS)
  print(f"{'system':{_NAME}}{head}")
  for row in rows:
    print_row(row)
  print(
    "Seconds a query: of the search and the system, without extraction of the query's features and"
    " without compilation."
  )


def print_row(row: Mapping[str, Any]) -> None:
  """Prints one measured row."""
  figures = "".join(f"{_figure(row[protocol]['map']):>9}" for protocol in PROTOCOLS)
  name = row["name"] + (f" (w={row['w']:g})" if "w" in row else "")
  print(
    f"{name:{_NAME}}{figures}{row['seconds_a_query']:13.3f}{row['seconds_once']:13.1f}"
    f"{row['bytes_an_image'] / 1000.0:13.1f}",
    flush=True,
  )


def print_published() -> None:
  """Prints the published figures."""
  print("\nPublished mAP, medium / hard, of other features on other images than those above:")
  print(f"{'system':{_NAME}}{'ROxford':>14}{'RParis':>14}  source; training set")
  for entry in PUBLISHED:
    print(
      f"{entry.system:{_NAME}}{_pair(entry.roxford):>14}{_pair(entry.rparis):>14}  {entry.source};"
      f" {entry.training}"
    )


def published_rows() -> list[dict[str, Any]]:
  """Returns the published figures as JSON."""
  return [dataclasses.asdict(entry) for entry in PUBLISHED]


def _figure(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f}"


def _pair(pair: tuple[float | None, float | None]) -> str:
  return " / ".join(_figure(value) for value in pair)

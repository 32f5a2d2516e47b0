"""The sections of a comparison: measured rows, a plot of them, and published figures apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.comparison.published import PUBLISHED
from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.report import Cell, Column, Plot, Section, Table, plots

# The row that stands out.
_CHOSEN = "l2g"


def make_sections(rows: Sequence[Mapping[str, Any]], *, has_plots: bool) -> list[Section]:
  """Returns the measured rows, and the published ones in a section of their own.

  Args:
    rows: of the systems, in order.
    has_plots: whether a plot stands below the table, which needs Matplotlib.
  """
  blocks = [_measured(rows), *([_plot(rows)] if has_plots else [])]
  return [Section("Systems", blocks), Section("Published", [_published()])]


def print_row(row: Mapping[str, Any]) -> None:
  """Prints a row as soon as it is measured."""
  figures = ", ".join(f"{name} {_figure(row[name]['map'])}" for name in PROTOCOLS)
  print(f"  mAP {figures}; {row['seconds_a_query']:.3f} s a query", flush=True)


def published_rows() -> list[dict[str, Any]]:
  """Returns the published figures as JSON."""
  return [dataclasses.asdict(entry) for entry in PUBLISHED]


def _measured(rows: Sequence[Mapping[str, Any]]) -> Table:
  columns = [
    Column("system"),
    *(Column(name, 1, f"mAP in percent, {name}") for name in PROTOCOLS),
    Column("w", 2, "weight of the embedding, where the system has one"),
    Column("s a query", 3, "of the search and the system"),
    Column("s once", 1, "made beforehand for the whole collection"),
    Column("kB an image", 1, "that a query needs at hand"),
  ]
  cells: list[list[Cell]] = [
    [
      row["name"],
      *(row[name]["map"] for name in PROTOCOLS),
      row.get("w"),
      row["seconds_a_query"],
      row["seconds_once"],
      row["bytes_an_image"] / 1000.0,
    ]
    for row in rows
  ]
  note = (
    "mAP in percent. Seconds a query: of the search and the system, without extraction of the"
    " query's features and without compilation."
  )
  marked = [number for number, row in enumerate(rows) if row["name"] == _CHOSEN]
  return Table("Measured", columns, cells, note, marked)


def _plot(rows: Sequence[Mapping[str, Any]]) -> Plot:
  """Returns hard mAP against seconds a query, by what a system begins with."""
  groups: dict[str, tuple[list[float], list[float]]] = {}
  for row in rows:
    # A search by global features alone may take less than the clock tells.
    if row["hard"]["map"] is not None and row["seconds_a_query"] > 0.0:
      xs, ys = groups.setdefault(_family(row["name"]), ([], []))
      xs.append(row["seconds_a_query"])
      ys.append(row["hard"]["map"])
  svg = plots.scatter(groups, x="seconds a query", y="hard mAP, percent", log_x=True)
  note = "A point is a system: higher is better, further to the left is quicker."
  return Plot("Hard mAP and seconds a query", svg, note)


def _family(name: str) -> str:
  """Returns the first word of a system's name, such as `chamfer`."""
  return name.replace("+", " ").replace(",", " ").split()[0]


def _published() -> Table:
  columns = [
    Column("system"),
    *(Column(f"{name}, {protocol}", 1) for name in ("ROxf", "RPar") for protocol in ("M", "H")),
    Column("source"),
    Column("training set"),
  ]
  cells: list[list[Cell]] = [
    [entry.system, *entry.roxford, *entry.rparis, entry.source, entry.training]
    for entry in PUBLISHED
  ]
  note = "mAP in percent, medium and hard, of other features on other images than those above."
  return Table("Published mAP", columns, cells, note)


def _figure(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f}"

"""Sweeps as tables and plots, with the default and the knee marked."""

from collections.abc import Mapping
from typing import Any

from experiments.ablations.cell import Cell, Value
from experiments.ablations.cells import Row
from experiments.ablations.sweep import Sweep
from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.report import Column, Plot, Section, Table, plots

# Points of mAP below the best of a sweep that the knee may have.
KNEE = 0.5
KNEE_RULE = (
  f"The knee is the least k whose mean of medium and hard mAP is within {KNEE:g} points of the best"
  " of the sweep."
)
# Sweeps whose latency is drawn against their mAP.
_OF_LATENCY = ("k", "rtol", "m")

_COLUMNS = (
  *(Column(name, 2, f"mAP in percent, {name} protocol") for name in PROTOCOLS),
  Column("search s", 3, "seconds a query of the local search"),
  Column("re-ranking s", 3, "seconds a query of embedding, fusion and re-ranking"),
  Column("iterations", 1, "of SMACOF, the mean over queries"),
  Column("stress", 4, "normalised stress-1, the mean over queries"),
  Column("converged %", 0, "queries whose stress settled"),
  Column("mark", None, "default: the value of the flags"),
)


def find_knee(rows: Mapping[Value, Row]) -> Value | None:
  """Returns the knee of a sweep over k, see `KNEE_RULE`; None where no query has positives."""
  means = {
    value: 0.5 * (row["medium"] + row["hard"])
    for value, row in rows.items()
    if row["medium"] is not None and row["hard"] is not None
  }
  if not means:
    return None
  least = max(means.values()) - KNEE
  return min(value for value, mean in means.items() if mean >= least)


def make_section(
  sweep: Sweep,
  cells: Mapping[Value, Cell],
  rows: Mapping[Cell, Row],
  base: Cell,
  *,
  has_plots: bool,
) -> Section:
  """Returns the section of a sweep.

  Args:
    sweep: what was varied.
    cells: by value, in order.
    rows: of all cells.
    base: the settings of the flags.
    has_plots: whether it has plots, which need Matplotlib.
  """
  found = {value: rows[cell] for value, cell in cells.items()}
  own = sweep.read(base)
  marks = {value: "default" for value in cells if value == own}
  note = sweep.note
  if sweep.name == "k" and (knee := find_knee(found)) is not None:
    marks[knee] = "default, knee" if knee in marks else "knee"
    note = f"{KNEE_RULE} {note}"
  table = Table(
    sweep.title,
    [Column(sweep.name), *_COLUMNS],
    [_cells(value, row, marks.get(value, "")) for value, row in found.items()],
    note=note,
    marked=[number for number, value in enumerate(found) if value in marks],
  )
  drawn = _plots(sweep, found, own) if has_plots else []
  return Section(sweep.title, [table, *drawn])


def _cells(value: Value, row: Row, mark: str) -> list[Any]:
  shown = f"{value:g}" if isinstance(value, float) else value
  figures = [row[protocol] for protocol in PROTOCOLS]
  costs = [row[name] for name in ("search", "seconds", "iterations", "stress", "converged")]
  return [shown, *figures, *costs, mark]


def _plots(sweep: Sweep, rows: Mapping[Value, Row], own: Value) -> list[Plot]:
  finite = {v: row for v, row in rows.items() if sweep.is_numeric and float(v) < float("inf")}
  if len(finite) < 2:
    return []
  shown = [name for name in PROTOCOLS if all(row[name] is not None for row in finite.values())]
  xs = [float(value) for value in finite]
  drawn: list[Plot] = [
    Plot(
      f"mAP over {sweep.name}",
      plots.lines(
        {name: (xs, [row[name] for row in finite.values()]) for name in shown},
        x=sweep.title,
        y="mAP, percent",
        log_x=sweep.is_log and min(xs) > 0.0,
        mark_x=float(own) if float(own) in xs else None,
      ),
      "The upright line stands at the default.",
    )
  ]
  timed = [row for row in finite.values() if row["seconds"] is not None]
  if sweep.name in _OF_LATENCY and len(timed) > 1:
    seconds = [row["search"] + row["seconds"] for row in timed]
    drawn.append(
      Plot(
        f"mAP over latency, {sweep.name} varied",
        plots.lines(
          {name: (seconds, [row[name] for row in timed]) for name in shown},
          x="seconds a query, search and re-ranking",
          y="mAP, percent",
        ),
        f"A point is a value of {sweep.name}, from the least to the greatest.",
      )
    )
  return drawn

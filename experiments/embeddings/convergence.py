"""What convergence buys: mAP and seconds over the iterations of SMACOF."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.report import Cell, Column, Plot, Section, Table, plots

_PROTOCOLS = ("medium", "hard")
# As near as single precision and patience allow.
_CONVERGED = {"rtol": 1e-5, "max_iterations": 1000}


def variants(config: L2GConfig, iterations: Sequence[int]) -> Iterator[tuple[str, L2GConfig]]:
  """Yields a name and settings for each number of iterations, the flags' own, and convergence."""
  for count in iterations:
    yield f"{count}", dataclasses.replace(config, rtol=0.0, max_iterations=count)
  yield f"rtol {config.rtol:g}", config
  yield f"rtol {_CONVERGED['rtol']:g}", dataclasses.replace(config, **_CONVERGED)


def make_section(
  rows: Mapping[str, Sequence[Mapping[str, Any]]], own: str, *, has_plots: bool
) -> Section:
  """Returns mAP over iterations, at the weight of the flags and of the embedding alone.

  Args:
    rows: by the name of a variant, the figures of both weights.
    own: the name of the flags' own variant.
    has_plots: whether it has plots, which need Matplotlib.
  """
  cells: list[list[Cell]] = []
  for name, found in rows.items():
    first = found[0]
    figures = [row[protocol] for row in found for protocol in _PROTOCOLS]
    cells.append([name, *figures, first["iterations"], first["stress"], first["seconds"]])
  weights = [row["w"] for row in rows[own]]
  table = Table(
    "mAP over iterations",
    [
      Column("iterations until"),
      *(Column(f"{name}, w = {w:g}", 2) for w in weights for name in _PROTOCOLS),
      Column("iterations", 1, "the mean over queries"),
      Column("stress", 4, "normalised stress-1, the mean over queries"),
      Column("s a query", 3, "embedding, fusion and re-ranking, for both weights"),
    ],
    cells,
    note="0 iterations: the classical start. w = 1: the embedding alone.",
    marked=[list(rows).index(own)],
  )
  drawn = []
  if has_plots:
    series = {
      f"{protocol}, w = {weight:g}": (
        [row[number]["iterations"] + 1.0 for row in rows.values()],
        [row[number][protocol] for row in rows.values()],
      )
      for number, weight in enumerate(weights)
      for protocol in _PROTOCOLS
      if all(row[number][protocol] is not None for row in rows.values())
    }
    svg = plots.lines(
      {name: _by_x(*points) for name, points in series.items()},
      x="iterations, the mean over queries, and 1",
      y="mAP, percent",
      log_x=True,
    )
    drawn.append(Plot("What convergence buys", svg))
  return Section("What convergence buys", [table, *drawn])


def _by_x(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
  order = sorted(range(len(xs)), key=lambda number: xs[number])
  return [xs[number] for number in order], [ys[number] for number in order]

"""Measures cells of sweeps on a data set; what was measured before is kept."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from experiments.ablations.cell import Cell
from experiments.ablations.symmetry import combine, reverse_similarities, symmetric_lists
from experiments.kept import is_kept, keep
from experiments.material import Material
from experiments.measured import RERANKING, measure
from experiments.shortlists import Shortlists
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.retriever import candidates
from l2g_jax.runtime.progress import Meter

_VERSION = 1

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Ground:
  """A data set on which cells are measured.

  Attributes:
    given: the data set, by the kernel of the flags.
    every: every so manyth query is taken.
    open_kernel: makes the same ready by another kernel.
  """

  given: Material
  every: int
  open_kernel: Callable[[str], Material]

  def material(self, kernel: str) -> Material:
    """Returns the data set by a kernel."""
    if kernel == str(self.given.retriever.options.index.kernel):
      return self.given
    return self.given.keep(f"material {kernel}", lambda: self.open_kernel(kernel))

  def shortlists(self, cell: Cell) -> tuple[Shortlists, float]:
    """Returns what the method takes in a cell, and the seconds a query of its search."""
    given = self.material(cell.kernel)
    size = min(max(cell.k, cell.config.num_reranked or 0), given.num_images)
    stage = f"local search of {size}"
    found = given.keep(stage, lambda: self._search(given, size, stage))
    lists, seconds = given.lists, given.retriever.watch.seconds[stage]
    if cell.direction != "query":
      reverse, more = self._reverse(given, found, stage)
      found, seconds = combine(found, reverse, cell.direction), seconds + more
      lists = given.keep(
        f"lists, {cell.direction}", lambda: symmetric_lists(given.lists, cell.direction)
      )
    features = GlobalFeatures(given.features.queries[:: self.every], given.features.database)
    shortlists = Shortlists(found, lists, features, self.truth)
    return shortlists, seconds / len(found.ids)

  @property
  def truth(self) -> GroundTruth:
    """The ground truth of the queries that are taken."""
    truth, step = self.given.dataset.ground_truth, self.every
    return dataclasses.replace(truth, qimlist=truth.qimlist[::step], queries=truth.queries[::step])

  def _search(self, given: Material, size: int, stage: str) -> Ranked:
    descriptors = given.queries.descriptors[:: self.every]
    # What is compiled or read at the first search counts as no search.
    candidates.search(given.collection, descriptors[:1], size)
    with given.retriever.watch.measure(stage):
      return candidates.search(given.collection, descriptors, size)

  def _reverse(self, given: Material, found: Ranked, stage: str) -> tuple[np.ndarray, float]:
    """Returns the similarities of candidates to queries, and the seconds that they took."""
    descriptors, stage = given.queries.descriptors[:: self.every], f"{stage}, reverse"

    def compare() -> np.ndarray:
      with given.retriever.watch.measure(stage):
        return reverse_similarities(given.collection, descriptors, found.ids)

    return given.keep(stage, compare), given.retriever.watch.seconds[stage]


def measure_cells(
  ground: Ground, base: Cell, cells: Iterable[Cell], *, again: bool = False
) -> dict[Cell, Row]:
  """Measures cells; cells that differ in their weight alone share their embeddings.

  Args:
    ground: the data set.
    base: the settings of the flags, which are measured first and alone.
    cells: in any order, some of them equal.
    again: whether to measure cells that are kept.

  Returns:
    By cell the figures of `measure`, and `search`, the seconds a query of the local search.
    `seconds` is None where several cells were embedded at once.
  """
  shortlists, _ = ground.shortlists(base)
  content = shortlists.key
  folder = ground.given.retriever.directory / "ablation"
  rest = [cell for cell in dict.fromkeys(cells) if cell != base]
  groups: dict[Cell, list[Cell]] = {}
  for cell in rest:
    groups.setdefault(dataclasses.replace(cell, weight=base.weight), []).append(cell)
  rows: dict[Cell, Row] = {}
  with Meter("sweeps", total=len(rest) + 1, unit="cells") as meter:
    for group in [[base], *groups.values()]:
      keys = {cell: ["ablation", content, repr(cell), _VERSION] for cell in group}
      missing = [cell for cell in group if again or not is_kept(folder, keys[cell])]
      measured = _measure(ground, missing) if missing else {}
      for cell in group:
        row = measured.get(cell)
        rows[cell] = keep(
          folder, keys[cell], lambda row=row: dict(row or {}), again=cell in measured
        )
        meter.advance()
  return rows


def _measure(ground: Ground, cells: list[Cell]) -> dict[Cell, Row]:
  """Measures cells that differ in their weight alone."""
  first, watch = cells[0], ground.given.retriever.watch
  shortlists, search = ground.shortlists(first)
  size = shortlists.candidates.ids.shape[1]
  config = dataclasses.replace(first.config, num_embedded=min(first.k, size))
  found = measure(shortlists, config, [cell.weight for cell in cells], watch)
  alone = {} if len(cells) == 1 else {"seconds": None}
  return {cell: {**row, "search": search, **alone} for cell, row in zip(cells, found, strict=True)}


def num_programs(ground: Ground) -> int:
  """Returns how many programs the method was compiled to by now, or read from the work folder."""
  return ground.given.retriever.watch.programs.get(RERANKING, 0)

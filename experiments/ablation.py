"""Sweeps of every setting of the method on one data set, one at a time around the flags.

  python -m experiments.ablation [--dataset=NAME --data_root=DATA] [--sweeps=k,w] [--report=FOLDER]

Without a data set it runs on the built-in `mini`. It takes the flags of `experiments.roxf`; a sweep
varies one of them. Cells are kept in the work folder: a run that was interrupted goes on, and
--values adds further values. The method's numbers are given to its program, so that a sweep of them
compiles once; k, M, m, K, completion and the number of weights are shapes or choices, and compile
once for each value.
"""

from absl import flags

from experiments.ablations.cell import Cell
from experiments.ablations.cells import Ground, measure_cells, num_programs
from experiments.ablations.sweep import SWEEPS, Sweep, parse_values
from experiments.ablations.symmetry import check_kinds
from experiments.ablations.tables import make_section
from experiments.built_in import MINI
from experiments.material import Material
from experiments.measured import maps
from experiments.outputs import OUTPUTS, check_outputs, leave
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.method_flags import read_index_config, read_method_config
from l2g_jax.errors import InputError
from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.ranked import complete_rankings
from l2g_jax.ranking.global_search import rerank_by_global
from l2g_jax.report import Column, Section, Table, Text
from l2g_jax.report.fingerprint import fingerprint


def _define(values: flags.FlagValues) -> None:
  names = ", ".join(sweep.name for sweep in SWEEPS)
  flags.DEFINE_list("sweeps", None, f"Of {names}; omitted: all.", flag_values=values)
  flags.DEFINE_multi_string(
    "values", [], "Values of a sweep in place of its list, such as k:50,100.", flag_values=values
  )
  flags.DEFINE_integer(
    "every", 1, "Takes every so manyth query, to save time.", 1, flag_values=values
  )
  flags.DEFINE_bool("again", False, "Measure cells anew that are kept.", flag_values=values)


def main(values: Values) -> None:
  """Runs the sweeps, prints their tables and writes what is asked for."""
  evaluate.settle(values, "roxford5k", MINI)
  read_index_config(values)
  config = read_method_config(values)
  sweeps, chosen = _sweeps(values), parse_values(values.values)
  check_outputs(values)
  dataset = evaluate.open_dataset(values, MINI)
  retriever = evaluate.open_retriever(values, dataset)
  given = Material(dataset, retriever)
  if len(retriever.collection.kinds) > 1:
    if values.sweeps is not None and "direction" in values.sweeps:
      check_kinds(retriever.collection)
    print("The sweep of the direction is left out: there are several kinds of local features.")
    sweeps = [sweep for sweep in sweeps if sweep.name != "direction"]
  ground = Ground(given, values.every, lambda kernel: _open(values, kernel, given))
  k = min(values.k, given.num_images)
  base = Cell(config, retriever.weight, k, str(retriever.options.index.kernel))
  cells = {
    sweep.name: sweep.cells(base, chosen.get(sweep.name), given.num_images) for sweep in sweeps
  }
  wanted = [cell for by_value in cells.values() for cell in by_value.values()]
  rows = measure_cells(ground, base, wanted, again=values.again)
  sections = [
    Section("Beside the sweeps", [_parents(ground, base), Text(_describe(ground, len({*wanted})))]),
    *(
      make_section(sweep, cells[sweep.name], rows, base, has_plots=bool(values.report))
      for sweep in sweeps
    ),
  ]
  leave(
    values,
    f"Ablation, {dataset.name}",
    sections,
    data={"programs": num_programs(ground), "queries": len(ground.truth.queries)},
    fingerprint=lambda: fingerprint(dataset, retriever, settings={"base": repr(base)}),
    notice=MINI.notice if dataset.name == MINI.name else None,
  )
  print(f"\n{_describe(ground, len({*wanted}))}")


def _sweeps(values: Values) -> list[Sweep]:
  """Returns the sweeps that the flag names, or all."""
  known = {sweep.name: sweep for sweep in SWEEPS}
  if values.sweeps is None:
    return [*SWEEPS]
  if unknown := [name for name in values.sweeps if name not in known]:
    raise InputError(f"--sweeps has {unknown[0]!r}, which is none of {', '.join(known)}.")
  return [known[name] for name in values.sweeps]


def _open(values: Values, kernel: str, given: Material) -> Material:
  """Makes the data set ready by another kernel."""
  own, values.kernel = values.kernel, kernel
  try:
    return Material(given.dataset, evaluate.open_retriever(values, given.dataset))
  finally:
    values.kernel = own


def _parents(ground: Ground, base: Cell) -> Table:
  """Returns the mAP of the method's parents on the same queries."""
  shortlists, _ = ground.shortlists(base)
  by_global = ground.given.by_global[:: ground.every]
  rankings = {
    "global": by_global,
    "global+rerank": rerank_by_global(shortlists.features, by_global),
    "chamfer": complete_rankings(shortlists.candidates.ids, None, ground.given.num_images),
  }
  rows = []
  for name, ranking in rankings.items():
    found = maps(ranking, ground.truth)
    rows.append([name, *(found[protocol] for protocol in PROTOCOLS)])
  columns = [Column("ranking"), *(Column(name, 2) for name in PROTOCOLS)]
  return Table("The parents of the method", columns, rows)


def _describe(ground: Ground, num_cells: int) -> str:
  """Says what was compiled."""
  count = num_programs(ground)
  return (
    f"{num_cells} cells; in this run {count} programs were compiled or read from the work folder"
    " for what was not kept: one a shape, and one a size that gathers the lists."
  )


COMMAND = Command(
  "ablation",
  __doc__,
  [Group("Sweeps", _define), *evaluate.GROUPS, OUTPUTS],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.ablation")

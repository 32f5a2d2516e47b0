"""Compares every system of the paper's table on one data set, row by row.

  python -m experiments.compare [--dataset=roxford5k --data_root=DATA] [--systems=asmk,l2g]
    [--report=FOLDER]

Without a data set it runs on the built-in `mini`. Rows are kept in the work folder: a run that was
interrupted goes on, and one that is repeated is done at once; --again measures anew. Baselines have
the settings that `benchmarks.baselines` chose on development data. What a row costs stands beside
it. Published figures are printed apart. The page of --report
shows the ranked lists of some systems side by side; these are ranked anew where their rows are
kept.
"""

import pathlib
from typing import Any

import numpy as np
from absl import flags

from experiments.built_in import MINI
from experiments.comparison import pictures, table
from experiments.comparison.registry import make_systems
from experiments.comparison.system import ONCE, QUERIES, System
from experiments.kept import keep
from experiments.material import Material
from experiments.outputs import OUTPUTS, check_outputs, leave
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.method_flags import PAPER_FLAGS, read_index_config, read_method_config
from l2g_jax.cli.report import Method, evaluate_method
from l2g_jax.errors import InputError
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.retriever.trained import COMMANDS, Model, default_path
from l2g_jax.runtime.stopwatch import Stopwatch

_VERSION = 1


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    "systems", None, "Names of rows; omitted: all that can run.", flag_values=values
  )
  for model, command in COMMANDS.items():
    flags.DEFINE_string(
      model,
      None,
      f"Weights that {command} made; omitted: those in the work folder, if there are any.",
      flag_values=values,
    )
  flags.DEFINE_list(
    "shown",
    None,
    "Systems whose ranked lists the page shows; omitted: global, chamfer, the best other, l2g.",
    flag_values=values,
  )
  flags.DEFINE_bool("again", False, "Measure rows anew that are kept.", flag_values=values)


def main(values: Values) -> None:
  """Runs the systems, prints the tables and writes what is asked for."""
  evaluate.settle(values, "roxford5k", MINI)
  read_method_config(values)
  read_index_config(values)
  check_outputs(values)
  systems = _chosen(values)
  pictures.check(values.shown, [system.name for system in systems])
  dataset = evaluate.open_dataset(values, MINI)
  retriever = evaluate.open_retriever(values, dataset)
  given = Material(
    dataset,
    retriever,
    lambda: Material(dataset, evaluate.open_retriever(_with_recipe(values), dataset)),
  )
  rows, rankings = [], {}
  for number, system in enumerate(systems):
    print(f"[{number + 1}/{len(systems)}] {system.name}", flush=True)
    rows.append(_row(system, given, rankings, again=values.again))
    table.print_row(rows[-1])
  sections = table.make_sections(rows, has_plots=bool(values.report))
  if values.report:
    by_name = {system.name: system for system in systems}
    sections.append(
      pictures.make_section(
        given,
        values.shown or pictures.choose(rows),
        lambda name: _rankings(by_name[name], given, rankings),
      )
    )
  leave(
    values,
    f"Systems on {dataset.name}",
    sections,
    data={
      "dataset": {"name": dataset.name, "images": given.num_images, "queries": given.num_queries},
      "rows": rows,
      "published": table.published_rows(),
    },
    fingerprint=lambda: fingerprint(
      dataset, retriever, settings={row["name"]: row["settings"] for row in rows}
    ),
    notice=MINI.notice if dataset.name == MINI.name else None,
  )


def _chosen(values: Values) -> list[System]:
  """Returns the systems that the flag names, or all that can run."""
  systems = {system.name: system for system in make_systems(_weights(values))}
  if values.systems is None:
    for system in systems.values():
      if system.missing is not None:
        print(f"The row {system.name} is left out: {system.missing}")
    return [system for system in systems.values() if system.missing is None]
  if unknown := [name for name in values.systems if name not in systems]:
    raise InputError(f"--systems has {unknown[0]!r}, which is none of {', '.join(systems)}.")
  chosen = [systems[name] for name in values.systems]
  for system in chosen:
    if system.missing is not None:
      raise InputError(f"--systems has {system.name!r}: {system.missing}")
  return chosen


def _weights(values: Values) -> dict[Model, pathlib.Path]:
  """Returns the files of trained weights that the flags name, or that the work folder has."""
  found: dict[Model, pathlib.Path] = {}
  for model in COMMANDS:
    path = pathlib.Path(values[model].value or default_path(values.work_dir, model))
    if values[model].value is not None or path.is_file():
      found[model] = path
  return found


def _with_recipe(values: Values) -> Values:
  """Returns the flags with the paper's recipe."""
  recipe = flags.FlagValues()
  for group in COMMAND.groups:
    group.define(recipe)
  recipe.mark_as_parsed()
  for name in recipe:
    recipe[name].value = values[name].value
  for name, value in PAPER_FLAGS.items():
    recipe[name].value = value
  return recipe


def _row(
  system: System, given: Material, rankings: dict[str, np.ndarray], *, again: bool
) -> dict[str, Any]:
  """Returns the row of a system; it is kept, and not measured twice.

  Args:
    system: of the row.
    given: what it is given.
    rankings: by system; takes those of a row that is measured.
    again: whether a kept row is measured anew.
  """

  def measure() -> dict[str, Any]:
    own = Stopwatch()
    outcome = system.run(given, own)
    rankings[system.name] = outcome.rankings
    row = evaluate_method(
      Method(system.name, outcome.rankings, outcome.weight), given.dataset.ground_truth
    )
    return row | {
      "seconds_a_query": given.search_seconds(system.base)
      + own.seconds.get(QUERIES, 0.0) / given.num_queries,
      "seconds_once": own.seconds.get(ONCE, 0.0),
      "bytes_an_image": outcome.bytes_an_image,
      "settings": dict(system.settings),
    }

  settings = [system.name, dict(system.settings), given.key, _VERSION]
  return keep(given.retriever.directory / "compare", settings, measure, again=again)


def _rankings(system: System, given: Material, made: dict[str, np.ndarray]) -> np.ndarray:
  """Returns the rankings `[Q, N]` of a system, ranked anew where its row was kept."""
  if system.name not in made:
    print(f"Ranking anew for the page: {system.name}", flush=True)
    made[system.name] = system.run(given, Stopwatch()).rankings
  return made[system.name]


COMMAND = Command(
  "compare",
  __doc__,
  [Group("Comparison", _define), *evaluate.GROUPS, OUTPUTS],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.compare")

"""The whole pipeline beside more and more distractors: accuracy, seconds, memory and disk.

  python -m experiments.scaling [--distractors=10000,30000] [--descriptors=300] [--every=3]
  python -m experiments.scaling --dataset=NAME --data_root=DATA --distractors_from=STORE

Distractors are streamed beside the images of a data set, `mini` without one: synthetic ones, see
`experiments.scalings.distractors`, or those of a feature store, such as that of `revisitop1m`.
Distractor i has id n + i. Sizes that were measured are kept in the work folder, so a run that was
interrupted goes on. Larger sizes, --extrapolate, are told from the growth of the measured ones, and
marked so.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.built_in import MINI
from experiments.kept import keep
from experiments.material import Material
from experiments.outputs import OUTPUTS, check_outputs, leave
from experiments.scalings import distractors
from experiments.scalings.growth import exponent, extrapolate
from experiments.scalings.measure import Scale, measure
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.method_flags import read_index_config, read_method_config
from l2g_jax.errors import InputError
from l2g_jax.evaluation import PROTOCOLS
from l2g_jax.features.whitening import Whitening
from l2g_jax.report import Column, Plot, Section, Table, plots
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.retriever import asmk_search
from l2g_jax.runtime import files

_VERSION = 2
_METHODS = ("global", "search", "l2g")
# Neighbours whose similarity is exact, as in the lists of a collection.
_LIST_DEPTH = 64
_COST_NOTE = (
  "Search, re-ranking, list: median seconds of a query, mean of a query, median of an image. Lists"
  " are made of the images that the method reads; those of all would take the hours told from one."
  " Build has the making of synthetic distractors in it. Memory is the most of the process so far."
)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    "distractors", ["10000", "30000"], "Numbers of distractors to measure.", flag_values=values
  )
  flags.DEFINE_list(
    "extrapolate", ["100000", "1000000"], "Numbers to tell from them.", flag_values=values
  )
  flags.DEFINE_integer(
    "descriptors", 300, "Descriptors of a synthetic distractor.", 1, flag_values=values
  )
  flags.DEFINE_string(
    "distractors_from",
    None,
    "Feature store of distractors; omitted: synthetic.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "every", 1, "Takes every so manyth query, to save time.", 1, flag_values=values
  )
  flags.DEFINE_bool("again", False, "Measure sizes anew that are kept.", flag_values=values)


def main(values: Values) -> None:
  """Measures every size, prints the tables and writes what is asked for."""
  evaluate.settle(values, "roxford5k", MINI)
  read_method_config(values)
  read_index_config(values)
  sizes = _numbers("distractors", values.distractors)
  larger = _numbers("extrapolate", values.extrapolate)
  check_outputs(values)
  dataset = evaluate.open_dataset(values, MINI)
  given = Material(dataset, evaluate.open_retriever(values, dataset))
  scale = _scale(values, given, most=sizes[-1])
  source = values.distractors_from or f"synthetic, {values.descriptors} descriptors"
  own = [str(values.distractors_from), values.descriptors, values.seed]
  # An index or features that an interrupted run left are of the same settings and contents.
  made_of = [*own, given.key, repr(scale.index), scale.k]
  root = given.retriever.directory / f"scaling-{files.checksum_json(made_of)[:16]}"
  rows = []
  with files.locked(root, refusal=f"Another process is measuring in {root}."):
    for size in sizes:
      settings = [values.every, size, _VERSION]
      run = functools.partial(measure, scale, size, root / f"index-{size}", root / "global")
      rows.append(keep(root, settings, run, again=values.again))
  sections = [_accuracy(rows, bool(values.report)), _costs(rows, larger, bool(values.report))]
  leave(
    values,
    f"Scaling, {dataset.name} beside distractors ({source})",
    sections,
    data={"rows": rows, "queries": len(scale.queries)},
    fingerprint=lambda: fingerprint(dataset, given.retriever, settings={"distractors": own}),
    notice=MINI.notice if dataset.name == MINI.name else None,
  )


def _numbers(name: str, texts: Sequence[str]) -> list[int]:
  """Returns ascending numbers of a flag."""
  if not all(text.strip().isdecimal() for text in texts):
    raise InputError(f"--{name} must be whole numbers, at least 0, not {','.join(texts)}.")
  numbers = sorted({int(text) for text in texts})
  if not numbers and name == "distractors":
    raise InputError("--distractors names no number.")
  return numbers


def _scale(values: Values, given: Material, *, most: int) -> Scale:
  """Gathers what every size shares."""
  collection = given.collection
  kind = collection.kinds[0]
  if len(collection.kinds) > 1 or kind.vlad is None:
    raise InputError("Scaling takes one kind of local features, and --global_features=vlad.")
  whitening = Whitening.from_note(kind.index.whitening)
  if values.distractors_from is None:
    sample = distractors.sample_of(given.images.stores[0], whitening, seed=values.seed)
    made = distractors.Synthetic(values.descriptors, most, sample, seed=values.seed)
  else:
    made = distractors.Stored(values.distractors_from, whitening, kind.index.dimension)
    if len(made) < most:
      raise InputError(f"{values.distractors_from} has {len(made)} images, and not {most}.")
  queries = given.queries
  step = values.every
  features = dataclasses.replace(given.features, queries=given.features.queries[::step])
  truth = given.dataset.ground_truth
  truth = dataclasses.replace(truth, qimlist=truth.qimlist[::step], queries=truth.queries[::step])
  return Scale(
    names=collection.names,
    images=[*asmk_search.described(collection, given.images, 0)],
    queries=[descriptors[0] for descriptors in queries.descriptors[::step]],
    features=features,
    vlad=kind.vlad[0],
    truth=truth,
    distractors=made,
    index=given.retriever.options.index,
    l2g=given.retriever.method,
    k=given.retriever.options.num_candidates,
    list_depth=_LIST_DEPTH,
  )


def _accuracy(rows: Sequence[dict[str, Any]], has_plots: bool) -> Section:
  columns = [Column("images")]
  columns += [Column(f"{method} {name}", 1) for method in _METHODS for name in PROTOCOLS]
  table = Table(
    "mAP by size",
    columns,
    [[row["images"], *(row[m][name] for m in _METHODS for name in PROTOCOLS)] for row in rows],
    note="Distractors are in no ground truth: whatever they push down is a loss.",
  )
  blocks: list[Table | Plot] = [table]
  if has_plots:
    sizes = [row["images"] for row in rows]
    series = {
      f"{method}, {name}": (sizes, [row[method][name] for row in rows])
      for method in _METHODS
      for name in ("medium", "hard")
    }
    blocks.append(Plot("mAP by size", plots.lines(series, x="images", y="mAP", log_x=True)))
  return Section("Accuracy", blocks)


def _costs(rows: Sequence[dict[str, Any]], larger: Sequence[int], has_plots: bool) -> Section:
  sizes = [float(row["images"]) for row in rows]
  figures = [_cost(row) for row in rows]
  names = [*figures[0]]
  columns = [Column("images"), *(Column(name, 3) for name in names), Column("source")]
  cells = [
    [row["images"], *values.values(), "measured"] for row, values in zip(rows, figures, strict=True)
  ]
  slopes = [exponent(sizes, [values[name] for values in figures]) for name in names]
  cells.append(["growth exponent", *slopes, "fit"])
  for size in larger:
    total = rows[0]["images"] - rows[0]["distractors"] + size
    if total > sizes[-1]:
      told = extrapolate(sizes, figures, total)
      cells.append([total, *(told.get(name) for name in names), "extrapolated"])
  table = Table("Costs by size", columns, cells, note=_COST_NOTE)
  blocks: list[Table | Plot] = [table]
  if has_plots:
    series = {
      name: (sizes, [values[name] for values in figures])
      for name in ("search s", "re-ranking s", "list s")
    }
    drawn = plots.lines(series, x="images", y="seconds", log_x=True, log_y=True)
    blocks.append(Plot("Seconds by size", drawn))
  return Section("Costs", blocks)


def _cost(row: dict[str, Any]) -> dict[str, float]:
  """Returns the figures of a size by the names of their columns."""
  seconds, num_bytes = row["seconds"], row["bytes"]
  return {
    "build s": seconds["build"],
    "search s": seconds["search"],
    "re-ranking s": seconds["re-ranking"],
    "list s": seconds["list"],
    "all lists h": row["all lists hours"],
    "index kB an image": num_bytes["index"] / 1e3,
    "lists kB an image": num_bytes["lists"] / 1e3,
    "memory GB": row["memory"] / 1e9,
  }


COMMAND = Command(
  "scaling", __doc__, [Group("Distractors", _define), *evaluate.GROUPS, OUTPUTS], main
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.scaling")

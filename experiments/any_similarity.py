"""An index for any similarity beside its peers, at the same number of evaluations.

  python -m experiments.any_similarity --collection=words --sizes=1000,10000,100000
  python -m experiments.any_similarity --collection=chamfer --sizes=1000,10000 --descriptors=24
  python -m experiments.any_similarity --collection=learned --work_dir=WORK

`words` are alike by edit distance, and need rapidfuzz and english-words; `series` are the written
digits of scikit-learn, alike by dynamic time warping of their rows; `chamfer` are FIRe-like images;
`chamfer-images` and `learned` are the images of a data set, `mini` without one, by Chamfer
similarity or by the matcher that `experiments.train_similarity` trained. Each method may evaluate
so many pairs a query, landmarks counted; of each peer the best settings for the test queries are
shown. pynndescent is a peer where it is installed, up to 20,000 items. What was measured is kept in
the work folder.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments.built_in import MINI
from experiments.kept import keep
from experiments.material import Material
from experiments.outputs import OUTPUTS, check_outputs, leave
from experiments.similarities import sources
from experiments.similarities.measure import measure
from experiments.similarities.sources import Source
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.errors import InputError
from l2g_jax.landmarks import LandmarkConfig
from l2g_jax.report import Column, Plot, Section, Table, plots
from l2g_jax.retriever.trained import default_path
from l2g_jax.runtime import files

_VERSION = 2
_COLLECTIONS = ("words", "series", "chamfer", "chamfer-images", "learned")
# Landmarks, as a share of the evaluations of a query: the others are for scoring.
_LANDMARKS = 0.25
_LEAST_LANDMARKS = 32
_BUDGETS = "0.01,0.02,0.05,0.1"


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "collection", "words", _COLLECTIONS, "What is compared, and how.", flag_values=values
  )
  flags.DEFINE_list(
    "sizes", ["1000", "10000"], "Items; a data set has its own.", flag_values=values
  )
  flags.DEFINE_list(
    "budgets",
    _BUDGETS.split(","),
    "Evaluations of a query, as shares of the items.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "landmarks",
    None,
    "Landmarks; omitted: a quarter of 2 % of the items, at least 32.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "neighbors",
    LandmarkConfig.num_neighbors,
    "Items near an item to which it is compared; the peers get as many landmarks more.",
    0,
    flag_values=values,
  )
  flags.DEFINE_enum(
    "selection", "random", ("random", "farthest", "spread"), "Of landmarks.", flag_values=values
  )
  flags.DEFINE_integer(
    "refine_by", 0, "Further items to which each is compared.", 0, flag_values=values
  )
  flags.DEFINE_integer("num_queries", 100, "Queries, at most.", 1, flag_values=values)
  flags.DEFINE_integer(
    "descriptors", 24, "Descriptors of an image, for Chamfer similarity.", 2, flag_values=values
  )
  flags.DEFINE_string(
    "weights", None, "Of the matcher; omitted: those in the work folder.", flag_values=values
  )
  flags.DEFINE_bool("again", False, "Measure anew what is kept.", flag_values=values)


def main(values: Values) -> None:
  """Measures every size, prints the tables and writes what is asked for."""
  sizes, shares = _numbers(values)
  check_outputs(values)
  of_images = values.collection in ("chamfer-images", "learned")
  material = None
  if of_images:
    evaluate.settle(values, "roxford5k", MINI)
    dataset = evaluate.open_dataset(values, MINI)
    material = Material(dataset, evaluate.open_retriever(values, dataset))
    sizes = [material.num_images]
  if values.collection == "series":
    sizes = [sources.NUM_DIGITS - values.num_queries]
  root = pathlib.Path(values.work_dir) / "any_similarity"
  results = []
  for size in sizes:
    landmarks = values.landmarks or max(_LEAST_LANDMARKS, size // 200)
    with settings_as_flags():
      config = LandmarkConfig(
        landmarks, values.neighbors, selection=values.selection, seed=values.seed
      )
    budgets = [round(share * size) for share in shares]
    budgets = [budget for budget in budgets if budget > landmarks]
    if not budgets:
      raise InputError(f"--budgets: none of them exceeds {landmarks} landmarks of {size} items.")
    settings = [values.collection, size, values.num_queries, values.seed]
    if values.collection.startswith("chamfer"):
      settings.append(values.descriptors)
    if material is not None:
      states = [kind.index.state for kind in material.collection.kinds]
      settings += [material.dataset.name, states, str(values.weights)]
    data = root / f"{values.collection}-{size}-{files.checksum_json(settings)[:12]}"
    made_by = [*settings, repr(config), budgets, values.refine_by, _VERSION]
    run = functools.partial(_measure, values, material, size, root, data, config, budgets)
    folder = data / files.checksum_json([repr(config), values.refine_by])[:12]
    with files.locked(data, refusal=f"Another process is measuring in {data}."):
      results.append(keep(folder, made_by, run, again=values.again))
  leave(
    values,
    f"An index for any similarity: {results[0]['source']}",
    _sections(results, bool(values.report)),
    data={"results": results},
    fingerprint=lambda: {"collection": values.collection, "seed": values.seed},
    notice=MINI.notice if material is not None and material.dataset.name == MINI.name else None,
  )


def _numbers(values: Values) -> tuple[list[int], list[float]]:
  try:
    sizes = sorted({int(text) for text in values.sizes})
    shares = sorted({float(text) for text in values.budgets})
  except ValueError as error:
    raise InputError(f"--sizes and --budgets are lists of numbers: {error}.") from error
  if not sizes or sizes[0] < 200 or not shares or not 0.0 < shares[0] <= shares[-1] <= 1.0:
    raise InputError("--sizes must be at least 200, and --budgets above 0 and at most 1.")
  return sizes, shares


def _measure(
  values: Values,
  material: Material | None,
  size: int,
  root: pathlib.Path,
  data: pathlib.Path,
  config: LandmarkConfig,
  budgets: Sequence[int],
) -> dict[str, Any]:
  source = _source(values, material, size, root)
  folder = data / files.checksum_json([repr(config), values.refine_by])[:12]
  return measure(source, data, folder, config, budgets, values.refine_by)


def _source(values: Values, material: Material | None, size: int, root: pathlib.Path) -> Source:
  if material is not None:
    weights = None
    if values.collection == "learned":
      weights = pathlib.Path(values.weights or default_path(values.work_dir, "learned"))
    return sources.images_of(
      material, values.num_queries, weights=weights, count=values.descriptors
    )
  if values.collection == "series":
    return sources.series(values.num_queries, seed=values.seed)
  if values.collection == "words":
    return sources.words(size, values.num_queries, seed=values.seed)
  return sources.chamfer(
    size, values.num_queries, count=values.descriptors, seed=values.seed, folder=root
  )


def _sections(results: Sequence[dict[str, Any]], has_plots: bool) -> list[Section]:
  return [
    Section("Recall", [*map(_recall, results), *([_growth(results)] if has_plots else [])]),
    Section("Collections", [_collections(results)]),
    Section("Settings of the peers", [*map(_sweep, results)]),
  ]


def _recall(result: dict[str, Any]) -> Table:
  columns = [Column("method"), Column("evaluations"), Column("share %", 1), Column("an item", 0)]
  columns += [Column("recall 10", 3), Column("recall 100", 3), Column("mAP", 1), Column("ms", 1)]
  rows = []
  for row in sorted(result["rows"], key=lambda row: row["evaluations"]):
    share = 100.0 * row["evaluations"] / result["items"]
    seconds = row.get("seconds")
    cells = [row["method"], row["evaluations"], share, row["an item"]]
    cells += [row["recall 10"], row["recall 100"], row.get("mAP")]
    rows.append([*cells, None if seconds is None else 1e3 * seconds])
  marked = [n for n, row in enumerate(rows) if row[0] == "landmark index"]
  return Table(
    f"{result['source']}, {result['items']} items, {result['landmarks']} landmarks",
    columns,
    rows,
    marked=marked,
    note="Evaluations of a query count landmarks. ms of a search are those beside the similarity.",
  )


def _collections(results: Sequence[dict[str, Any]]) -> Table:
  columns = [Column("items"), Column("landmarks"), Column("settings"), Column("stress-1", 3)]
  columns += [Column("build s", 0), Column("intrinsic dimension", 1), Column("asymmetry", 3)]
  rows = [
    [
      result["items"],
      result["landmarks"],
      result["rows"][0]["settings"],
      result["stress"],
      result["build seconds"],
      result["intrinsic dimension"],
      result["asymmetry"],
    ]
    for result in results
  ]
  return Table("What was built", columns, rows, note="Intrinsic dimension: mean^2 / 2 variance.")


def _sweep(result: dict[str, Any]) -> Table:
  budget = max(row["evaluations"] for row in result["sweeps"])
  if (usual := round(0.02 * result["items"])) in {row["evaluations"] for row in result["sweeps"]}:
    budget = usual
  rows = [
    [row["method"], row["settings"], row["recall 10"], row["recall 100"]]
    for row in result["sweeps"]
    if row["evaluations"] == budget
  ]
  columns = [Column("method"), Column("settings"), Column("recall 10", 3), Column("recall 100", 3)]
  return Table(f"Settings, {result['items']} items, {budget} evaluations", columns, rows)


def _growth(results: Sequence[dict[str, Any]]) -> Plot:
  series: dict[str, tuple[list[float], list[float]]] = {}
  for result in results:
    for row in result["rows"]:
      if row["method"] != "brute force":
        name = f"{row['method']}, {result['items']}"
        xs, ys = series.setdefault(name, ([], []))
        xs.append(100.0 * row["evaluations"] / result["items"])
        ys.append(row["recall 10"])
  return Plot(
    "Recall of the true 10 by evaluations",
    plots.lines(series, x="% of the items evaluated", y="recall", log_x=True),
  )


COMMAND = Command(
  "any_similarity", __doc__, [Group("Collection", _define), *evaluate.GROUPS, OUTPUTS], main
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.any_similarity")

"""Measures where results match their query, on `mini`, whose true regions are known.

  python -m experiments.localization [--depth=10] [--output=FILE] [--report=FOLDER]

Search and embedding say that an image shows the subject of the query, and not where. Spatial
verification of the two says where: the box of the query, mapped by the transform that explains the
most matches; or the box around these matches. Of the positives, easy and hard, among the first
results of a list it is told how many are located: intersection over union with the true region of
at least one half. An image without a transform is not located. The whole image as the answer stands
beside it, since a subject that fills its image is located by that too. Junk does not count.

LocScore is explained at `experiments.regions.measure.loc_score`. The true regions are found by
taking the photographs of `mini` again from its seed, once; they are kept in the work folder.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

import mini
from experiments.built_in import MINI
from experiments.regions import lists
from l2g_jax.cli import evaluate, report_folder
from l2g_jax.cli.command import Command, Group, Values, check_file, output_group
from l2g_jax.cli.feature_flags import FEATURES
from l2g_jax.cli.method_flags import METHOD, SEARCH
from l2g_jax.cli.report import describe_environment
from l2g_jax.cli.work_flags import WORK
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.errors import InputError
from l2g_jax.report import Column, Section, Table, write_report
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.retriever import Retriever, described
from l2g_jax.runtime import files
from mini.regions import find_regions

# Counted up when the regions change.
_VERSION = 1
# The longer side in pixels of the photographs of `mini`.
_SIDE = 640
# The row that stands out.
_CHOSEN = ("l2g", "mapped box")


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("data_root", "data", "Folder that holds mini.", flag_values=values)
  flags.DEFINE_integer("depth", 10, "First results that are looked at.", 1, flag_values=values)


def main(values: Values) -> None:
  """Ranks `mini`, locates the positives among the first results, and prints the table."""
  if values.output:
    check_file(values.output)
  report_folder.check(values)
  if values.crop_policy == "none" or (values.max_side or _SIDE) < _SIDE:
    raise InputError("Regions are measured of cut queries in the full size of the photographs.")
  values.local = values.local or MINI.local
  mini.make_mini(values.data_root)
  dataset = load_dataset(values.data_root, mini.NAME)
  retriever = evaluate.open_retriever(values, dataset)
  regions = open_regions(dataset, retriever.directory)
  rows = _measure(dataset, retriever, regions, values.depth)
  print(f"\n{dataset.name}: positives among the first {values.depth} results. {MINI.notice}\n")
  print_rows(rows)
  figures = {"rows": rows, "depth": values.depth, "least_overlap": lists.LEAST_OVERLAP}
  figures |= {"environment": describe_environment()}
  if values.output:
    files.write_json(values.output, figures)
  if values.report:
    write_report(
      values.report,
      f"Where results match: {dataset.name}",
      [Section("Positives that are located", [make_table(rows, values.depth)])],
      data=figures,
      fingerprint=fingerprint(dataset, retriever, settings={"depth": values.depth}),
      notice=MINI.notice,
    )


def open_regions(
  dataset: Dataset, folder: pathlib.Path, config: mini.MiniConfig | None = None
) -> lists.Regions:
  """Opens the true regions of `mini`, or finds them.

  Args:
    dataset: `mini`, made with seed 0.
    folder: keeps the regions.
    config: the size with which it was made; None = the full size.

  Raises:
    InputError: the data set was made with another size or seed.
  """
  config = config or mini.MiniConfig()
  path = folder / "regions.json"
  key = files.checksum_json([_VERSION, dataclasses.asdict(config)])
  try:
    kept = files.read_manifest(path)
  except InputError:
    kept = {}
  if kept.get("key") != key:
    kept = {"key": key, "queries": find_regions(config=config)}
    files.write_manifest(path, kept)
  check_boxes(dataset, kept["queries"])
  return {name: query["images"] for name, query in kept["queries"].items()}


def check_boxes(dataset: Dataset, found: Mapping[str, Mapping[str, Any]]) -> None:
  """Refuses regions whose queries have other boxes than those of the data set.

  Raises:
    InputError: the data set was made with another size or seed.
  """
  truth = dataset.ground_truth
  boxes = {
    name: list(query.bbx or ()) for name, query in zip(truth.qimlist, truth.queries, strict=True)
  }
  if boxes != {name: query["bbx"] for name, query in found.items()}:
    raise InputError(f"{dataset.name} was made with another size or seed, so its regions differ.")


def _measure(
  dataset: Dataset, retriever: Retriever, regions: lists.Regions, depth: int
) -> list[dict[str, Any]]:
  """Ranks a data set and locates the positives among the first results of each list."""
  jobs = evaluate.query_jobs(dataset)
  rankings = retriever.rank(jobs, show_progress=True)
  rankings_by_name = {
    "global": rankings.by_global,
    "chamfer": rankings.by_candidates,
    "l2g": rankings.l2g[retriever.weight].rankings,
  }
  collection, images = retriever.collection, retriever.images.jobs
  return lists.measure_lists(
    dataset,
    rankings_by_name,
    described.describe_queries(collection, jobs),
    described.describe_images(collection, images, on_error="raise"),
    regions,
    depth=depth,
  )


def make_table(rows: Sequence[Mapping[str, Any]], depth: int) -> Table:
  """Returns the rows as a table of a page."""
  columns = [
    Column("list"),
    Column("answer", help="what is taken for the region"),
    Column("positives", help=f"easy and hard images among the first {depth} without junk"),
    Column("verified", help="of these, with a transform from the query"),
    Column("located, %", 1, "overlap with the true region of at least one half"),
    Column("easy, %", 1, "the same of easy images"),
    Column("hard, %", 1, "the same of hard images"),
    Column("overlap", 3, "mean intersection over union"),
    Column("LocScore, %", 1, "precision at the rank of a positive times its overlap, mean"),
  ]
  keys = ("list", "answer", "positives", "with_transform", "located", "located_easy")
  keys += ("located_hard", "mean_overlap", "loc_score")
  marked = [n for n, row in enumerate(rows) if (row["list"], row["answer"]) == _CHOSEN]
  note = "The whole image is what an answer must beat: many subjects fill their picture."
  return Table("Located", columns, [[row[key] for key in keys] for row in rows], note, marked)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
  """Prints the table, in at most 100 columns."""
  print(
    f"{'list':9}{'answer':16}{'positives':>10}{'verified':>9}{'located %':>10}{'easy':>7}"
    f"{'hard':>7}{'overlap':>9}{'LocScore':>9}"
  )
  for row in rows:
    shares = [row["located"], row["located_easy"], row["located_hard"]]
    print(
      f"{row['list']:9}{row['answer']:16}{row['positives']:10}{row['with_transform']:9}"
      f"{_text(shares[0], 10, 1)}{_text(shares[1], 7, 1)}{_text(shares[2], 7, 1)}"
      f"{_text(row['mean_overlap'], 9, 3)}{_text(row['loc_score'], 9, 1)}"
    )


def _text(value: float | None, width: int, digits: int) -> str:
  return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


COMMAND = Command(
  "localization",
  __doc__,
  [
    Group("Localization", _define),
    FEATURES,
    SEARCH,
    METHOD,
    WORK,
    output_group("JSON file of the rows."),
    report_folder.REPORT,
  ],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.localization")

"""Measures where results match their query, on `mini`, whose true regions are known.

  python -m experiments.localization [--depth=10] [--output=REPORT] [--work_dir=work]

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
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

import mini
from experiments.built_in import MINI
from experiments.regions import measure
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values, check_file, output_group
from l2g_jax.cli.feature_flags import FEATURES
from l2g_jax.cli.method_flags import METHOD, SEARCH
from l2g_jax.cli.report import describe_environment
from l2g_jax.cli.work_flags import WORK
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.images import Box, read_photograph
from l2g_jax.errors import InputError
from l2g_jax.retriever import Retriever, described
from l2g_jax.retriever.described import Described, DescribedImages
from l2g_jax.retriever.similarities import verify_pair
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import track
from l2g_jax.runtime.threads import in_threads
from mini.regions import find_regions

# Counted up when the regions change.
_VERSION = 1
_LEAST_OVERLAP = 0.5
# The longer side in pixels of the photographs of `mini`.
_SIDE = 640
_ANSWERS = ("mapped box", "matched points", "whole image")
_LABELS = ("easy", "hard")

# By query and image.
Regions = Mapping[str, Mapping[str, Box]]
# The features of images, by number.
_Features = Sequence[Described] | DescribedImages


@dataclasses.dataclass(frozen=True)
class _Located:
  """A positive of a query.

  Attributes:
    label: `easy` or `hard`.
    has_transform: whether verification accepted one.
    overlaps: by answer, intersection over union with the true region.
  """

  label: str
  has_transform: bool
  overlaps: Mapping[str, float]


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("data_root", "data", "Folder that holds mini.", flag_values=values)
  flags.DEFINE_integer("depth", 10, "First results that are looked at.", 1, flag_values=values)


def main(values: Values) -> None:
  """Ranks `mini`, locates the positives among the first results, and prints the table."""
  if values.output:
    check_file(values.output)
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
  if values.output:
    report = {"rows": rows, "depth": values.depth, "least_overlap": _LEAST_OVERLAP}
    files.write_json(values.output, report | {"environment": describe_environment()})


def open_regions(
  dataset: Dataset, folder: pathlib.Path, config: mini.MiniConfig | None = None
) -> Regions:
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
  dataset: Dataset, retriever: Retriever, regions: Regions, depth: int
) -> list[dict[str, Any]]:
  """Ranks a data set and locates the positives among the first results of each list."""
  jobs = evaluate.query_jobs(dataset)
  rankings = retriever.rank(jobs, show_progress=True)
  lists = {
    "global": rankings.by_global,
    "chamfer": rankings.by_candidates,
    "l2g": rankings.l2g[retriever.weight].rankings,
  }
  collection, images = retriever.collection, retriever.images.jobs
  return measure_lists(
    dataset,
    lists,
    described.describe_queries(collection, jobs),
    described.describe_images(collection, images, on_error="raise"),
    regions,
    depth=depth,
  )


def measure_lists(
  dataset: Dataset,
  lists: Mapping[str, np.ndarray],
  queries: _Features,
  images: _Features,
  regions: Regions,
  *,
  depth: int,
) -> list[dict[str, Any]]:
  """Locates the positives among the first results of lists.

  Args:
    dataset: with its ground truth, of Q queries and N images.
    lists: by name, rankings `[Q, N]`.
    queries: the local features of each, cut to its box.
    images: those of the images.
    regions: the true ones.
    depth: first results that are looked at, without junk.

  Returns:
    A row a list and answer as JSON: the numbers of positives, easy and hard, and of those with a
    transform; `located`, the share in percent of overlaps of at least one half, also of the labels
    alone; `mean_overlap` in [0, 1]; and `loc_score` in percent. Null where there is no positive.
  """
  found: dict[str, list[list[_Located | None]]] = {name: [] for name in lists}
  for row, judgement in enumerate(track(dataset.ground_truth.queries, "regions", unit="queries")):
    first = {
      name: [image for image in ranking[row].tolist() if image not in judgement.junk][:depth]
      for name, ranking in lists.items()
    }
    labels = {image: label for label in _LABELS for image in getattr(judgement, label).tolist()}
    wanted = sorted({image for ids in first.values() for image in ids if image in labels})
    truth = regions[dataset.ground_truth.qimlist[row]]
    locate = functools.partial(_locate, judgement.bbx, queries[row], images, dataset, truth, labels)
    located = dict(zip(wanted, in_threads(locate, wanted), strict=True))
    for name, ids in first.items():
      found[name].append([located.get(image) for image in ids])
  positives = [len(query.easy) + len(query.hard) for query in dataset.ground_truth.queries]
  return [
    _row(name, answer, rows, positives) for name, rows in found.items() for answer in _ANSWERS
  ]


def _locate(
  box: Box | None,
  query: Described,
  images: _Features,
  dataset: Dataset,
  regions: Mapping[str, Box],
  labels: Mapping[int, str],
  image: int,
) -> _Located:
  """Returns how well a positive of a query is located by each answer."""
  height, width = read_photograph(dataset.database_paths[image]).size
  other = images[image]
  made = verify_pair(query, other)
  locations = np.concatenate([features.locations for features in other])
  assert box is not None
  part = (0.0, 0.0, box[2] - box[0], box[3] - box[1])
  answers = (
    measure.mapped_box(made.transform, part, (height, width)),
    measure.box_around(locations[made.inliers[:, 1]]),
    (0.0, 0.0, float(width), float(height)),
  )
  truth = regions.get(dataset.ground_truth.imlist[image])
  overlaps = {
    name: measure.overlap(box, truth) for name, box in zip(_ANSWERS, answers, strict=True)
  }
  return _Located(labels[image], made.transform is not None, overlaps)


def _row(
  name: str, answer: str, rows: Sequence[Sequence[_Located | None]], positives: Sequence[int]
) -> dict[str, Any]:
  found = [located for row in rows for located in row if located is not None]
  overlaps = {
    label: np.array([located.overlaps[answer] for located in found if located.label == label])
    for label in _LABELS
  }
  both = np.concatenate([*overlaps.values()])
  scores = [
    measure.loc_score([None if one is None else one.overlaps[answer] for one in row], count)
    for row, count in zip(rows, positives, strict=True)
    if count
  ]
  return {
    "list": name,
    "answer": answer,
    "positives": len(found),
    "with_transform": sum(located.has_transform for located in found),
    "located": _share(both),
    **{f"located_{label}": _share(values) for label, values in overlaps.items()},
    "mean_overlap": float(np.mean(both)) if len(both) else None,
    "loc_score": 100 * float(np.mean(scores)) if scores else None,
  }


def _share(overlaps: np.ndarray) -> float | None:
  return 100 * float(np.mean(overlaps >= _LEAST_OVERLAP)) if len(overlaps) else None


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
  ],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.localization")

"""Searches a folder of photographs for what a photograph, or a part of it, shows.

  python -m experiments.search --images=FOLDER --query=PHOTO [--box=x1,y1,x2,y2]

Prints the best images with their rank in each stage, and draws them as a contact sheet.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from l2g_jax.cli import command, common
from l2g_jax.cli.contact_sheet import Tile, save_contact_sheet
from l2g_jax.cli.report import write_report
from l2g_jax.data.image_formats import endings
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box, Photograph, crop_photograph, read_photograph
from l2g_jax.data.photo_folders import describe_left_out, find_photographs, mark_work_folder
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.pipeline.l2g import GlobalFeatures, rank_by_weights
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.retriever.copies import find_copies
from l2g_jax.retriever.stages import Collection, Queries, describe_query, follow
from l2g_jax.runtime.stopwatch import Stopwatch

FLAGS = flags.FLAGS
flags.DEFINE_string("images", None, "Folder of photographs to search.", required=True)
flags.DEFINE_string("query", None, "The photograph to search for.", required=True)
flags.DEFINE_string("box", None, "The part of it to search for: x1,y1,x2,y2 in pixels.")
flags.DEFINE_integer("num_results", 23, "Results to show.")
flags.DEFINE_string("contact_sheet", None, "PNG to draw; omitted: search.png in the work folder.")

# An image with the query's pixels has its descriptors, so no other is much more similar.
_COPY_SIMILARITY = 0.99


@dataclasses.dataclass(frozen=True)
class _Ranking:
  """How the images stand.

  Attributes:
    ids: of images in the index, best first.
    scores: of those that were re-ranked, by id.
    similarities: of those that the search found, by id.
    stages: the rank of every image in each stage, from 1.
    copies: which are exact copies of the query, and in what.
    remarks: sentences on how this order came about, for the user.
  """

  ids: list[int]
  scores: Mapping[int, float]
  similarities: Mapping[int, float]
  stages: Mapping[str, np.ndarray]
  copies: Mapping[int, str]
  remarks: list[str]


def main() -> None:
  """Searches, draws, prints."""
  common.configure()
  if FLAGS.num_results < 1:
    raise InputError(f"--num_results must be at least 1, not {FLAGS.num_results}.")
  # While it is empty.
  mark_work_folder(FLAGS.work_dir)
  # A folder is known by where it lies.
  place = hashlib.blake2b(os.fsencode(pathlib.Path(FLAGS.images).resolve()), digest_size=4)
  directory = pathlib.Path(FLAGS.work_dir) / f"folder-{place.hexdigest()}"
  sheet = _check_sheet(FLAGS.contact_sheet or directory / "search.png")
  if command.OUTPUT.value:
    command.check_file(command.OUTPUT.value)
  query_path, box = pathlib.Path(FLAGS.query), _parse_box(FLAGS.box)
  query = read_photograph(query_path)
  if box is not None:
    crop_photograph(query, box)
  photographs = find_photographs(FLAGS.images)
  watch = Stopwatch()
  jobs = [
    ImageJob(name, path) for name, path in zip(photographs.names, photographs.paths, strict=True)
  ]
  collection = follow(jobs, directory, common.stage_options(), watch, verify=FLAGS.verify)
  queries = describe_query(collection, ImageJob(query_path.name, query_path, box), watch)
  weight = common.default_weight() if FLAGS.w is None else FLAGS.w
  names = collection.index.names
  by_name = dict(zip(photographs.names, photographs.paths, strict=True))
  paths = [by_name[name] for name in names]
  ranking = _rank(collection, queries, paths, query_path, query if box is None else None, watch)
  results = _list_results(ranking, names, paths)
  if command.OUTPUT.value:
    left_out = {reason: len(paths) for reason, paths in photographs.left_out.items()}
    write_report(
      command.OUTPUT.value,
      {"query": str(query_path), "box": box, "w": weight, "results": results}
      | {"left_out": left_out, "seconds": watch.seconds},
    )
  save_contact_sheet(
    sheet,
    Tile(query_path, ["query", query_path.name]),
    box,
    [Tile(pathlib.Path(result["path"]), _describe(result)) for result in results],
  )
  _print_results(results, len(names), weight)
  for remark in [*(f"The query: {note}." for note in query.notes), *ranking.remarks]:
    print(remark)
  print(f"\nContact sheet: {printable(str(sheet))}")
  if photographs.left_out:
    print(f"Left out of the search: {describe_left_out(photographs.left_out)}.")


def _check_sheet(path: os.PathLike | str) -> pathlib.Path:
  """Refuses, before the work, a contact sheet that could not be written or found again as ours."""
  path = pathlib.Path(path)
  if path.suffix.lower() in endings() and path.suffix.lower() != ".png":
    raise InputError(f"--contact_sheet is a PNG and must end in .png, not in {path.suffix}.")
  command.check_file(path)
  return path


def _parse_box(text: str | None) -> Box | None:
  if text is None:
    return None
  try:
    left, top, right, bottom = (float(value) for value in text.split(","))
  except ValueError as error:
    raise InputError(f"--box must be x1,y1,x2,y2, not {text!r}.") from error
  if not (np.all(np.isfinite([left, top, right, bottom])) and left < right and top < bottom):
    raise InputError(f"--box {text} is empty or not finite; it is x1,y1,x2,y2 with x1 < x2.")
  return left, top, right, bottom


def _rank(
  collection: Collection,
  queries: Queries,
  paths: list[pathlib.Path],
  query_path: pathlib.Path,
  query: Photograph | None,
  watch: Stopwatch,
) -> _Ranking:
  """Ranks the collection for the query; exact copies of it come first.

  Args:
    collection: N images.
    queries: the query.
    paths: of the images.
    query_path: of the query.
    query: the query as it was read; None where only a part of it is searched for.
    watch: takes the seconds of the stages.
  """
  features = GlobalFeatures(queries.global_features, collection.global_features)
  (descriptors,) = queries.descriptors
  # Ids are in the order in which the images came; what ties is shown by name.
  names = collection.index.names
  by_name = np.array(sorted(range(len(names)), key=names.__getitem__))
  counts = collection.index.counts()
  with watch.measure("global search"):
    named = GlobalFeatures(features.queries, features.database[by_name])
    by_global = by_name[rank_by_global(named)[0]]
  with watch.measure("local search"):
    candidates = collection.search([descriptors], min(FLAGS.k, len(names)))
  is_found = candidates.ids[0] >= 0
  ids, similarities = candidates.ids[0, is_found], candidates.similarities[0, is_found]
  others = by_name[~np.isin(by_name, ids)]
  scores: dict[int, float] = {}
  if len(ids):
    with watch.measure("embedding and re-ranking"):
      (result,) = rank_by_weights(
        candidates,
        collection.lists,
        features,
        weights=[common.default_weight() if FLAGS.w is None else FLAGS.w],
        config=common.method_config(),
      )
    order = np.concatenate([result.rankings[0, : len(ids)], others]).tolist()
    scores = dict(zip(ids.tolist(), result.scores[0, is_found].tolist(), strict=True))
    suspects = ids[similarities >= _COPY_SIMILARITY * similarities[0]]
    remarks = _remarks_on_order(counts, len(ids))
  else:
    order, remarks = _order_without_search(len(descriptors), features, by_global)
    suspects = np.flatnonzero(counts == 0)
  with watch.measure("exact copies"):
    pixels = None if query is None else query.pixels
    copies = find_copies(query_path, pixels, paths, suspects.tolist())
  if copies:
    told = ", ".join(f"{printable(names[image])} ({part})" for image, part in copies.items())
    remarks.append(f"First stand exact copies of the query: {told}.")
  return _Ranking(
    ids=[*copies, *(image for image in order if image not in copies)],
    scores=scores,
    similarities=dict(zip(ids.tolist(), similarities.tolist(), strict=True)),
    stages={
      stage: np.argsort(ranking) + 1
      for stage, ranking in (("global", by_global), ("chamfer", np.concatenate([ids, others])))
    },
    copies=copies,
    remarks=remarks,
  )


def _remarks_on_order(counts: np.ndarray, num_found: int) -> list[str]:
  """Says how many images stand in no order that means anything."""
  remarks = []
  if featureless := int(np.sum(counts == 0)):
    remarks.append(f"Without local features, hence last: {featureless} of {len(counts)} images.")
  if num_found < min(FLAGS.num_results, len(counts)):
    remarks.append(
      f"{num_found} images have something in common with the query; the others follow in the order"
      " of their names."
    )
  return remarks


def _order_without_search(
  num_descriptors: int, features: GlobalFeatures, by_global: np.ndarray
) -> tuple[list[int], list[str]]:
  """Returns the order of images where the local search found none, and what to say of it."""
  reason = "local features in common with any image" if num_descriptors else "local features"
  if np.any(features.queries[0]):
    return by_global.tolist(), [
      f"The query has no {reason}: images stand by their global features."
    ]
  return [], [f"The query has no {reason} and no global ones: only exact copies of it are found."]


def _list_results(
  ranking: _Ranking, names: tuple[str, ...], paths: list[pathlib.Path]
) -> list[dict[str, Any]]:
  return [
    {
      "name": names[image],
      "path": str(paths[image]),
      "rank": rank,
      "score": ranking.scores.get(image),
      "similarity": ranking.similarities.get(image, 0.0),
      "copy": ranking.copies.get(image),
      **{f"{stage}_rank": int(values[image]) for stage, values in ranking.stages.items()},
    }
    for rank, image in enumerate(ranking.ids[: FLAGS.num_results], start=1)
  ]


def _print_results(results: list[dict[str, Any]], num_images: int, weight: float) -> None:
  print(f"\n{num_images} images, w = {weight:g}")
  print(f"{'rank':>5}{'score':>9}{'similarity':>12}{'chamfer':>9}{'global':>8}  name")
  for result in results:
    score = "-" if result["score"] is None else f"{result['score']:.4f}"
    print(
      f"{result['rank']:5}{score:>9}{result['similarity']:12.5f}{result['chamfer_rank']:9}"
      f"{result['global_rank']:8}  {printable(result['name'])}"
    )


def _describe(result: dict[str, Any]) -> list[str]:
  score = "not re-ranked" if result["score"] is None else f"score {result['score']:.3f}"
  return [
    f"{result['rank']}. {result['name']}",
    f"{score}, similarity {result['similarity']:.4f}",
    f"chamfer {result['chamfer_rank']}, global {result['global_rank']}",
  ]

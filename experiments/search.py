"""Searches a folder of photographs for what a photograph, or a part of it, shows.

  python -m experiments.search --images=FOLDER --query=PHOTO [--box=x1,y1,x2,y2]

Prints the best images with their rank in each stage, and draws them as a contact sheet.
"""

import hashlib
import pathlib
from typing import Any

import numpy as np
from absl import flags

from experiments import command, common
from experiments.contact_sheet import Tile, save_contact_sheet
from experiments.report import write_report
from experiments.stages import describe_query, follow
from experiments.stopwatch import Stopwatch
from l2g_jax.data.images import Box, crop_to_box, list_images, read_image
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.global_search import rank_by_global
from l2g_jax.pipeline import GlobalFeatures, rank_by_weights

FLAGS = flags.FLAGS
flags.DEFINE_string("images", None, "Folder of photographs to search.", required=True)
flags.DEFINE_string("query", None, "The photograph to search for.", required=True)
flags.DEFINE_string("box", None, "The part of it to search for: x1,y1,x2,y2 in pixels.")
flags.DEFINE_integer("num_results", 23, "Results to show.")
flags.DEFINE_string("contact_sheet", None, "PNG to draw; omitted: search.png in the work folder.")


def main() -> None:
  """Searches, prints, draws."""
  common.configure()
  if FLAGS.num_results < 1:
    raise InputError(f"--num_results must be at least 1, not {FLAGS.num_results}.")
  query_path, box = pathlib.Path(FLAGS.query), _parse_box(FLAGS.box)
  query_image = read_image(query_path)
  if box is not None:
    crop_to_box(query_image, box)
  listed = dict(zip(*list_images(FLAGS.images), strict=True))
  watch = Stopwatch()
  # A folder is known by where it lies.
  place = hashlib.blake2b(str(pathlib.Path(FLAGS.images).resolve()).encode(), digest_size=4)
  directory = pathlib.Path(FLAGS.work_dir) / f"folder-{place.hexdigest()}"
  jobs = [ImageJob(name, path) for name, path in listed.items()]
  collection = follow(jobs, directory, common.stage_options(), watch, verify=FLAGS.verify)
  # Ids are in the order in which the images came; what ties is shown by name.
  names = collection.index.names
  by_name = np.argsort(names)
  queries = describe_query(collection, ImageJob(query_path.name, query_path, box), watch)
  features = GlobalFeatures(queries.global_features, collection.global_features)
  with watch.measure("global search"):
    named = GlobalFeatures(features.queries, features.database[by_name])
    by_global = by_name[rank_by_global(named)]
  with watch.measure("local search"):
    candidates = collection.search(queries.descriptors, min(FLAGS.k, len(names)))
  weight = common.default_weight() if FLAGS.w is None else FLAGS.w
  with watch.measure("embedding and re-ranking"):
    (result,) = rank_by_weights(
      candidates, collection.lists, features, weights=[weight], config=common.method_config()
    )
  found = candidates.ids[0] >= 0
  ids, missing = candidates.ids[0, found], by_name[~np.isin(by_name, candidates.ids[0, found])]
  by_chamfer = np.concatenate([ids, missing])[None]
  ranking = np.concatenate([result.rankings[0, : len(ids)], missing])
  ranks = {
    stage: np.argsort(ranking[0]) + 1
    for stage, ranking in (("global", by_global), ("chamfer", by_chamfer))
  }
  scores = dict(zip(ids.tolist(), result.scores[0, found].tolist(), strict=True))
  similarities = dict(zip(ids.tolist(), candidates.similarities[0, found].tolist(), strict=True))
  results = [
    {
      "name": names[image],
      "path": str(listed[names[image]]),
      "rank": place + 1,
      "score": scores.get(image),
      "similarity": similarities.get(image, 0.0),
      **{f"{stage}_rank": int(values[image]) for stage, values in ranks.items()},
    }
    for place, image in enumerate(ranking[: FLAGS.num_results].tolist())
  ]
  _print_results(results, len(names), weight)
  if not len(queries.descriptors[0]):
    print("The query has no local features: nothing was found, and the order is that of the names.")
  sheet = FLAGS.contact_sheet or directory / "search.png"
  save_contact_sheet(
    sheet,
    Tile(query_path, ["query", query_path.name]),
    box,
    [Tile(pathlib.Path(result["path"]), _describe(result)) for result in results],
  )
  print(f"\nContact sheet: {sheet}")
  if command.OUTPUT.value:
    write_report(
      command.OUTPUT.value,
      {"query": str(query_path), "box": box, "w": weight, "results": results}
      | {"seconds": watch.seconds},
    )


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


def _print_results(results: list[dict[str, Any]], num_images: int, weight: float) -> None:
  print(f"\n{num_images} images, w = {weight:g}")
  print(f"{'rank':>5}{'score':>9}{'similarity':>12}{'chamfer':>9}{'global':>8}  name")
  for result in results:
    score = "-" if result["score"] is None else f"{result['score']:.4f}"
    print(
      f"{result['rank']:5}{score:>9}{result['similarity']:12.5f}{result['chamfer_rank']:9}"
      f"{result['global_rank']:8}  {result['name']}"
    )


def _describe(result: dict[str, Any]) -> list[str]:
  score = "not re-ranked" if result["score"] is None else f"score {result['score']:.3f}"
  return [
    f"{result['rank']}. {result['name']}",
    f"{score}, similarity {result['similarity']:.4f}",
    f"chamfer {result['chamfer_rank']}, global {result['global_rank']}",
  ]


if __name__ == "__main__":
  command.run(main)

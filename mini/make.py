"""Makes the benchmark scene by scene, in parallel; interrupted work goes on where it stopped."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement, save_ground_truth
from l2g_jax.data.images import Box
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import run_tasks
from mini.overlap import (
  Points,
  Sighting,
  choose_label,
  find_box,
  measure_fill,
  measure_overlap,
  sample_points,
  see_points,
)
from mini.plan import MiniConfig, ScenePlan, make_plan
from mini.scene import Photograph, Scene, build_scene, shoot, shoot_query
from mini.textures import make_rng

NAME = "mini"
_KIND = "l2g_jax.mini"
# Counted up when an image or a label changes.
_VERSION = 1
_STREAM = 106
# A query is taken again until it has this clarity and the building fills this share of its box.
_LEAST_CLARITY = 0.5
_LEAST_FILL = 0.5
_ATTEMPTS = 40
# The record of no scene, before the first image.
_BEGUN = "begun.json"


def make_mini(
  root: os.PathLike | str,
  *,
  config: MiniConfig | None = None,
  seed: int = 0,
  num_workers: int | None = None,
  show_progress: bool = True,
) -> pathlib.Path:
  """Makes the built-in benchmark, or finds it complete.

  Interrupted work goes on where it stopped: a scene is kept if its record and all of its images are
  intact. Files do not depend on the number of workers.

  Args:
    root: the data root; its folder `mini` holds the benchmark in the revisited layout.
    config: the size of the benchmark; None = the full size.
    seed: seed of all random draws.
    num_workers: number of processes; None = one per core.
    show_progress: whether to show progress.

  Returns:
    The folder of the benchmark.

  Raises:
    InputError: the folder holds files that this function did not make.
  """
  folder = pathlib.Path(root) / NAME
  config = config or MiniConfig()
  plan = make_plan(config, seed=seed)
  key = files.checksum_json([_KIND, _VERSION, seed, dataclasses.asdict(config)])
  manifest, truth = folder / "manifest.json", folder / f"gnd_{NAME}.json"
  if _read_intact(manifest, key, folder) is not None:
    return folder
  _begin(folder, manifest, truth, key)
  tasks = []
  for scene in plan:
    if _read_intact(_record_path(folder, scene), key, folder) is None:
      tasks.append((scene, config, seed, key, folder))
  total = sum(len(scene.images) + len(scene.queries) for scene in plan)
  done = total - sum(len(task[0].images) + len(task[0].queries) for task in tasks)
  with Meter(
    f"benchmark {NAME}", total=total, done=done, unit="images", disabled=not show_progress
  ) as meter:
    # Large scenes come first, so that the workers end together.
    tasks.sort(key=lambda task: -len(task[0].images))
    for count in run_tasks(_make_scene, tasks, num_workers):
      meter.advance(count)
  records = [files.read_manifest(_record_path(folder, scene)) for scene in plan]
  save_ground_truth(truth, _judge(records))
  content = {name: state for record in records for name, state in record["files"].items()}
  content[truth.name] = _state(truth)
  files.write_manifest(manifest, {"kind": _KIND, "key": key, "files": content})
  return folder


def _begin(folder: pathlib.Path, manifest: pathlib.Path, truth: pathlib.Path, key: str) -> None:
  """Notes that the folder is ours, and removes what would open a half-made benchmark."""
  found = _read_record(manifest)
  if found is not None and found["key"] == key:
    return
  records = map(_read_record, (folder / _BEGUN, *(folder / "scenes").glob("*.json")))
  if found is None and all(record is None for record in records):
    foreign = _find_file(folder)
    if foreign is not None:
      raise InputError(f"{foreign} was not made here; move it, or give another data root.")
  for path in (manifest, truth):
    path.unlink(missing_ok=True)
  files.write_manifest(folder / _BEGUN, {"kind": _KIND, "key": key, "files": {}})


def _find_file(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns a file in a folder, but for those that are just being written."""
  paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
  return next((path for path in paths if files.target_of(path.parent) is None), None)


def _read_record(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads a manifest or the record of a scene; None if the file is neither."""
  try:
    record = files.read_manifest(path)
  except InputError:
    return None
  return record if record.get("kind") == _KIND and "key" in record else None


def _read_intact(path: pathlib.Path, key: str, folder: pathlib.Path) -> dict[str, Any] | None:
  """Reads a manifest or a record; None unless it has the key and all its files are intact."""
  record = _read_record(path)
  if record is None or record["key"] != key:
    return None
  for name, expected in record["files"].items():
    if not (folder / name).is_file() or _state(folder / name) != expected:
      return None
  return record


def _state(path: pathlib.Path) -> dict[str, Any]:
  return {"bytes": path.stat().st_size, "checksum": files.checksum_file(path)}


def _record_path(folder: pathlib.Path, scene: ScenePlan) -> pathlib.Path:
  return folder / "scenes" / f"{scene.index:04d}.json"


def _make_scene(task: tuple[ScenePlan, MiniConfig, int, str, pathlib.Path]) -> int:
  """Takes all photographs of a scene, writes its record last, and returns their number."""
  plan, config, seed, key, folder = task
  # Processes share the cores, so threads in them would only contend.
  cv2.setNumThreads(1)
  scene = build_scene(plan, config, seed=seed)
  points = draw_points(scene, plan, config, seed=seed)
  sightings, clarities, written = [], [], {}
  for view, name in enumerate(plan.images):
    photograph = shoot(scene, plan, config, seed=seed, view=view)
    written |= _save(folder, name, photograph)
    sightings.append(see(points, photograph))
    clarities.append(round(photograph.clarity, 6))
  queries = {}
  for number, name in enumerate(plan.queries):
    photograph, sighting, box = take_query(scene, plan, config, seed, number, points)
    written |= _save(folder, name, photograph)
    overlaps = [round(measure_overlap(sighting, box, other), 6) for other in sightings]
    queries[name] = {"bbx": box, "overlap": overlaps}
  record = {
    "kind": _KIND,
    "key": key,
    "files": written,
    "images": list(plan.images),
    "clarity": clarities,
    "visible": [bool(sighting.visible.any()) for sighting in sightings],
    "queries": queries,
  }
  files.write_manifest(_record_path(folder, plan), record)
  return len(written)


def draw_points(scene: Scene, plan: ScenePlan, config: MiniConfig, *, seed: int) -> Points:
  """Draws the points by which overlap is measured; none of a scene without a query."""
  count = config.num_points if plan.queries else 0
  return sample_points(make_rng(_STREAM, seed, plan.index), scene.surfaces, count)


def take_query(
  scene: Scene, plan: ScenePlan, config: MiniConfig, seed: int, number: int, points: Points
) -> tuple[Photograph, Sighting, Box]:
  """Takes photographs until one shows enough of the building with enough clarity."""
  for attempt in range(_ATTEMPTS):
    view = number * _ATTEMPTS + attempt
    photograph = shoot_query(scene, plan, config, seed=seed, view=view)
    sighting = see(points, photograph)
    box = find_box(sighting, photograph.size)
    if box is None or photograph.clarity < _LEAST_CLARITY:
      continue
    if measure_fill(photograph.rendering, box, photograph.size) >= _LEAST_FILL:
      return photograph, sighting, box
  raise RuntimeError(f"No photograph of landmark {plan.index} is fit to be a query.")


def see(points: Points, photograph: Photograph) -> Sighting:
  """Finds the points that a photograph shows."""
  return see_points(points, photograph.camera, photograph.rendering, photograph.size)


def _save(folder: pathlib.Path, name: str, photograph: Photograph) -> dict[str, Any]:
  """Writes a photograph and returns its entry in the record."""
  path = folder / "jpg" / f"{name}.jpg"
  bgr = cv2.cvtColor(photograph.image, cv2.COLOR_RGB2BGR)
  _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, photograph.quality])
  with files.atomic_path(path) as temporary:
    temporary.write_bytes(content.tobytes())
  return {f"jpg/{path.name}": _state(path)}


def _judge(records: Sequence[Mapping[str, Any]]) -> GroundTruth:
  """Makes the ground truth from the records of all scenes: each overlap becomes a label."""
  imlist = sorted(name for record in records for name in record["images"])
  ids = {name: number for number, name in enumerate(imlist)}
  judgements = {}
  for record in records:
    for name, query in record["queries"].items():
      labels: dict[str, list[int]] = {"easy": [], "hard": [], "junk": [], "negative": []}
      for image, clarity, visible, overlap in zip(
        record["images"], record["clarity"], record["visible"], query["overlap"], strict=True
      ):
        labels[choose_label(overlap, clarity, visible=visible)].append(ids[image])
      easy, hard, junk = (
        np.array(sorted(labels[label]), np.int64) for label in ("easy", "hard", "junk")
      )
      judgements[name] = QueryJudgement(tuple(query["bbx"]), easy, hard, junk)
  qimlist = sorted(judgements)
  return GroundTruth(tuple(imlist), tuple(qimlist), tuple(judgements[name] for name in qimlist))

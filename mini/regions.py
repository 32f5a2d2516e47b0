"""Where the subject of a query truly lies in the photographs of its building.

The ground truth keeps labels alone, so the views are taken again from the seed; the same points of
the building tell where they lie in each.
"""

from typing import Any

import cv2
import numpy as np

from l2g_jax.data.images import Box
from l2g_jax.runtime.progress import Meter
from l2g_jax.runtime.workers import run_tasks
from mini.make import draw_points, see, take_query
from mini.overlap import Sighting
from mini.plan import MiniConfig, ScenePlan, make_plan
from mini.scene import build_scene, shoot

# Fewer points do not tell how far a region reaches.
FEWEST_POINTS = 5


def find_regions(
  *,
  config: MiniConfig | None = None,
  seed: int = 0,
  num_workers: int | None = None,
  show_progress: bool = True,
) -> dict[str, dict[str, Any]]:
  """Finds the true region of every query in every photograph of its building.

  A region is the upright box around the points of the building that both photographs show, the
  query within its box; the outermost hundredth of the points on each side does not count, as in the
  box of a query.

  Args:
    config: the size of the benchmark; None = the full size.
    seed: the seed with which it was made.
    num_workers: number of processes; None = one per core.
    show_progress: whether to show progress.

  Returns:
    By query `bbx`, its box, and `images`, by name the box x1, y1, x2, y2 in pixels of each image;
    one that shows fewer than `FEWEST_POINTS` of the points has none.
  """
  config = config or MiniConfig()
  scenes = [scene for scene in make_plan(config, seed=seed) if scene.queries]
  # Large scenes come first, so that the workers end together.
  tasks = [(scene, config, seed) for scene in sorted(scenes, key=lambda scene: -len(scene.images))]
  found: dict[str, dict[str, Any]] = {}
  with Meter("true regions", total=len(tasks), unit="scenes", disabled=not show_progress) as meter:
    for regions in run_tasks(_find_in_scene, tasks, num_workers):
      found |= regions
      meter.advance()
  return dict(sorted(found.items()))


def _find_in_scene(task: tuple[ScenePlan, MiniConfig, int]) -> dict[str, dict[str, Any]]:
  plan, config, seed = task
  # Processes share the cores, so threads in them would only contend.
  cv2.setNumThreads(1)
  scene = build_scene(plan, config, seed=seed)
  points = draw_points(scene, plan, config, seed=seed)
  photographs = (
    shoot(scene, plan, config, seed=seed, view=view) for view in range(len(plan.images))
  )
  sightings = [see(points, photograph) for photograph in photographs]
  found = {}
  for number, name in enumerate(plan.queries):
    _, query, box = take_query(scene, plan, config, seed, number, points)
    regions = {}
    for image, other in zip(plan.images, sightings, strict=True):
      region = shared_region(query, box, other)
      if region is not None:
        regions[image] = region
    found[name] = {"bbx": list(box), "images": regions}
  return found


def shared_region(query: Sighting, box: Box, other: Sighting) -> list[float] | None:
  """Returns the box in another view around what a query shows in its box; None if too little."""
  x, y = query.pixels.T
  shown = query.visible & (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
  pixels = other.pixels[shown & other.visible]
  if len(pixels) < FEWEST_POINTS:
    return None
  low, high = np.quantile(pixels, 0.01, axis=0), np.quantile(pixels, 0.99, axis=0)
  return [round(float(value), 1) for value in (*low, *high)]

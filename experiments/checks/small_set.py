"""A data set for checks in seconds: the built-in benchmark at a fraction of its size."""

import pathlib
import shutil

import mini
from l2g_jax.runtime import files

NAME = "small"
CONFIG = mini.MiniConfig(
  num_landmarks=4,
  num_queries=4,
  fewest_views=3,
  most_views=7,
  num_distractor_scenes=6,
  distractor_views=2,
  num_points=300,
  height=180,
)


def make_small_set(root: pathlib.Path) -> None:
  """Makes `root/small` in the revisited layout, where it is not there."""
  folder, rendered = root / NAME, root / "rendered"
  truth = folder / f"gnd_{NAME}.json"
  if truth.is_file():
    return
  mini.make_mini(rendered, config=CONFIG, num_workers=1, show_progress=False)
  shutil.copytree(rendered / mini.NAME / "jpg", folder / "jpg", dirs_exist_ok=True)
  # The ground truth comes last, and makes the set complete.
  with files.atomic_path(truth) as temporary:
    shutil.copyfile(rendered / mini.NAME / f"gnd_{mini.NAME}.json", temporary)

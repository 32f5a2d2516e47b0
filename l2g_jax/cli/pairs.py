"""Writes the pairs of a folder's pictures that COLMAP and hloc should match.

  l2g pairs --images=FOLDER [--output=pairs.txt] [--num_neighbors=20] [--verified]

A line holds the two paths below the folder, with their endings, and a space between. COLMAP reads
it as `matches_importer --match_type=pairs`, hloc as the pairs of `match_features`.
"""

import pathlib

from absl import flags

from l2g_jax.cli import command
from l2g_jax.cli.collection_flags import COLLECTION, open_folder
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import FEATURES
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.work_flags import WORK
from l2g_jax.data.image_names import printable
from l2g_jax.data.photo_folders import find_photographs
from l2g_jax.errors import InputError
from l2g_jax.ranking.spatial import MIN_INLIERS
from l2g_jax.retriever.groups import find_pairs
from l2g_jax.runtime import files


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "num_neighbors", 20, "Neighbours of each picture, by their lists.", 1, flag_values=values
  )
  flags.DEFINE_bool(
    "verified", False, "Leave out pairs that no homography explains.", flag_values=values
  )
  flags.DEFINE_integer(
    "min_inliers",
    15,
    "With --verified, matches that it must explain.",
    MIN_INLIERS,
    flag_values=values,
  )
  flags.DEFINE_string("output", "pairs.txt", "File of the pairs.", flag_values=values)


def main(values: Values) -> None:
  """Finds pairs and writes them."""
  target = pathlib.Path(values.output)
  command.check_file(target, _holds_pairs)
  # Before the work: it may take long.
  check_names([_below(path, values.images) for path in find_photographs(values.images).paths])
  retriever = open_folder(values)
  paths = {job.name: _below(job.path, values.images) for job in retriever.images.jobs}
  check_names(list(paths.values()))
  with settings_as_flags():
    found = find_pairs(
      retriever,
      num_neighbors=values.num_neighbors,
      min_inliers=values.min_inliers if values.verified else None,
    )
  lines = [f"{paths[first]} {paths[second]}\n" for first, second in found]
  with files.atomic_path(target) as temporary:
    temporary.write_bytes(b"".join(line.encode("utf-8", "surrogateescape") for line in lines))
  print(f"\n{len(lines)} pairs of {len(retriever.names)} images: {printable(str(target))}")


def check_names(paths: list[str]) -> None:
  """Refuses paths that a line of pairs can't hold: its readers split it at spaces.

  Raises:
    InputError: a path has a space, a tab or a line break.
  """
  if bad := [path for path in paths if path.split() != [path]]:
    raise InputError(
      f"{len(bad)} paths have spaces or line breaks, such as {printable(bad[0])!r}; COLMAP and hloc"
      " split lines there. Rename these files, or list a folder without them."
    )


def _below(path: pathlib.Path, folder: str) -> str:
  """Returns a picture's path below the folder, or its absolute path."""
  root = pathlib.Path(folder)
  return (path.relative_to(root) if path.is_relative_to(root) else path.resolve()).as_posix()


def _holds_pairs(path: pathlib.Path) -> bool:
  """Whether a file holds lines of two words alone, as an earlier run wrote them."""
  with path.open("rb") as file:
    head = file.read(1 << 16).splitlines()[:50]
  # The last line may be cut.
  return all(len(line.split()) == 2 for line in head[:-1] or head)


COMMAND = Command(
  "pairs", __doc__, [COLLECTION, Group("Pairs", _define), FEATURES, WORK], main, ("images",)
)

"""Data sets in the revisited layout: `<root>/<name>/{jpg/, gnd_<name>.pkl|json}`.

The ground truth names images below `jpg/`, with or without their endings; see `ImageFinder`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from l2g_jax.data.ground_truth import GroundTruth, load_ground_truth
from l2g_jax.data.image_formats import endings
from l2g_jax.data.image_names import ImageFinder, printable
from l2g_jax.data.photo_folders import files_below
from l2g_jax.errors import InputError

# Number of database images and of queries of each published set.
PUBLISHED_COUNTS: Mapping[str, tuple[int, int]] = {
  "roxford5k": (4993, 70),
  "rparis6k": (6322, 70),
}


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set whose files are all there.

  Attributes:
    name: name of its folder, such as `roxford5k`.
    ground_truth: names and judgements.
    database_paths: N image files, in the order of `ground_truth.imlist`.
    query_paths: Q image files, in the order of `ground_truth.qimlist`.
  """

  name: str
  ground_truth: GroundTruth
  database_paths: tuple[pathlib.Path, ...]
  query_paths: tuple[pathlib.Path, ...]


def load_dataset(data_root: os.PathLike | str, name: str) -> Dataset:
  """Opens a data set and checks that it is complete.

  Args:
    data_root: the folder that holds the data set's folder.
    name: the data set's folder.

  Raises:
    InputError: the folder, the ground truth or an image is missing, or a published set does not
      have its published counts; the message names the missing files.
  """
  folder = pathlib.Path(data_root) / name
  if not folder.is_dir():
    raise InputError(
      f"There is no data set {name} in {data_root}: {folder} must hold jpg/ and gnd_{name}.pkl"
      " or .json."
    )
  ground_truth = load_ground_truth(find_ground_truth(folder, name))
  counts = (len(ground_truth.imlist), len(ground_truth.qimlist))
  if counts != PUBLISHED_COUNTS.get(name, counts):
    images, queries = PUBLISHED_COUNTS[name]
    raise InputError(
      f"The ground truth in {folder} has {counts[0]} images and {counts[1]} queries; {name} has"
      f" {images} and {queries}."
    )
  if not (folder / "jpg").is_dir():
    raise InputError(f"{folder} has no folder jpg with the images.")
  images = folder / "jpg"
  files = (path for path in files_below(images) if path.suffix.lower() in endings())
  finder = ImageFinder(path.relative_to(images).as_posix() for path in files)
  database = _find_images(images, finder, ground_truth.imlist)
  queries = _find_images(images, finder, ground_truth.qimlist)
  return Dataset(name, ground_truth, database, queries)


def find_ground_truth(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the path of the ground truth of a data set; JSON comes before a pickle."""
  for suffix in (".json", ".pkl"):
    path = folder / f"gnd_{name}{suffix}"
    if path.is_file():
      return path
  raise InputError(f"{folder} has neither gnd_{name}.json nor gnd_{name}.pkl.")


def _find_images(
  folder: pathlib.Path, finder: ImageFinder, names: Sequence[str]
) -> tuple[pathlib.Path, ...]:
  """Returns the file of each name; raises InputError with the names that have none."""
  paths: dict[pathlib.Path, str] = {}
  missing = []
  for name in names:
    path = None if (file := finder.find(name)) is None else folder / file
    if path is None or not path.is_file():
      missing.append(printable(name))
    elif path in paths:
      raise InputError(
        f"{path} is the only image for both {paths[path]!r} and {name!r} of the ground truth."
      )
    else:
      paths[path] = name
  if missing:
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    raise InputError(f"{folder} lacks {len(missing)} of {len(names)} images: {shown}.")
  return tuple(paths)

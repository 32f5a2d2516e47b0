"""Ground truth of the revisited layout, from the published pickles or from JSON."""

import dataclasses
import json
import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax import files
from l2g_jax.errors import InputError

_LABELS = ("easy", "hard", "junk")

# All that the published files need: containers are built by opcodes, arrays by these.
_ADMITTED = {
  ("numpy.core.multiarray", "_reconstruct"),
  ("numpy._core.multiarray", "_reconstruct"),
  ("numpy.core.multiarray", "scalar"),
  ("numpy._core.multiarray", "scalar"),
  ("numpy", "ndarray"),
  ("numpy", "dtype"),
  ("__builtin__", "bytes"),
}


@dataclasses.dataclass(frozen=True)
class QueryJudgement:
  """What is known of one query.

  Attributes:
    bbx: x1, y1, x2, y2 in pixels of the full query image, zero-based; None = the whole image.
    easy: `[.]` int64, database ids, ascending; likewise `hard` and `junk`.
    hard: see `easy`.
    junk: see `easy`.
  """

  bbx: tuple[float, float, float, float] | None
  easy: np.ndarray
  hard: np.ndarray
  junk: np.ndarray


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """A collection's names and its queries' judgements.

  Attributes:
    imlist: N names of database images, without extension.
    qimlist: Q names of query images.
    queries: Q judgements.
  """

  imlist: tuple[str, ...]
  qimlist: tuple[str, ...]
  queries: tuple[QueryJudgement, ...]


def load_ground_truth(path: os.PathLike | str) -> GroundTruth:
  """Reads and checks a ground truth.

  Args:
    path: `.json`, or `.pkl` as published; a pickle is read without calling anything it names.

  Raises:
    InputError: the file is missing, truncated, asks for code, or does not hold together; the
      message names the file and, where there is one, the query.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no ground truth at {path}.")
  if path.suffix == ".json":
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
      raise InputError(f"{path} is truncated or not JSON: {error}.") from error
  elif path.suffix == ".pkl":
    content = _read_pickle(path)
  else:
    raise InputError(f"{path} is neither .json nor .pkl.")
  return _parse(content, path)


def save_ground_truth(path: os.PathLike | str, ground_truth: GroundTruth) -> None:
  """Writes a ground truth as JSON, atomically."""
  gnd = [
    {
      **({} if query.bbx is None else {"bbx": list(query.bbx)}),
      **{label: getattr(query, label).tolist() for label in _LABELS},
    }
    for query in ground_truth.queries
  ]
  content = {
    "imlist": list(ground_truth.imlist),
    "qimlist": list(ground_truth.qimlist),
    "gnd": gnd,
  }
  with files.atomic_path(path) as temporary:
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


class _RestrictedUnpickler(pickle.Unpickler):
  """Builds containers and NumPy arrays, and refuses every other global by name."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ("_codecs", "encode"):
      return _encode
    if (module, name) not in _ADMITTED:
      raise InputError(f"it asks for {module}.{name}, which no ground truth needs")
    return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _encode(text: str, encoding: str) -> bytes:
  """Stands for `_codecs.encode`, by which old protocols write bytes, and knows that use alone."""
  if encoding != "latin1":
    raise InputError(f"it asks for the codec {encoding}, which no ground truth needs")
  return text.encode(encoding)


def _read_pickle(path: pathlib.Path) -> Any:
  with path.open("rb") as file:
    try:
      # The published files were written by Python 2.
      return _RestrictedUnpickler(file, encoding="latin1").load()
    except InputError as error:
      raise InputError(f"{path} is refused: {error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
      raise InputError(f"{path} is truncated or not a pickle of a ground truth.") from error


def _parse(content: Any, path: pathlib.Path) -> GroundTruth:
  if not isinstance(content, Mapping) or not {"imlist", "qimlist", "gnd"} <= set(content):
    raise InputError(f"{path} lacks imlist, qimlist or gnd.")
  imlist = _parse_names(content["imlist"], f"imlist of {path}")
  qimlist = _parse_names(content["qimlist"], f"qimlist of {path}")
  gnd = content["gnd"]
  if not isinstance(gnd, Sequence) or len(gnd) != len(qimlist):
    raise InputError(f"{path} needs one entry of gnd for each of its {len(qimlist)} queries.")
  queries = tuple(
    _parse_query(entry, len(imlist), f"query {name} in {path}")
    for entry, name in zip(gnd, qimlist, strict=True)
  )
  return GroundTruth(imlist=imlist, qimlist=qimlist, queries=queries)


def _parse_names(names: Any, where: str) -> tuple[str, ...]:
  if not isinstance(names, Sequence | np.ndarray) or isinstance(names, str) or not len(names):
    raise InputError(f"The {where} is not a list of names.")
  seen = set()
  for name in names:
    if not isinstance(name, str) or not name:
      raise InputError(f"The {where} holds {name!r}, which is not a name.")
    # Names become paths below the image folder.
    if pathlib.PurePosixPath(name).is_absolute() or ".." in pathlib.PurePosixPath(name).parts:
      raise InputError(f"The {where} holds {name!r}, which leads outside the image folder.")
    if name in seen:
      raise InputError(f"The {where} holds {name!r} twice.")
    seen.add(name)
  return tuple(str(name) for name in names)


def _parse_query(entry: Any, num_images: int, where: str) -> QueryJudgement:
  if not isinstance(entry, Mapping):
    raise InputError(f"The entry of {where} is not a dictionary.")
  labels = {}
  seen: dict[int, str] = {}
  for label in _LABELS:
    if label not in entry:
      raise InputError(f"The entry of {where} lacks {label!r}.")
    ids = np.asarray(entry[label])
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
      raise InputError(f"The {label} list of {where} is not a list of integers.")
    for image in ids.tolist():
      if not 0 <= image < num_images:
        raise InputError(
          f"The {label} list of {where} holds {image}, outside 0 .. {num_images - 1}."
        )
      if image in seen:
        raise InputError(f"Image {image} of {where} is listed as {seen[image]} and as {label}.")
      seen[image] = label
    labels[label] = np.sort(ids.astype(np.int64))
  return QueryJudgement(bbx=_parse_box(entry.get("bbx"), where), **labels)


def _parse_box(box: Any, where: str) -> tuple[float, float, float, float] | None:
  if box is None:
    return None
  try:
    x1, y1, x2, y2 = (float(value) for value in box)
  except (TypeError, ValueError) as error:
    raise InputError(f"The box of {where} is not four numbers: {box!r}.") from error
  if not (np.all(np.isfinite([x1, y1, x2, y2])) and x1 < x2 and y1 < y2):
    raise InputError(f"The box of {where} is empty or not finite: {[x1, y1, x2, y2]}.")
  return x1, y1, x2, y2

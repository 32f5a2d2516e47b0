"""Ground truth in the revisited layout, from the published pickles or from JSON."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from l2g_jax.errors import InputError, reading
from l2g_jax.runtime import files, pickles

_LABELS = ("easy", "hard", "junk")

# A ground truth needs no other names of a pickle; one that asks for more is something else.
_ADMITTED = {**pickles.CONTAINERS, **pickles.ARRAYS}
# Longest text that a message quotes.
_MOST_SHOWN = 100
# float64 represents all integers up to this one.
_MOST_COORDINATE = 1 << 53


@dataclasses.dataclass(frozen=True)
class QueryJudgement:
  """The judgements of one query.

  Attributes:
    bbx: x1, y1, x2, y2 in pixels of the full query image, zero-based; None = the whole image.
    easy: `[.]` int64, database ids of easy images, ascending.
    hard: `[.]` int64, database ids of hard images, ascending.
    junk: `[.]` int64, database ids that do not count, ascending.
  """

  bbx: tuple[float, float, float, float] | None
  easy: np.ndarray
  hard: np.ndarray
  junk: np.ndarray


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """The names of a collection and the judgements of its queries.

  Attributes:
    imlist: N names of database images, with or without their endings.
    qimlist: Q names of query images, likewise.
    queries: Q judgements, in the order of `qimlist`.
  """

  imlist: tuple[str, ...]
  qimlist: tuple[str, ...]
  queries: tuple[QueryJudgement, ...]


def load_ground_truth(path: os.PathLike | str) -> GroundTruth:
  """Reads and checks a ground truth.

  Args:
    path: `.json`, or `.pkl` as published. A pickle is read without calling anything that it names.
      Lists may be arrays and ids may be whole floats, as MATLAB has them.

  Raises:
    InputError: the file is missing, truncated, asks for code, or contradicts itself; the message
      names the file and, where there is one, the query.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no ground truth at {path}.")
  if path.suffix == ".json":
    content = _read_json(path)
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


def _read_json(path: pathlib.Path) -> Any:
  try:
    # `json` itself recognises a byte order mark and UTF-16.
    return json.loads(path.read_bytes())
  except UnicodeDecodeError as error:
    raise InputError(f"{path} is not UTF-8: save it in that encoding.") from error
  except (ValueError, RecursionError) as error:
    raise InputError(f"{path} is truncated or not JSON: {error}.") from error


def _read_pickle(path: pathlib.Path) -> Any:
  with reading(path, "is truncated or not a pickle of a ground truth"):
    content, _ = pickles.read_pickle(path.read_bytes(), resolve=_resolve)
  return content


def _resolve(name: pickles.Name) -> Any:
  if name not in _ADMITTED:
    raise InputError(f"it asks for {name}, which no ground truth needs")
  return _ADMITTED[name]


def _parse(content: Any, path: pathlib.Path) -> GroundTruth:
  if not isinstance(content, dict) or not {"imlist", "qimlist", "gnd"} <= set(content):
    raise InputError(f"{path} lacks imlist, qimlist or gnd.")
  imlist = _parse_names(content["imlist"], f"imlist of {path}")
  qimlist = _parse_names(content["qimlist"], f"qimlist of {path}")
  gnd = _items(content["gnd"])
  if gnd is None or len(gnd) != len(qimlist):
    raise InputError(f"{path} needs one entry of gnd for each of its {len(qimlist)} queries.")
  queries = tuple(
    _parse_query(entry, len(imlist), f"query {name} in {path}")
    for entry, name in zip(gnd, qimlist, strict=True)
  )
  return GroundTruth(imlist=imlist, qimlist=qimlist, queries=queries)


def _items(value: Any) -> Sequence[Any] | None:
  """Returns the elements of a list, a tuple or an array in one line; None for other values.

  MATLAB has no arrays of one dimension: a list comes as `[1, n]` or `[n, 1]`, an empty one as
  `[0, 0]`.
  """
  if isinstance(value, pickles.PickledArray):
    array = value.array
    if array is None:
      return None
    is_line = array.ndim == 1 or (array.ndim == 2 and 1 in array.shape) or array.shape == (0, 0)
    return array.ravel().tolist() if is_line else None
  return value if isinstance(value, list | tuple) else None


def _show(value: Any) -> str:
  """Returns a value for a message; only the type of a container, which may be deep or large."""
  if isinstance(value, str | bytes):
    return repr(value[:_MOST_SHOWN])
  if isinstance(value, bool | float) or (_is_integer(value) and abs(value) < 1 << 64):
    return repr(value)
  return f"a value of type {type(value).__name__}"


def _is_number(value: Any) -> TypeGuard[float]:
  return isinstance(value, float) or (_is_integer(value) and abs(value) < _MOST_COORDINATE)


def _is_integer(value: Any) -> TypeGuard[int]:
  return isinstance(value, int) and not isinstance(value, bool)


def _to_id(value: Any) -> int | None:
  """Returns an integer, or a float that is a whole number, as an int; None for other values."""
  if isinstance(value, float):
    return int(value) if value.is_integer() else None
  return value if _is_integer(value) else None


def _parse_names(names: Any, where: str) -> tuple[str, ...]:
  items = _items(names)
  if not items:
    raise InputError(f"The {where} is not a list of names.")
  parsed: dict[str, None] = {}
  for item in items:
    name = _parse_name(item, where)
    if name in parsed:
      raise InputError(f"The {where} holds {_show(name)} twice.")
    parsed[name] = None
  return tuple(parsed)


def _parse_name(name: Any, where: str) -> str:
  if isinstance(name, pickles.PickledArray):
    # A cell of MATLAB's is an array of one text.
    items = _items(name)
    name = items[0] if items is not None and len(items) == 1 else name
  if isinstance(name, bytes):
    # Python decodes the names in file systems in the same way.
    name = name.decode("utf-8", "surrogateescape")
  if not isinstance(name, str) or not name:
    raise InputError(f"The {where} holds {_show(name)}, which is not a name.")
  try:
    whole = b"\0" not in name.encode("utf-8", "surrogateescape")
  except UnicodeEncodeError:
    whole = False
  if not whole:
    raise InputError(f"The {where} holds {_show(name)}, which no file can be named.")
  # Names become paths below the image folder.
  path = pathlib.PurePosixPath(name)
  if path.is_absolute() or ".." in path.parts:
    raise InputError(f"The {where} holds {_show(name)}, which leads outside the image folder.")
  return name


def _parse_query(entry: Any, num_images: int, where: str) -> QueryJudgement:
  if not isinstance(entry, dict):
    raise InputError(f"The entry of {where} is not a dictionary.")
  labels = {}
  seen: dict[int, str] = {}
  for label in _LABELS:
    if label not in entry:
      raise InputError(f"The entry of {where} lacks {label!r}.")
    ids = _parse_ids(entry[label], num_images, f"{label} list of {where}")
    for image in ids:
      if image in seen:
        raise InputError(f"Image {image} of {where} is listed as {seen[image]} and as {label}.")
      seen[image] = label
    labels[label] = np.sort(np.asarray(ids, np.int64))
  return QueryJudgement(bbx=_parse_box(entry.get("bbx"), where), **labels)


def _parse_ids(value: Any, num_images: int, where: str) -> list[int]:
  items = _items(value)
  ids: list[int] = []
  for item in [None] if items is None else items:
    image = _to_id(item)
    if image is None:
      raise InputError(f"The {where} is not a list of integers.")
    if not 0 <= image < num_images:
      raise InputError(f"The {where} holds {_show(image)}, outside 0 .. {num_images - 1}.")
    ids.append(image)
  return ids


def _parse_box(box: Any, where: str) -> tuple[float, float, float, float] | None:
  if box is None:
    return None
  values = _items(box)
  if values is None or len(values) != 4 or not all(map(_is_number, values)):
    raise InputError(f"The box of {where} is not four numbers.")
  x1, y1, x2, y2 = (float(value) for value in values)
  if not (np.all(np.isfinite([x1, y1, x2, y2])) and x1 < x2 and y1 < y2):
    raise InputError(f"The box of {where} is empty or not finite: {[x1, y1, x2, y2]}.")
  return x1, y1, x2, y2

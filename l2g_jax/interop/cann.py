"""Files of the released CANN: descriptors of an image, lists of such files, and results.

A file of descriptors holds rows of little-endian float32 without a header. A list has one path per
line. A result has one line `query, image, score` per match, where both images are file names.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.interop import source
from l2g_jax.interop.lines import read_lines, refuse_other_encoding
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import files

DIMENSION = 128
_TYPE = np.dtype("<f4")
_MOST_SCORE = float(np.finfo(np.float32).max)


def read_descriptors(path: os.PathLike | str, *, dimension: int = DIMENSION) -> np.ndarray:
  """Reads the descriptors `[count, dimension]` float32 of a file; InputError if it is damaged."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no file of descriptors at {path}.")
  content = path.read_bytes()
  if len(content) % (dimension * _TYPE.itemsize):
    raise InputError(f"{path} is truncated, or its descriptors have not {dimension} dimensions.")
  return np.frombuffer(content, _TYPE).astype(np.float32).reshape(-1, dimension)


def write_descriptors(path: os.PathLike | str, descriptors: np.ndarray) -> None:
  """Writes descriptors `[count, dimension]` as one file, atomically."""
  with files.atomic_path(path) as temporary:
    temporary.write_bytes(np.ascontiguousarray(descriptors, _TYPE).tobytes())


def read_list(path: os.PathLike | str) -> list[pathlib.Path]:
  """Returns the files in a list, whose folder they are relative to; InputError if it is empty."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no list of descriptor files at {path}.")
  found = []
  for number, line in enumerate(read_lines(path), start=1):
    if line.strip():
      found.append(path.parent / line.strip())
      if not files.is_file(found[-1]):
        refuse_other_encoding(path, number, line)
  if not found:
    raise InputError(f"{path} lists no files.")
  return found


def write_list(path: os.PathLike | str, paths: Sequence[os.PathLike | str]) -> None:
  """Writes a list of files, atomically."""
  with files.atomic_path(path) as temporary:
    lines = "".join(f"{os.fspath(item)}\n" for item in paths)
    temporary.write_text(lines, encoding="utf-8", errors="surrogateescape")


def open_local(
  path: os.PathLike | str, names: Sequence[str], *, dimension: int = DIMENSION
) -> source.LocalSource:
  """Opens the descriptors of a list.

  Args:
    path: path of the list.
    names: names of the images, each of which must have a file in the list.
    dimension: length of a descriptor.

  Raises:
    InputError: the list lacks an image, or a file in it is missing; the message names it.
  """
  paths = source.match_files(read_list(path), names, str(path))
  missing = next((item for item in paths if not files.is_file(item)), None)
  if missing is not None:
    raise InputError(f"{path} names {missing}, which is not there.")
  return source.LocalSource(
    names=tuple(names),
    dimension=dimension,
    state=lambda index: ["cann", dimension],
    read=lambda index: source.bare_features(read_descriptors(paths[index], dimension=dimension)),
    files=[(item,) for item in paths],
  )


def read_results(path: os.PathLike | str, queries: Sequence[str], images: Sequence[str]) -> Ranked:
  """Reads a result.

  Args:
    path: path of the file.
    queries: Q names of query images.
    images: N names of database images.

  Returns:
    The matches `[Q, k]` of each query, best first, with the scores of the file, which may be below
    0; -1 and 0 pad queries that have fewer than others.

  Raises:
    InputError: the file is damaged, names an unknown image, lists an image twice for a query, or
      lacks a query; the message names the image or query.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"There is no result at {path}.")
  query_numbers = {source.image_name(name): number for number, name in enumerate(queries)}
  image_numbers = {source.image_name(name): number for number, name in enumerate(images)}
  matches: list[dict[int, float]] = [{} for _ in queries]
  for number, line in enumerate(read_lines(path), start=1):
    if not line.strip():
      continue
    try:
      query, image, score = (text.strip() for text in line.rsplit(",", 2))
      similarity = float(score)
    except ValueError as error:
      refuse_other_encoding(path, number, line)
      raise InputError(f"Line {number} of {path} is not `query, image, score`.") from error
    if not abs(similarity) <= _MOST_SCORE:
      raise InputError(f"Line {number} of {path} has a score that is not finite.")
    of_query = query_numbers.get(source.image_name(query))
    of_image = image_numbers.get(source.image_name(image))
    if of_query is None or of_image is None:
      refuse_other_encoding(path, number, line)
      unknown = query if of_query is None else image
      raise InputError(f"Line {number} of {path} names {unknown!r}, which the data set has not.")
    if of_image in matches[of_query]:
      raise InputError(f"Line {number} of {path} lists {image!r} for {query!r} again.")
    matches[of_query][of_image] = similarity
  for name, found in zip(queries, matches, strict=True):
    if not found:
      raise InputError(f"{path} has no result for query {name!r}.")
  return _pad(matches)


def write_results(
  path: os.PathLike | str, shortlist: Ranked, queries: Sequence[str], images: Sequence[str]
) -> None:
  """Writes a result, atomically; entries -1 are left out."""
  lines = [
    f"{query}, {images[image]}, {similarity!s}\n"
    for query, ids, similarities in zip(queries, shortlist.ids, shortlist.similarities, strict=True)
    for image, similarity in zip(ids, similarities, strict=True)
    if image >= 0
  ]
  with files.atomic_path(path) as temporary:
    temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def _pad(matches: Sequence[dict[int, float]]) -> Ranked:
  length = max(len(found) for found in matches)
  ids = np.full((len(matches), length), -1, np.int64)
  similarities = np.zeros((len(matches), length), np.float32)
  for row, found in enumerate(matches):
    # Best first; ties go to the smaller id.
    ordered = sorted(found.items(), key=lambda match: (-match[1], match[0]))
    ids[row, : len(ordered)] = [image for image, _ in ordered]
    similarities[row, : len(ordered)] = [similarity for _, similarity in ordered]
  return Ranked(ids, similarities)

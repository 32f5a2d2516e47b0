"""Exact copies of a query in a folder; they count even without features."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from l2g_jax.data.images import read_image
from l2g_jax.errors import InputError

SAME_FILE = "the same file"
SAME_PIXELS = "the same pixels"

_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Files:
  """Files, by number."""

  paths: Sequence[pathlib.Path]

  @functools.cached_property
  def sizes(self) -> np.ndarray:
    """Their bytes, `[N]`, when they were first asked for; -1 of those that are gone."""
    return np.array([_size(path) for path in self.paths], np.int64)


def find_copies(
  query: pathlib.Path, pixels: np.ndarray | None, files: Files, suspects: Iterable[int]
) -> Mapping[int, str]:
  """Finds exact copies of a query.

  Args:
    query: its file.
    pixels: `[height, width, 3]` of the query; None = only files are compared.
    files: that may be copies.
    suspects: numbers of files whose pixels may be the query's.

  Returns:
    `SAME_FILE` or `SAME_PIXELS` by the number of the file.
  """
  copies = {}
  for number in np.flatnonzero(files.sizes == query.stat().st_size).tolist():
    try:
      if _have_equal_content(query, files.paths[number]):
        copies[number] = SAME_FILE
    except OSError:
      continue  # The extraction of features has told of it.
  if pixels is not None:
    for number in suspects:
      if number not in copies and _has_pixels(files.paths[number], pixels):
        copies[number] = SAME_PIXELS
  return copies


def _size(path: pathlib.Path) -> int:
  try:
    return path.stat().st_size
  except OSError:
    return -1


def _have_equal_content(first: pathlib.Path, second: pathlib.Path) -> bool:
  with open(first, "rb") as one, open(second, "rb") as two:
    while (chunk := one.read(_CHUNK_BYTES)) == two.read(_CHUNK_BYTES):
      if not chunk:
        return True
  return False


def _has_pixels(path: pathlib.Path, pixels: np.ndarray) -> bool:
  try:
    return np.array_equal(read_image(path), pixels)
  except InputError:
    return False

"""Exact copies of a query in a folder; they count even without features."""

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from l2g_jax.data.images import read_image
from l2g_jax.errors import InputError

SAME_FILE = "the same file"
SAME_PIXELS = "the same pixels"

_CHUNK_BYTES = 1 << 20


def find_copies(
  query: pathlib.Path,
  pixels: np.ndarray | None,
  paths: Mapping[int, pathlib.Path],
  suspects: Iterable[int],
) -> Mapping[int, str]:
  """Finds exact copies of a query.

  Args:
    query: its file.
    pixels: `[height, width, 3]` of the query; None = only files are compared.
    paths: files, each by a number.
    suspects: numbers of files whose pixels may be the query's.

  Returns:
    `SAME_FILE` or `SAME_PIXELS` by the number of the file.
  """
  size = query.stat().st_size
  copies = {}
  for number, path in paths.items():
    try:
      if path.stat().st_size == size and _have_equal_content(query, path):
        copies[number] = SAME_FILE
    except OSError:
      continue  # The extraction of features has told of it.
  if pixels is not None:
    for number in suspects:
      if number not in copies and _has_pixels(paths[number], pixels):
        copies[number] = SAME_PIXELS
  return copies


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

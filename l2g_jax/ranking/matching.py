"""Tentative matches between the local features of two pictures, by their descriptors."""

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError

# From development data: verification sorts out what a wide ratio lets in.
RATIO = 0.95
MUTUAL = True
# Products of unit rows that differ by no more are equal to rounding.
_ROUNDING = np.float32(1e-6)


def match_descriptors(
  query: np.ndarray,
  image: np.ndarray,
  *,
  ratio: float | None = RATIO,
  mutual: bool = MUTUAL,
) -> np.ndarray:
  """Matches each descriptor of a query to its nearest one of an image, one to one.

  Descriptors are normalised first, and compared by Euclidean distance. A zero row matches none.
  Distances that are equal to rounding are a tie, which goes to the smaller row.

  Args:
    query: `[a, d]`, of any norm; a may be 0.
    image: `[b, d]`, of any norm; b may be 0.
    ratio: in (0, 1]; a match must be nearer than `ratio` times the second nearest row of the image,
      if there is one. A smaller one leaves fewer and surer matches; None = no test.
    mutual: whether the query's row must also be the nearest one of the image's row. Without it, a
      row of the image that several rows chose goes to the nearest of these.

  Returns:
    Rows of the query and of the image `[m, 2]` int32, by the query's row; no row occurs twice.

  Raises:
    InputError: shapes that do not fit, or a value that is not finite.
    SettingError: the ratio is outside its range.

  Source: Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004, section 7.1.
  """
  ratio = check_ratio(ratio)
  return match_unit_rows(
    *unit_rows("query", query), *unit_rows("image", image), ratio=ratio, mutual=mutual
  )


def check_ratio(ratio: float | None) -> float | None:
  """Checks the ratio of `match_descriptors`; raises SettingError."""
  return None if ratio is None else settings.real("ratio", ratio, above=0.0, most=1.0)


def unit_rows(name: str, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Normalises descriptors of any norm and leaves zero rows out.

  Args:
    name: whose they are, for the message.
    descriptors: `[n, d]`.

  Returns:
    The unit rows `[m, d]` float32, and their numbers `[m]`.

  Raises:
    InputError: they are not numbers `[n, d]`, or a value is not finite.
  """
  descriptors = np.asarray(descriptors)
  if descriptors.ndim != 2 or descriptors.dtype.kind not in "fiu":
    raise InputError(
      f"The descriptors of the {name} must be numbers [n, d], not {descriptors.dtype} "
      f"{list(descriptors.shape)}."
    )
  descriptors = descriptors.astype(np.promote_types(descriptors.dtype, np.float32), copy=False)
  largest = np.max(np.abs(descriptors), axis=1, initial=0.0)
  if not np.all(np.isfinite(largest)):
    raise InputError(f"The descriptors of the {name} hold a value that is not finite.")
  rows = np.flatnonzero(largest)
  # The largest value becomes 1, so that no square leaves the range of the type.
  scaled = (descriptors[rows] / largest[rows, None]).astype(np.float32, copy=False)
  return scaled / np.linalg.norm(scaled, axis=1, keepdims=True), rows


def check_matches(matches: np.ndarray, num_query: int, num_image: int) -> np.ndarray:
  """Returns matches `[m, 2]` as int32."""
  matches = np.asarray(matches)
  if matches.ndim != 2 or matches.shape[1] != 2 or matches.dtype.kind not in "iu":
    raise InputError(f"Matches must be integers [m, 2], not {matches.dtype} {list(matches.shape)}.")
  if np.any(matches < 0) or np.any(matches >= [num_query, num_image]):
    raise InputError(f"Matches hold a row outside of {num_query} and {num_image} locations.")
  return matches.astype(np.int32)


def match_unit_rows(
  query: np.ndarray,
  query_rows: np.ndarray,
  image: np.ndarray,
  image_rows: np.ndarray,
  *,
  ratio: float | None,
  mutual: bool,
) -> np.ndarray:
  """Matches what `unit_rows` returned of a query and of an image; see `match_descriptors`."""
  if not len(query) or not len(image):
    return np.zeros((0, 2), np.int32)
  if query.shape[1] != image.shape[1]:
    raise InputError(
      f"The descriptors of the query have {query.shape[1]} values and those of the image "
      f"{image.shape[1]}; both must come from the same features."
    )
  products = query @ image.T
  every = np.arange(len(query))
  best = np.max(products, axis=1)
  # Equal columns may differ by rounding, so the first of them is not always the largest.
  nearest = np.argmax(products >= best[:, None] - _ROUNDING, axis=1)
  rows = every
  if ratio is not None:
    products[every, nearest] = -np.inf
    second = np.max(products, axis=1)
    products[every, nearest] = best
    is_sure = (best - second > _ROUNDING) & (1.0 - best < ratio**2 * (1.0 - second))
    rows = np.flatnonzero(is_sure)
  if mutual:
    columns = products[:, nearest[rows]]
    rows = rows[np.argmax(columns >= np.max(columns, axis=0) - _ROUNDING, axis=0) == rows]
  else:
    highest = np.full(len(image), -np.inf, np.float32)
    np.maximum.at(highest, nearest[rows], best[rows])
    rows = rows[best[rows] >= highest[nearest[rows]] - _ROUNDING]
    # Of equals the first.
    rows = np.sort(rows[np.unique(nearest[rows], return_index=True)[1]])
  return np.stack([query_rows[rows], image_rows[nearest[rows]]], axis=1).astype(np.int32)

"""Spatial verification: the matches of a shortlist that one transform of the plane explains.

A homography maps a picture of a flat thing onto another picture of it; an affinity is enough where
the thing is seen from afar. Locations are x and y in pixels of the picture that the extractor saw:
in a query that was cut to a box they count from the corner of the cut.

Source: Philbin et al., Object Retrieval with Large Vocabularies and Fast Spatial Matching, CVPR
2007; estimates by MAGSAC++ (Barath et al., CVPR 2020) in OpenCV's USAC framework.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranking import matching, transforms
from l2g_jax.ranking.transforms import Model
from l2g_jax.runtime.threads import in_threads

# Locations [n, 2] and descriptors [n, d] of one image.
Features = tuple[np.ndarray, np.ndarray]

# From development data: RootSIFT and ALIKED of photographs of buildings, paintings and covers. Of
# unrelated pictures and photographs of buildings about one pair in a thousand had more inliers than
# MIN_INLIERS; covers that lie on the same table have many.
MODEL: Model = "homography"
THRESHOLD = 5.0
CONFIDENCE = 0.999
MAX_ITERATIONS = 5000
MAX_SCALE = 6.0
MIN_INLIERS = 8


@dataclasses.dataclass(frozen=True)
class Verification:
  """The matches of a query and an image that one transform explains.

  Attributes:
    inliers: `[i, 2]` int32, rows of the query and of the image, by the query's row; empty where no
      transform was accepted. No location occurs twice, in neither picture.
    transform: `[3, 3]` float64, maps homogeneous x, y, 1 of the query to the image; None where no
      transform was accepted.
  """

  inliers: np.ndarray
  transform: np.ndarray | None

  @property
  def num_inliers(self) -> int:
    """The number i of inliers."""
    return len(self.inliers)


_REFUSED = Verification(np.zeros((0, 2), np.int32), None)


def verify(
  query_locations: np.ndarray,
  image_locations: np.ndarray,
  matches: np.ndarray,
  *,
  model: Model = MODEL,
  threshold: float = THRESHOLD,
  confidence: float = CONFIDENCE,
  max_iterations: int = MAX_ITERATIONS,
  max_scale: float = MAX_SCALE,
  seed: int = 0,
) -> Verification:
  """Finds the transform from a query to an image that explains the most matches.

  An inlier is a match whose location in the query is mapped to within `threshold` of the one in the
  image, where the transform does not mirror and changes no small length by more than `max_scale`.
  Of inliers that share a location one counts, that of the least error: a point may have been
  described in several orientations. A transform is refused if fewer inliers remain than fix it, or
  if these lie on a line: their root mean square distance from one is at most `threshold` in the
  image. The result depends on locations and seed, not on the order of rows and matches.

  Args:
    query_locations: `[a, 2]`, x and y in pixels.
    image_locations: `[b, 2]`, x and y in pixels.
    matches: `[m, 2]` integer, rows of the query and of the image; m may be 0.
    model: `homography`, or `affinity`, which keeps lines parallel and is fixed by 3 matches, not 4.
    threshold: in pixels of the image, above 0. The default suits pictures of about 1000 pixels: of
      one that the extractor reduced to that, give the locations in pixels of the reduced one.
    confidence: in [0, 1], to have drawn a sample of inliers alone before the search ends.
    max_iterations: samples that are drawn at most, at least 1. More find the same thing among more
      false matches.
    max_scale: at least 1.
    seed: of the samples.

  Raises:
    InputError: shapes that do not fit, a location that is not finite, or a row out of range.
    SettingError: a setting is outside its range.
  """
  options = transforms.check_options(model, threshold, confidence, max_iterations, max_scale, seed)
  query_locations = transforms.check_locations("query", query_locations)
  image_locations = transforms.check_locations("image", image_locations)
  matches = matching.check_matches(matches, len(query_locations), len(image_locations))
  return _verify(query_locations, image_locations, matches, options)


def verify_shortlist(
  query_locations: np.ndarray,
  query_descriptors: np.ndarray,
  images: Sequence[Features | Callable[[], Features]],
  *,
  ratio: float | None = matching.RATIO,
  mutual: bool = matching.MUTUAL,
  model: Model = MODEL,
  threshold: float = THRESHOLD,
  confidence: float = CONFIDENCE,
  max_iterations: int = MAX_ITERATIONS,
  max_scale: float = MAX_SCALE,
  seed: int = 0,
) -> list[Verification]:
  """Matches a query with each image of a shortlist and verifies the matches, on all cores.

  Args:
    query_locations: `[a, 2]`, x and y in pixels.
    query_descriptors: `[a, d]`, of any norm; a may be 0.
    images: of each image its locations `[b, 2]` and descriptors `[b, d]`, or a function that
      returns them, which is called once, in some thread; b may be 0.
    ratio: see `match_descriptors`.
    mutual: see `match_descriptors`.
    model: see `verify`, like all that follow.
    threshold: in pixels of the images.
    confidence: in [0, 1].
    max_iterations: at least 1.
    max_scale: at least 1.
    seed: of the samples, the same for all images.

  Returns:
    A verification an image, which depends neither on the other images nor on the number of cores.

  Raises:
    InputError: shapes that do not fit, or a value that is not finite.
    SettingError: a setting is outside its range.
  """
  ratio = matching.check_ratio(ratio)
  options = transforms.check_options(model, threshold, confidence, max_iterations, max_scale, seed)
  query_locations = transforms.check_locations("query", query_locations)
  query = matching.unit_rows("query", query_descriptors)
  _check_lengths("query", query_locations, query_descriptors)

  def verify_image(image: Features | Callable[[], Features]) -> Verification:
    locations, descriptors = image() if callable(image) else image
    locations = transforms.check_locations("image", locations)
    _check_lengths("image", locations, descriptors)
    rows = matching.unit_rows("image", descriptors)
    matches = matching.match_unit_rows(*query, *rows, ratio=ratio, mutual=mutual)
    return _verify(query_locations, locations, matches, options)

  return in_threads(verify_image, images)


def rank_by_inliers(
  ids: np.ndarray,
  similarities: np.ndarray,
  verifications: Sequence[Verification],
  *,
  min_inliers: int = MIN_INLIERS,
) -> np.ndarray:
  """Orders a shortlist by the number of inliers, and where that says nothing by similarity.

  Args:
    ids: `[k]` integer; -1 pads, and stays behind.
    similarities: `[k]`, of the search.
    verifications: of the first of the ids, k at most; the others count as without inliers.
    min_inliers: at least 0; fewer count as none, as unrelated pictures have a few.

  Returns:
    `[k]` int64, positions in the shortlist, by inliers, then similarity, descending, then position.

  Raises:
    InputError: shapes that do not fit, or a similarity that is not finite.
    SettingError: `min_inliers` is outside its range.
  """
  min_inliers = settings.integer("min_inliers", min_inliers, least=0)
  ids, similarities = np.asarray(ids), np.asarray(similarities)
  if ids.ndim != 1 or ids.shape != similarities.shape or len(verifications) > len(ids):
    raise InputError(
      f"A shortlist must be ids and similarities [k] and at most k verifications, not "
      f"{list(ids.shape)}, {list(similarities.shape)} and {len(verifications)}."
    )
  if not np.all(np.isfinite(similarities)):
    raise InputError("The similarities of a shortlist hold a value that is not finite.")
  counts = np.zeros(len(ids), np.int64)
  counts[: len(verifications)] = [verification.num_inliers for verification in verifications]
  counts[counts < min_inliers] = 0
  return np.lexsort((-similarities, -counts, ids < 0))


def _verify(
  query_locations: np.ndarray,
  image_locations: np.ndarray,
  matches: np.ndarray,
  options: transforms.Options,
) -> Verification:
  """Verifies checked matches; see `verify`."""
  matches, source, target = _distinct(query_locations, image_locations, matches)
  transform = transforms.estimate(source, target, options)
  if transform is None:
    return _REFUSED
  errors = transforms.errors(transform, source, target, options.max_scale)
  rows = np.flatnonzero(errors <= options.threshold)
  rows = rows[np.argsort(errors[rows], kind="stable")]
  for points in (source, target):
    rows = rows[transforms.first_of_each(points[rows])]
  if len(rows) < transforms.SAMPLE_SIZES[options.model]:
    return _REFUSED
  # Points on a line of the query would be near one in the image too.
  if transforms.distance_from_line(target[rows]) <= options.threshold:
    return _REFUSED
  inliers = matches[rows]
  return Verification(inliers[np.argsort(inliers[:, 0])], transform)


def _distinct(
  query_locations: np.ndarray, image_locations: np.ndarray, matches: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Sorts matches by their locations, and leaves one of each pair of locations.

  Samples are drawn by number: sorted, matches in another order give the same result.

  Returns:
    The matches `[m, 2]`, their locations in the query and those in the image, `[m, 2]` each.
  """
  source, target = query_locations[matches[:, 0]], image_locations[matches[:, 1]]
  pairs = np.concatenate([source, target], axis=1)
  order = np.lexsort((*matches.T[::-1], *pairs.T[::-1]))
  pairs = pairs[order]
  is_new = np.ones(len(order), bool)
  is_new[1:] = np.any(pairs[1:] != pairs[:-1], axis=1)
  order = order[is_new]
  return matches[order], source[order], target[order]


def _check_lengths(name: str, locations: np.ndarray, descriptors: np.ndarray) -> None:
  if len(locations) != len(descriptors):
    raise InputError(
      f"The {name} must have as many locations as descriptors, not {len(locations)} and "
      f"{len(descriptors)}."
    )

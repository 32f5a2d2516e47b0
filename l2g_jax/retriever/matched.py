"""Where two photographs show the same thing: matched key points in the pixels of their files."""

import dataclasses

import numpy as np

from l2g_jax.data.images import Box
from l2g_jax.features.protocol import MAX_SIDE, LocalExtractor
from l2g_jax.retriever.described import Described
from l2g_jax.retriever.options import Features
from l2g_jax.retriever.similarities import verify_pair


@dataclasses.dataclass(frozen=True)
class View:
  """A photograph, or a part of it, and what describes it.

  Attributes:
    described: the local features, of each kind.
    size: height and width of the photograph in the pixels of its file, turned by its EXIF.
    box: the part that was described, x1, y1, x2, y2 in these pixels; None = all of it. It may reach
      beyond the photograph.
    reduction: see `Photograph`: of one above 89 megapixels fewer pixels were described.
  """

  described: Described
  size: tuple[int, int]
  box: Box | None = None
  reduction: int = 1

  def frame(self, features: Features) -> Box:
    """Returns the described part, within the photograph."""
    height, width = self.size
    if self.box is None or features.crop_policy == "none":
      return 0.0, 0.0, float(width), float(height)
    left, top = max(self.box[0], 0.0), max(self.box[1], 0.0)
    return left, top, min(self.box[2], float(width)), min(self.box[3], float(height))


@dataclasses.dataclass(frozen=True)
class Match:
  """What two photographs share, in pixels of their files.

  Attributes:
    points: `[i, 4]` float32, x and y in the first photograph, x and y in the second, of the matches
      that one transform explains; empty where none was accepted.
    transform: `[3, 3]` float64, maps homogeneous x, y, 1 of the first to the second; None where
      none was accepted.
    region: `[4, 2]` float64, the corners of the first one's described part as the transform maps
      them, clockwise from its top left; they may lie beyond the second photograph. None without a
      transform, or where one is mapped to infinity or beyond.
  """

  points: np.ndarray
  transform: np.ndarray | None
  region: np.ndarray | None


def match_views(first: View, second: View, features: Features) -> Match:
  """Matches two photographs and verifies the matches by one transform; see `verify_pair`.

  Args:
    first: the query, or either of two images.
    second: the image.
    features: the settings with which both were described.
  """
  found = verify_pair(first.described, second.described)
  starts, start_map = _positions(first, features)
  ends, end_map = _positions(second, features)
  points = np.concatenate([starts[found.inliers[:, 0]], ends[found.inliers[:, 1]]], axis=1)
  if found.transform is None:
    return Match(points, None, None)
  transform = end_map @ found.transform @ np.linalg.inv(start_map)
  return Match(points, transform, map_box(transform, first.frame(features)))


def map_box(transform: np.ndarray, box: Box) -> np.ndarray | None:
  """Maps the corners of a box, clockwise from its top left.

  Args:
    transform: `[3, 3]`, of homogeneous x, y, 1.
    box: x1, y1, x2, y2.

  Returns:
    `[4, 2]`; None where a corner is mapped to infinity or beyond.
  """
  x1, y1, x2, y2 = box
  corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]) @ transform.T
  # A transform is known up to its sign: the corners must lie on one side of the horizon.
  if not (np.all(corners[:, 2] > 0) or np.all(corners[:, 2] < 0)):
    return None
  return corners[:, :2] / corners[:, 2:]


def _positions(view: View, features: Features) -> tuple[np.ndarray, np.ndarray]:
  """Returns the key points of all kinds `[n, 2]` in pixels of the file, and the map to these.

  The map `[3, 3]` is that of the first kind: kinds that are verified together see one picture.
  """
  left, top, _, _ = view.frame(features)
  parts, steps = [], []
  for own, kind in zip(view.described, features.kinds, strict=True):
    # Extractors tell pixels of the picture that they were given, files of others those of a picture
    # that was reduced to the usual size.
    usual = max(1.0, max(view.size) / MAX_SIDE)
    steps.append(float(view.reduction) if isinstance(kind, LocalExtractor) else usual)
    parts.append(own.locations * np.float32(steps[-1]))
  scale = steps[0]
  placed = np.array([[scale, 0.0, left], [0.0, scale, top], [0.0, 0.0, 1.0]])
  return np.concatenate(parts) + np.array([left, top], np.float32), placed

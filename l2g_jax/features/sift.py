"""RootSIFT: local features without learned weights, computed by OpenCV.

OpenCV ignores keypoints of low contrast. If it finds too few in an image, its threshold is halved,
down to a sixteenth, which is about a fifth of a grey level of 255. Descriptors do not depend on
contrast, so a faint image still finds its strong counterpart.
"""

import dataclasses
import functools

import cv2
import numpy as np

from l2g_jax import settings
from l2g_jax.features.preprocess import reduce_by_area
from l2g_jax.features.protocol import MAX_SIDE, LocalExtractor, LocalFeatures

MAX_DESCRIPTORS = 500

# The first is OpenCV's default, which stays if it finds at least `_ENOUGH` keypoints.
_CONTRASTS = (0.04, 0.02, 0.01, 0.005, 0.0025)
_ENOUGH = 8


def sift(*, max_descriptors: int = MAX_DESCRIPTORS, max_side: int = MAX_SIDE) -> LocalExtractor:
  """Returns an extractor of RootSIFT (Lowe 2004; Arandjelovic and Zisserman 2012).

  Args:
    max_descriptors: number of descriptors that are kept, those of the highest contrast; ties go to
      the smaller x, then y.
    max_side: the longer side of an image is reduced to this many pixels; images are never enlarged.

  Raises:
    SettingError: a setting is below 1.
  """
  limits = {
    "max_descriptors": settings.integer("max_descriptors", max_descriptors, least=1),
    "max_side": settings.integer("max_side", max_side, least=1),
  }
  lowest = {"lowest_contrast": _CONTRASTS[-1], "enough": _ENOUGH}
  return LocalExtractor(
    name="sift",
    dimension=128,
    settings={**limits, **lowest, "opencv": cv2.__version__.split(".")[0]},
    extract=functools.partial(_extract, **limits),
  )


def mirrored(features: LocalFeatures, width: int) -> LocalFeatures:
  """Returns what `sift` finds in the mirrored picture, left for right, without looking at it.

  OpenCV lays a descriptor out as 4 rows of 4 cells of 8 orientations, along the orientation of its
  key point. In the mirror the rows are passed in reverse, and angles against that orientation
  change their sign. Extraction finds next to the same: about nine key points in ten.

  Args:
    features: of `sift`, from a picture.
    width: of the picture, in the pixels of the locations; with 1, x becomes -x.
  """
  cells = features.descriptors.reshape(-1, 4, 4, 8)
  flipped = cells[:, ::-1][..., -np.arange(8) % 8]
  locations = features.locations * np.array([-1, 1], np.float32)
  locations[:, 0] += width - 1
  return dataclasses.replace(features, descriptors=flipped.reshape(-1, 128), locations=locations)


def _extract(image: np.ndarray, *, max_descriptors: int, max_side: int) -> LocalFeatures:
  grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
  height, width = grey.shape
  scale = min(1.0, max_side / max(height, width))
  grey = reduce_by_area(grey, max_side=max_side)
  steps = np.array([width / grey.shape[1], height / grey.shape[0]], np.float32)
  keypoints, descriptors = [], None
  for contrast in _CONTRASTS:
    detector = cv2.SIFT.create(nfeatures=max_descriptors, contrastThreshold=contrast)
    keypoints, descriptors = detector.detectAndCompute(grey, np.empty(0, np.uint8))
    if len(keypoints) >= min(_ENOUGH, max_descriptors):
      break
  if descriptors is None or not len(keypoints):
    descriptors, keypoints = np.zeros((0, 128), np.float32), []
  table = np.array(
    [(k.response, k.pt[0], k.pt[1], k.angle, k.size) for k in keypoints], np.float32
  ).reshape(-1, 5)
  # OpenCV may return more than it was asked for if responses tie.
  order = np.lexsort((table[:, 3], table[:, 2], table[:, 1], -table[:, 0]))[:max_descriptors]
  table, descriptors = table[order], descriptors[order]
  sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
  return LocalFeatures(
    descriptors=np.sqrt(descriptors / sums).astype(np.float32),
    # Whole coordinates are centres of pixels. The two sides were rounded separately.
    locations=table[:, 1:3] * steps + (steps - 1) / 2,
    scales=table[:, 4] / np.float32(scale),
    strengths=table[:, 0],
  )

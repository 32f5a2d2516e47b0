"""The similarities of pairs that a flag names, in place of Chamfer's."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.interop.checkpoints import read_weights
from l2g_jax.ranking import matching, spatial
from l2g_jax.ranking.ames import config as ames
from l2g_jax.ranking.ames import matcher
from l2g_jax.ranking.spatial import Verification
from l2g_jax.retriever.described import Described
from l2g_jax.retriever.pair_similarity import DEPTH, LIST_DEPTH, PairSimilarity
from l2g_jax.retriever.trained import load_trained
from l2g_jax.runtime.threads import in_threads

# Key points are in pixels of the photograph; the threshold was chosen at this longer side.
_SIDE = 1024.0
# Descriptors of the two sides of AMES, as published.
_AMES_QUERY, _AMES_IMAGE = 600, 50


def verify_pair(query: Described, image: Described) -> Verification:
  """Verifies the matches of all kinds of features of two images by one transform.

  The threshold grows with the image where this is larger than those it was chosen on.

  Args:
    query: the features of one image, of each kind.
    image: those of another.

  Returns:
    The `Verification`; its rows count through the key points of the first kind, then the next.
  """
  return spatial.verify(
    locations_of(query),
    locations_of(image),
    match_pair(query, image),
    threshold=verification_scale(image) * spatial.THRESHOLD,
  )


def match_pair(query: Described, image: Described) -> np.ndarray:
  """Matches the features of two images, kind by kind; see `match_descriptors`.

  Returns:
    `[m, 2]` int32, rows of `locations_of` each.
  """
  matches, starts = [], (0, 0)
  for own, other in zip(query, image, strict=True):
    found = matching.match_descriptors(own.descriptors, other.descriptors)
    matches.append(found + np.array(starts, np.int32))
    starts = (starts[0] + len(own.descriptors), starts[1] + len(other.descriptors))
  return np.concatenate(matches)


def locations_of(described: Described) -> np.ndarray:
  """Returns the key points `[n, 2]` of the first kind, then the next."""
  return np.concatenate([features.locations for features in described])


def verification_scale(image: Described) -> float:
  """Returns by which tolerances in pixels grow for a larger image, at least 1."""
  return max(1.0, float(locations_of(image).max(initial=0.0)) / _SIDE)


def spatial_similarity(*, depth: int = DEPTH, list_depth: int = LIST_DEPTH) -> PairSimilarity:
  """Returns the number of matches that one transform explains; see `ranking.spatial`.

  Args:
    depth: see `PairSimilarity`.
    list_depth: see `PairSimilarity`.
  """
  settings = {
    "ratio": matching.RATIO,
    "mutual": matching.MUTUAL,
    "model": spatial.MODEL,
    "threshold": spatial.THRESHOLD,
    "max_iterations": spatial.MAX_ITERATIONS,
    "max_scale": spatial.MAX_SCALE,
  }
  return PairSimilarity("spatial", settings, _count_inliers, depth=depth, list_depth=list_depth)


def ames_similarity(
  weights: pathlib.Path, *, depth: int = DEPTH, list_depth: int = LIST_DEPTH
) -> PairSimilarity:
  """Returns the similarity that AMES learned, of the descriptors that it was learned for.

  As published, 600 descriptors of the first image are compared with 50 of each other, the strongest
  of both, and a logit is multiplied by the temperature of its variant before the sigmoid.

  Args:
    weights: of AMES; `l2g convert` makes them.
    depth: see `PairSimilarity`.
    list_depth: see `PairSimilarity`.

  Raises:
    InputError: the file can't be used; or later, descriptors are of another dimension.
  """
  loaded = read_weights("ames", weights)
  variant = loaded.metadata["variant"]
  compare = functools.partial(
    _ames_logits,
    params=loaded.params,
    config=ames.VARIANTS[variant],
    temperature=ames.ENSEMBLES[variant].temperature,
    counts=(_AMES_QUERY, _AMES_IMAGE),
  )
  settings = {"weights": loaded.metadata["checksum"], "counts": [_AMES_QUERY, _AMES_IMAGE]}
  return PairSimilarity(
    "ames", settings, compare, scale="logit", depth=depth, list_depth=list_depth
  )


def learned_similarity(
  weights: pathlib.Path, *, depth: int = DEPTH, list_depth: int = LIST_DEPTH
) -> PairSimilarity:
  """Returns the similarity of a smaller AMES that was trained here.

  Args:
    weights: as the training wrote them; they say which descriptors are compared, and how many.
    depth: see `PairSimilarity`.
    list_depth: see `PairSimilarity`.

  Raises:
    InputError: the file can't be used; or later, descriptors are of another dimension.
  """
  loaded = load_trained(weights, "learned")
  with damage_refused(f"{weights} holds a network of unknown sizes; train it again."):
    config = ames.AmesConfig(**loaded.sizes["config"])
    num_query, num_image = (int(count) for count in loaded.sizes["counts"])
  compare = functools.partial(
    _ames_logits,
    params=loaded.params,
    config=config,
    temperature=1.0,
    counts=(num_query, num_image),
  )
  return PairSimilarity(
    "learned",
    {"weights": loaded.checksum},
    compare,
    scale="logit",
    depth=depth,
    list_depth=list_depth,
  )


def _ames_logits(
  query: Described,
  images: Sequence[Described],
  *,
  params: Mapping[str, Any],
  config: ames.AmesConfig,
  temperature: float,
  counts: tuple[int, int],
) -> np.ndarray:
  """Compares the strongest descriptors of the two sides, at most `counts` of each."""
  if len(query) != 1 or query[0].descriptors.shape[1] != config.local_dim:
    raise InputError(
      f"These weights compare one kind of descriptors of {config.local_dim} dimensions."
    )
  num_query, num_image = counts
  own = query[0].descriptors[:num_query]
  if not len(own):
    return np.full(len(images), -np.finfo(np.float32).max)
  padded = np.zeros((len(images), num_image, config.local_dim), np.float32)
  mask = np.zeros(padded.shape[:2], bool)
  for row, (features,) in enumerate(images):
    values = features.descriptors[:num_image]
    padded[row, : len(values)] = values
    mask[row, : len(values)] = True
  logits = matcher.similarities(params, own, padded, config=config, image_mask=mask)
  # An image without descriptors is like none.
  return np.where(mask.any(axis=1), temperature * logits, -np.finfo(np.float32).max)


def _count_inliers(query: Described, images: Sequence[Described]) -> np.ndarray:
  verifications = in_threads(functools.partial(verify_pair, query), images)
  return np.array([verification.num_inliers for verification in verifications])

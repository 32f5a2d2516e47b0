"""Similarities of small items, and an index of them."""

import dataclasses

import numpy as np

from l2g_jax.landmarks import LandmarkConfig, LandmarkIndex

# Settings are given, so that no test pays for choosing them.
LINKED = LandmarkConfig(
  12, 6, num_dimensions=4, power=1.0, profile_weight=0.0, weighting="equal", part_size=16
)
# By the space alone.
CONFIG = dataclasses.replace(LINKED, num_neighbors=0)


def points(count, *, seed=0, dimensions=4):
  return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def closeness(first, second):
  """Minus the Euclidean distance."""
  return -np.linalg.norm(np.asarray(first)[:, None] - np.asarray(second)[None], axis=-1)


class Counted:
  """A similarity that counts pairs and keeps their shapes."""

  def __init__(self, function=closeness):
    self.function, self.pairs, self.shapes = function, 0, []

  def __call__(self, first, second):
    self.pairs += len(first) * len(second)
    self.shapes.append((len(first), len(second)))
    return self.function(first, second)


class Killed(Exception):
  """Raised in place of a kill."""


def build(directory, items, similarity=closeness, config=LINKED):
  return LandmarkIndex.build(directory, items, similarity, config)


def brute_force(queries, items, k, similarity=closeness):
  """Positions of the k most similar items, ties by position."""
  return np.argsort(-similarity(queries, items), axis=1, kind="stable")[:, :k]

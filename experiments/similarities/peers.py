"""Shortlists by the peers, from the same similarities to the same landmarks.

Each function of `Profiles` yields its name, settings and scores `[Q, N]`, larger where
an item should be evaluated sooner. None evaluates a pair beyond those to the landmarks.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

Scored = Iterator[tuple[str, str, np.ndarray]]

POWERS = (1.0, 0.6, 0.3)
_DIMENSIONS = (8, 16, 32, 64, 128, 256)
_PIVOTED = (8, 16, 32)
# Values of one block of differences.
_BLOCK = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class Profiles:
  """How alike items and queries are to the landmarks, in [0, 1].

  Attributes:
    landmarks: `[L, L]`, symmetric.
    items: `[N, L]` float32.
    queries: `[Q, L]` float32.
  """

  landmarks: np.ndarray
  items: np.ndarray
  queries: np.ndarray


def closeness(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
  """Returns what orders items by their distance, `[Q, N]`."""
  return 2.0 * queries @ items.T - np.sum(items**2, axis=1)[None]


def raw_profiles(given: Profiles) -> Scored:
  """The profiles as vectors; the greatest difference is LAESA's bound (Mico and others, 1994)."""
  mean, deviation = given.items.mean(axis=0), np.maximum(given.items.std(axis=0), 1e-9)
  items, queries = ((some - mean) / deviation for some in (given.items, given.queries))
  lengths = [np.linalg.norm(some, axis=1, keepdims=True) for some in (queries, items)]
  yield "profiles", "cosine", (queries / lengths[0]) @ (items / lengths[1]).T
  yield "profiles", "euclidean", closeness(given.queries, given.items)
  scores = np.empty((len(queries), len(items)), np.float32)
  step = max(1, _BLOCK // given.items.shape[1])
  for row, query in enumerate(given.queries):
    for start in range(0, len(items), step):
      some = given.items[start : start + step]
      scores[row, start : start + step] = -np.abs(some - query).max(axis=1)
  yield "profiles", "greatest difference (LAESA)", scores


def landmark_scaling(given: Profiles) -> Scored:
  """Landmark MDS (de Silva and Tenenbaum, 2004)."""
  for power in POWERS:
    landmarks, items, queries = (
      (1.0 - some ** np.float32(power)) ** 2
      for some in (given.landmarks, given.items, given.queries)
    )
    np.fill_diagonal(landmarks, 0.0)
    mean = landmarks.mean(axis=0)
    inner = -0.5 * (landmarks - mean - mean[:, None] + landmarks.mean()).astype(np.float64)
    values, vectors = np.linalg.eigh(inner)
    values, vectors = values[::-1], vectors[:, ::-1]
    positive = int(np.sum(values > 1e-6 * values[0]))
    for size in sorted({min(size, positive) for size in _DIMENSIONS}):
      inverse = (vectors[:, :size] / np.sqrt(values[:size])).astype(np.float32)
      placed = [-0.5 * (some - mean) @ inverse for some in (queries, items)]
      yield "landmark MDS", f"m={size}, p={power:g}", closeness(*placed)


def nystrom(given: Profiles) -> Scored:
  """Nystrom's approximation of the similarities themselves (Williams and Seeger, 2001)."""
  for power in POWERS:
    landmarks, items, queries = (
      some ** np.float32(power) for some in (given.landmarks, given.items, given.queries)
    )
    values, vectors = np.linalg.eigh(landmarks.astype(np.float64))
    order = np.argsort(-np.abs(values))
    usable = order[np.abs(values[order]) > 1e-6 * np.abs(values).max()]
    for size in sorted({min(size, len(usable)) for size in _DIMENSIONS}):
      kept = usable[:size]
      inverse = (vectors[:, kept] / values[kept]).astype(np.float32)
      scores = (queries @ inverse) @ (items @ vectors[:, kept].astype(np.float32)).T
      yield "Nystrom", f"m={size}, p={power:g}", scores


def fastmap(given: Profiles) -> Scored:
  """FastMap (Faloutsos and Lin, 1995), with its pivots among the landmarks."""
  for power in (1.0, 0.3):
    tables = [
      (1.0 - some ** np.float32(power)) ** 2
      for some in (given.landmarks, given.items, given.queries)
    ]
    np.fill_diagonal(tables[0], 0.0)
    axes: list[list[np.ndarray]] = [[], []]
    for dimension in range(max(_PIVOTED)):
      left = dimension % len(tables[0])
      for _ in range(3):
        right, left = left, int(np.argmax(tables[0][left]))
      apart = tables[0][left, right]
      if apart <= 1e-9:
        break
      own, *others = [
        (table[:, left] + apart - table[:, right]) / (2.0 * np.sqrt(apart)) for table in tables
      ]
      for table, axis in zip(tables, (own, *others), strict=True):
        table -= (axis[:, None] - own) ** 2
        np.maximum(table, 0.0, out=table)
      for kept, axis in zip(axes, others, strict=True):
        kept.append(axis)
      if dimension + 1 in _PIVOTED:
        items, queries = (np.stack(kept, axis=1) for kept in axes)
        yield "FastMap", f"m={dimension + 1}, p={power:g}", closeness(queries, items)

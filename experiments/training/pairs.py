"""Batches of pairs of images: a query or image, with one that shows the same and one that does not.

Negatives are hard: most come from the head of a search. Each time an image is used, some of its
strongest descriptors are drawn, so that no two batches are alike.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.training.material import LabelledLists, trained_rows
from l2g_jax.retriever.described import DescribedImages

# Descriptors that are kept of an image, as a multiple of those that are used at a time.
_SPARE = 1.25
# Share of negatives from the head of a list, and its length.
_HARD, _HEAD = 0.75, 50


class PairBatch(NamedTuple):
  """P pairs, the first half of them positive: descriptors, masks of the valid ones, and labels.

  Attributes:
    query: `[P, q, d]` float32.
    images: `[P, t, d]` float32.
    query_mask: `[P, q]` bool.
    image_mask: `[P, t]` bool.
    labels: `[P]` bool.
  """

  query: np.ndarray
  images: np.ndarray
  query_mask: np.ndarray
  image_mask: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Strongest:
  """The strongest descriptors of N images.

  Attributes:
    descriptors: `[N, m, d]` float16, strongest first, 0 pads.
    counts: `[N]`, how many are valid.
  """

  descriptors: np.ndarray
  counts: np.ndarray

  def head(self, numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the strongest descriptors `[n, count, d]` of some images, and their mask."""
    mask = np.arange(count)[None] < self.counts[numbers, None]
    return self.descriptors[numbers, :count].astype(np.float32), mask

  def draw(
    self, numbers: np.ndarray, count: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns `count` of the strongest descriptors of each image, drawn, and their mask."""
    width = self.descriptors.shape[1]
    # Valid ones come first in the draw.
    keys = rng.random((len(numbers), width))
    keys += np.arange(width)[None] >= self.counts[numbers, None]
    chosen = np.argsort(keys, axis=1)[:, :count]
    mask = np.arange(count)[None] < self.counts[numbers, None]
    values = np.take_along_axis(self.descriptors[numbers], chosen[..., None], axis=1)
    return values.astype(np.float32), mask


@dataclasses.dataclass(frozen=True)
class PairMaterial:
  """A set's lists with the descriptors of its queries and images.

  Attributes:
    lists: with their labels.
    rows: `[R]`, the lists that are trained on.
    queries: of the Q queries.
    images: of the N images.
  """

  lists: LabelledLists
  rows: np.ndarray
  queries: Strongest
  images: Strongest


def open_pairs(lists: LabelledLists, counts: tuple[int, int]) -> PairMaterial:
  """Reads the descriptors that pairs of a set need.

  Args:
    lists: of the set.
    counts: how many descriptors of a query and of an image are compared.
  """
  kept = int(_SPARE * max(counts))
  given = lists.material
  return PairMaterial(
    lists,
    trained_rows(lists),
    _strongest(given.described_queries, kept),
    _strongest(given.images, kept),
  )


def _strongest(described: DescribedImages, kept: int) -> Strongest:
  (store,) = described.stores
  descriptors = np.zeros((len(described), kept, store.dimension), np.float16)
  counts = np.zeros(len(described), np.int64)
  for number in range(len(described)):
    (features,) = described[number]
    values = features.descriptors[:kept]
    counts[number] = len(values)
    descriptors[number, : len(values)] = values
  return Strongest(descriptors, counts)


def draw_batch(
  material: Sequence[PairMaterial], rng: np.random.Generator, size: int, counts: tuple[int, int]
) -> PairBatch:
  """Draws a batch of one of the sets, each as often as it has lists.

  Args:
    material: the sets; each has a list to train on.
    rng: the source of all draws.
    size: P, even.
    counts: q and t.
  """
  shares = np.array([len(made.rows) for made in material], np.float64)
  made = material[rng.choice(len(material), p=shares / shares.sum())]
  rows = rng.choice(made.rows, size // 2)
  positives, negatives = [], []
  for row in rows:
    ids, labels = made.lists.found.ids[row], made.lists.labels[row]
    negative = np.flatnonzero(labels == 0)
    head = negative[:_HEAD] if rng.random() < _HARD else negative
    positives.append(ids[rng.choice(np.flatnonzero(labels == 1))])
    negatives.append(ids[rng.choice(head)])
  query, query_mask = _anchors(made, rows, counts[0], rng)
  images, image_mask = made.images.draw(np.array([*positives, *negatives]), counts[1], rng)
  return PairBatch(
    np.concatenate([query, query]),
    images,
    np.concatenate([query_mask, query_mask]),
    image_mask,
    np.arange(size) < size // 2,
  )


def _anchors(
  made: PairMaterial, rows: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Returns drawn descriptors of the anchors of some lists, and their mask."""
  numbers, is_query = made.lists.numbers[rows], made.lists.is_query[rows]
  values = np.zeros((len(rows), count, made.images.descriptors.shape[2]), np.float32)
  mask = np.zeros((len(rows), count), bool)
  for source, chosen in ((made.queries, is_query), (made.images, ~is_query)):
    if chosen.any():
      values[chosen], mask[chosen] = source.draw(numbers[chosen], count, rng)
  return values, mask

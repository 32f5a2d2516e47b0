"""Aggregation: one vector for all descriptors of an image that share a word."""

import dataclasses
from collections.abc import Sequence

import numba
import numpy as np

from l2g_jax.ranking.asmk.assignment import nearest_words
from l2g_jax.ranking.asmk.codebook import Codebook

_BITS = 32
# Keeps the vector of a zero sum finite, as published.
_LEAST_NORM = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Entries:
  """The vectors of some images, in ascending order of image, then of word.

  Attributes:
    images: `[E]` int32, positions among those images.
    words: `[E]` int32, each once an image.
    vectors: `[E, ceil(d / 32)]` uint32 of bits, or `[E, d]` float32.
  """

  images: np.ndarray
  words: np.ndarray
  vectors: np.ndarray


def aggregate(
  codebook: Codebook, images: Sequence[np.ndarray], *, multiple_assignment: int, binary: bool
) -> Entries:
  """Sums the residuals, descriptor - centroid, of each image and word.

  Args:
    codebook: of d dimensions.
    images: the descriptors `[count, d]` float32 of each image, as `batches` checks them; at least
      one image.
    multiple_assignment: to how many words a descriptor goes.
    binary: whether vectors are the signs of the sums, or the sums at unit norm.

  Returns:
    The `Entries`. Sums are of float32, in the order of the descriptors.
  """
  descriptors = np.concatenate(images)
  owners = np.repeat(np.arange(len(images)), [len(image) for image in images])
  words, _ = nearest_words(descriptors, codebook.centroids, multiple_assignment)
  keys = (owners[:, None] * len(codebook.centroids) + words).ravel()
  order = np.argsort(keys, kind="stable")
  keys, starts = np.unique(keys[order], return_index=True)
  images_of, words_of = (part.astype(np.int32) for part in divmod(keys, len(codebook.centroids)))
  sums = np.zeros((len(keys), codebook.centroids.shape[1]), np.float32)
  bounds = np.append(starts, len(order))
  rows = order // words.shape[1]
  _add_residuals(descriptors, codebook.centroids, rows, words_of, bounds, sums)
  return Entries(images_of, words_of, pack_bits(sums) if binary else _normalize(sums))


def pack_bits(sums: np.ndarray) -> np.ndarray:
  """Returns values `[E, d]` as bits `[E, ceil(d / 32)]` uint32, 1 where positive.

  The first component is the highest bit; the bits that are left over are 0.
  """
  bits = np.pad(sums > 0.0, ((0, 0), (0, -sums.shape[1] % _BITS)))
  return np.packbits(bits, axis=1).view(">u4").astype(np.uint32)


def _normalize(sums: np.ndarray) -> np.ndarray:
  norms = np.sqrt(np.einsum("ed,ed->e", sums, sums, dtype=np.float64))
  return (sums / (norms + _LEAST_NORM)[:, None]).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _add_residuals(descriptors, centroids, rows, words, bounds, sums):
  """Raises `sums`, `[E, d]`, by the residuals of the rows between bounds `[E + 1]`."""
  for entry in range(len(words)):
    for place in range(bounds[entry], bounds[entry + 1]):
      for column in range(sums.shape[1]):
        residual = descriptors[rows[place], column] - centroids[words[entry], column]
        sums[entry, column] += residual

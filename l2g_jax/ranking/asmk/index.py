"""The inverted file: for every word, the images that have it and their vectors."""

import dataclasses
from collections.abc import Iterable

import numba
import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk.aggregation import aggregate
from l2g_jax.ranking.asmk.codebook import Codebook
from l2g_jax.ranking.asmk.config import AsmkConfig
from l2g_jax.ranking.asmk.descriptors import batches


@dataclasses.dataclass(frozen=True, eq=False)
class AsmkIndex:
  """An inverted file of N images with E pairs of image and word; its arrays are read-only.

  Attributes:
    codebook: of C words.
    config: how it was built, and is searched.
    offsets: `[C + 1]` int64, the first entry of each word.
    images: `[E]` int32, ascending within a word.
    vectors: `[E, ceil(d / 32)]` uint32 if binary, `[E, d]` float32 otherwise.
    norms: `[N]` float64, the sum of the weights of an image's words; 0 without descriptors.
    weights: `[C]` float64, of the words: 1, or their idf, see `AsmkConfig`. A word that no image
      has weighs as if one had it; it matters to the norm of a query alone.
  """

  codebook: Codebook
  config: AsmkConfig
  offsets: np.ndarray
  images: np.ndarray
  vectors: np.ndarray
  norms: np.ndarray
  weights: np.ndarray

  @property
  def num_images(self) -> int:
    """N."""
    return len(self.norms)

  @property
  def nbytes(self) -> int:
    """Bytes of memory, without the codebook's."""
    arrays = (self.offsets, self.images, self.vectors, self.norms, self.weights)
    return sum(array.nbytes for array in arrays)


def build_index(
  codebook: Codebook, images: Iterable[np.ndarray], config: AsmkConfig | None = None
) -> AsmkIndex:
  """Aggregates images into an inverted file.

  Args:
    codebook: of d dimensions.
    images: the descriptors `[count, d]` of each image, as they are, count may be 0; read once.
    config: None = the defaults.

  Returns:
    The `AsmkIndex`; ids are positions among the images. While it is built, at most twice its
    memory is taken.

  Raises:
    InputError: there is no image, a shape does not fit, or a value is not finite.
  """
  config = AsmkConfig() if config is None else config
  num_images, parts = 0, []
  for batch in batches(images, codebook.centroids.shape[1], name="image"):
    part = aggregate(codebook, batch, multiple_assignment=1, binary=config.binary)
    parts.append((part.images + np.int32(num_images), part.words, part.vectors))
    num_images += len(batch)
  if not num_images:
    raise InputError("An index needs at least one image.")
  return _invert(codebook, config, parts, num_images)


def _invert(
  codebook: Codebook,
  config: AsmkConfig,
  parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
  num_images: int,
) -> AsmkIndex:
  """Orders entries by word, then image; empties `parts`, so that memory is freed on the way."""
  num_words = len(codebook.centroids)
  counts = np.zeros(num_words, np.int64)
  for _, words, _ in parts:
    np.add.at(counts, words, 1)
  weights = np.ones(num_words)
  if config.use_idf:
    weights = np.log(num_images / np.maximum(counts, 1)) ** 2
  offsets = np.concatenate([[0], np.cumsum(counts)])
  images = np.empty(offsets[-1], np.int32)
  vectors = np.empty((offsets[-1], parts[0][2].shape[1]), parts[0][2].dtype)
  norms = np.zeros(num_images)
  ends = offsets[:-1].copy()
  parts.reverse()
  while parts:
    owners, words, part = parts.pop()
    places = _next_places(words, ends)
    images[places], vectors[places] = owners, part
    np.add.at(norms, owners, weights[words])
  arrays = (offsets, images, vectors, norms, weights)
  for array in arrays:
    array.setflags(write=False)
  return AsmkIndex(codebook, config, *arrays)


@numba.njit(cache=True, nogil=True)
def _next_places(words, ends):
  """Returns the free place of each entry in the list of its word, and moves the ends of lists."""
  places = np.empty(len(words), np.int64)
  for entry, word in enumerate(words):
    places[entry] = ends[word]
    ends[word] += 1
  return places

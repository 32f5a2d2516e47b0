"""Codebooks: the words that descriptors are assigned to, learned once and kept."""

import dataclasses
import os

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk.assignment import nearest_words
from l2g_jax.ranking.asmk.descriptors import check_descriptors
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays
from l2g_jax.similarity.kmeans import kmeans

NUM_ITERATIONS = 20
# As published, for collections large enough.
MOST_WORDS = 1 << 16

_DESCRIPTORS_A_WORD = 50

_KIND = "l2g_jax.asmk_codebook"
_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Codebook:
  """The centroids of words.

  Attributes:
    centroids: `[C, d]` float32, at least one, finite.

  Raises:
    InputError: the centroids are something else.
  """

  centroids: np.ndarray

  def __post_init__(self):
    centroids = check_descriptors(self.centroids, None, name="The centroids of a codebook")
    if not centroids.size:
      raise InputError("A codebook needs at least one word.")
    # Read-only like the arrays of a file, so that loops are compiled once for both.
    centroids = centroids.copy()
    centroids.setflags(write=False)
    object.__setattr__(self, "centroids", centroids)


def default_num_words(num_descriptors: int) -> int:
  """Returns one word for 50 descriptors of a collection, from 1 to 65536, the published number.

  In two development collections of 170 and 320 thousand descriptors, raw and whitened, with words
  of their own and of the other, 4096 words ranked better than 1024 in seven cases of eight, and
  16384 as well as 4096 on average.
  """
  return min(max(1, num_descriptors // _DESCRIPTORS_A_WORD), MOST_WORDS)


def train_codebook(
  descriptors: np.ndarray,
  num_words: int | None = None,
  *,
  num_iterations: int = NUM_ITERATIONS,
  seed: int = 0,
) -> Codebook:
  """Learns words by k-means, comparing on the default device.

  Args:
    descriptors: `[n, d]`, a sample of those that will be assigned.
    num_words: C, at least 1. Each descriptor becomes a word of its own where there are fewer. None
      = `default_num_words` of these descriptors.
    num_iterations: of k-means, at least 0, which keeps the start, a random choice of descriptors.
    seed: of the start, from 0 to 2^32 - 1.

  Returns:
    The `Codebook`, the same for the same arguments.

  Raises:
    InputError: there is no descriptor, a value is not finite, or a number is outside its range.
  """
  descriptors = check_descriptors(descriptors, None, name="The descriptors of a codebook")
  wanted = default_num_words(len(descriptors)) if num_words is None else num_words
  wanted = settings.integer("num_words", wanted, least=1)
  num_iterations = settings.integer("num_iterations", num_iterations, least=0)
  seed = settings.integer("seed", seed, least=0, most=settings.LARGEST_SEED)
  if not descriptors.size:
    raise InputError("A codebook is learned from at least one descriptor; there is none.")
  return Codebook(
    kmeans(descriptors, wanted, num_iterations=num_iterations, seed=seed, nearest=_nearest_word)
  )


def save_codebook(directory: os.PathLike | str, codebook: Codebook) -> None:
  """Writes a codebook as a bundle, with its checksums."""
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={"centroids": codebook.centroids},
    metadata={},
  )


def load_codebook(directory: os.PathLike | str, *, verify: bool = True) -> Codebook:
  """Reads a codebook.

  Args:
    directory: of the bundle.
    verify: whether to compare the checksum, not only the size.

  Raises:
    InputError: it is missing, truncated or, if verified, altered.
  """
  bundle = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify)
  check_arrays(directory, bundle.arrays, {"centroids": ("float32", ("words", "dimension"))})
  return Codebook(np.array(bundle.arrays["centroids"]))


def _nearest_word(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  words, distances = nearest_words(points, centroids, 1)
  return words[:, 0], distances[:, 0]

"""ASMK in place of the local search: candidates of queries and lists of images by it, kept.

ASMK counts a burst of like descriptors once and weighs both images alike, which Chamfer does not.
L2G embeds what it says as it embeds Chamfer similarities.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.features.whitening import Whitening
from l2g_jax.ranked import Ranked
from l2g_jax.ranking import asmk
from l2g_jax.retriever import vocabulary
from l2g_jax.retriever.collection import Collection, Descriptors
from l2g_jax.retriever.described import DescribedImages
from l2g_jax.retriever.sources import short_key
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import track

_LISTS_KIND = "l2g_jax.asmk_lists"
_VERSION = 1
# Descriptors from which a word is learned, as a multiple of the words.
_SAMPLE_PER_WORD = 64


@dataclasses.dataclass(frozen=True)
class AsmkSearch:
  """How a collection is searched by ASMK; several kinds of features add their scores.

  Attributes:
    config: of the kernels.
    num_words: of each codebook, which is learned from the collection itself, at least 1; None = by
      the number of descriptors, see `asmk.default_num_words`.
    seed: of the sample and of the start of the codebook.
  """

  config: asmk.AsmkConfig = dataclasses.field(default_factory=asmk.AsmkConfig)
  num_words: int | None = None
  seed: int = 0

  def __post_init__(self):
    if self.num_words is not None:
      settings.integer("num_words", self.num_words, least=1)
    settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class AsmkCollection:
  """A collection that ASMK can search.

  Attributes:
    indexes: one a kind of features, over the N images.
    directory: where they lie.
  """

  indexes: Sequence[asmk.AsmkIndex]
  directory: pathlib.Path

  @property
  def bytes_an_image(self) -> float:
    """Memory of the indexes, without codebooks, for each image."""
    return sum(index.nbytes / index.num_images for index in self.indexes)

  def search(self, queries: Sequence[Descriptors], k: int) -> Ranked:
    """Finds the best images of Q queries, `[Q, min(k, N)]`; images without a match score 0."""
    num_images = self.indexes[0].num_images
    k = min(k, num_images)
    ids = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    for row, query in enumerate(track(queries, "ASMK", unit="images")):
      parts = [asmk.score(*part) for part in zip(self.indexes, query, strict=True)]
      scores = np.sum(parts, axis=0)
      ids[row] = np.argsort(-scores, kind="stable")[:k]
      similarities[row] = scores[ids[row]]
    return Ranked(ids, similarities)


def open_or_build(
  options: AsmkSearch, collection: Collection, images: DescribedImages
) -> AsmkCollection:
  """Opens the indexes of a collection, or builds and keeps them.

  Args:
    options: how.
    collection: that is ready for queries.
    images: its local features.
  """
  states = [[kind.index.directory.parent.name, kind.index.state] for kind in collection.kinds]
  made_of = (options.num_words, options.seed, states, collection.names)
  config = [str(value) for value in dataclasses.astuple(options.config)]
  books = collection.directory / f"asmk-codebooks-{short_key(*made_of)}"
  root = collection.directory / f"asmk-{short_key(config, *made_of)}"
  indexes = []
  notice = f"Another process is making {root}; waiting until it is done."
  with files.locked(books, refusal=None, notice=notice), files.locked(root, refusal=None):
    for kind in range(len(collection.kinds)):
      path = root / f"index-{kind}"
      # What is missing or damaged is made.
      with contextlib.suppress(InputError):
        indexes.append(asmk.open_index(path))
        continue
      codebook = _codebook(books / f"codebook-{kind}", options, collection, images, kind)
      index = asmk.build_index(codebook, described(collection, images, kind), options.config)
      asmk.save_index(path, index)
      indexes.append(index)
  return AsmkCollection(indexes, root)


def open_or_make_lists(
  searched: AsmkCollection, collection: Collection, images: DescribedImages
) -> Ranked:
  """Opens the neighbour lists of a collection by ASMK, or makes and keeps them.

  Returns:
    `[N, L]`, as long as those by Chamfer.
  """
  length = collection.lists.ids.shape[1]
  path = searched.directory / f"lists-{length}"
  with files.locked(searched.directory, refusal=None):
    # What is missing or damaged is made.
    with contextlib.suppress(InputError):
      arrays = files.load_bundle(path, kind=_LISTS_KIND, version=_VERSION).arrays
      return Ranked(arrays["ids"], arrays["similarities"])
    kinds = range(len(collection.kinds))
    sets = zip(*(described(collection, images, kind) for kind in kinds), strict=True)
    lists = _without_self(searched.search([*sets], length + 1))
    arrays = {"ids": lists.ids, "similarities": lists.similarities}
    files.save_bundle(path, kind=_LISTS_KIND, version=_VERSION, arrays=arrays, metadata={})
  return lists


def described(collection: Collection, images: DescribedImages, kind: int) -> Iterator[np.ndarray]:
  """Yields the descriptors of each image of one kind, whitened where the index has them so."""
  whitening = Whitening.from_note(collection.kinds[kind].index.whitening)
  for number in range(len(images)):
    yield vocabulary.described(whitening, images[number][kind].descriptors)


def _codebook(
  path: pathlib.Path,
  options: AsmkSearch,
  collection: Collection,
  images: DescribedImages,
  kind: int,
) -> asmk.Codebook:
  """Opens a codebook, or learns it; indexes of other kernels share it."""
  with contextlib.suppress(InputError):
    return asmk.load_codebook(path)
  store = images.stores[kind]
  num_words = options.num_words or asmk.default_num_words(int(store.counts().sum()))
  sample = store.sample_descriptors(_SAMPLE_PER_WORD * num_words, seed=options.seed)
  whitening = Whitening.from_note(collection.kinds[kind].index.whitening)
  codebook = asmk.train_codebook(
    vocabulary.described(whitening, sample), num_words, seed=options.seed
  )
  asmk.save_codebook(path, codebook)
  return codebook


def _without_self(lists: Ranked) -> Ranked:
  """Returns lists `[N, L]` of images without the images themselves."""
  own = lists.ids == np.arange(len(lists.ids))[:, None]
  # An image that its own list lacks leaves out the last.
  own[~own.any(axis=1), -1] = True
  shape = (len(own), own.shape[1] - 1)
  return Ranked(lists.ids[~own].reshape(shape), lists.similarities[~own].reshape(shape))

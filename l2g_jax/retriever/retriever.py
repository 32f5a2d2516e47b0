"""A folder of photographs or a data set, made ready for queries and kept so."""

import copy
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from l2g_jax import settings
from l2g_jax.cann import CannConfig
from l2g_jax.data.dataset import Dataset
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box
from l2g_jax.data.photo_folders import mark_work_folder
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.pipeline.collection import Collection as PlacedCollection
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G, check_weight
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global, rerank_by_global
from l2g_jax.retriever import asmk_search, listing, pair_similarity, photo_search
from l2g_jax.retriever import candidates as candidate_search
from l2g_jax.retriever import collection as collections
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.copies import Files
from l2g_jax.retriever.described import DescribedImages, describe_images, describe_queries
from l2g_jax.retriever.listing import Choose, Listing
from l2g_jax.retriever.options import INDEX, Features, StageOptions
from l2g_jax.retriever.pair_similarity import PairSimilarity
from l2g_jax.retriever.results import Rankings, Results
from l2g_jax.runtime import files
from l2g_jax.runtime.stopwatch import Stopwatch

# Candidates of arXiv 2509.04351, for collections of any size.
NUM_CANDIDATES = 700
NUM_RESULTS = 20


@dataclasses.dataclass(frozen=True)
class _State:
  """The collection as it was when it was last looked at; replaced as a whole."""

  images: Listing
  collection: collections.Collection
  l2g: L2G

  @functools.cached_property
  def placed(self) -> PlacedCollection:
    """The lists and global features on the devices, copied at the first query."""
    return self.l2g.place(self.collection.lists, self.collection.global_features)

  @functools.cached_property
  def files(self) -> Files:
    """The files of the images, by their ids."""
    paths = {job.name: job.path for job in self.images.jobs}
    return Files([paths[name] for name in self.collection.names])


class Retriever:
  """A collection that is ready for queries: images in, named results out.

  Features, index, neighbour lists and global vectors lie in a work folder, and are used again. Any
  number of processes may search a collection while one changes it.

  Attributes:
    directory: where everything made of the collection lies.
    options: how it is described and indexed.
    config: settings of the method; k is one of them.
    weight: w in [0, 1], of the embedding against the global feature.
    watch: the seconds of each stage.
  """

  def __init__(
    self,
    directory: pathlib.Path,
    list_images: Callable[[], Listing],
    prepare: Callable[[Sequence[ImageJob], bool, bool], collections.Collection],
    *,
    folder: listing.Folder | None,
    choose: Choose | None,
    on_error: OnError,
    options: StageOptions,
    config: L2GConfig,
    weight: float,
    watch: Stopwatch,
  ):
    """Is called by `open_or_build` alone."""
    self.directory = directory
    self.options = options
    self.config = config
    self.weight = weight
    self.watch = watch
    self._list_images = list_images
    self._prepare = prepare
    self._folder = folder
    self._choose = choose
    self._on_error: OnError = on_error

  @classmethod
  def open_or_build(
    cls,
    images: os.PathLike | str | Dataset,
    work_dir: os.PathLike | str = "work",
    *,
    features: Features | LocalExtractor | None = None,
    config: L2GConfig = L2GConfig(),
    index: CannConfig = INDEX,
    weight: float | None = None,
    num_candidates: int = NUM_CANDIDATES,
    seed: int = 0,
    verify: bool = False,
    watch: Stopwatch | None = None,
    choose: Choose | None = None,
  ) -> "Retriever":
    """Opens a collection, and makes missing parts of it first.

    Args:
      images: a folder of photographs, which is followed as it changes; or a data set, whose ids are
        in the order of its ground truth.
      work_dir: where features, index and lists are kept, for any number of collections.
      features: of the images; an extractor of local features stands for itself with VLAD; None =
        ALIKED and SIFT with VLAD, see `default_local`.
      config: settings of the method.
      index: settings of the index and its search.
      weight: w in [0, 1]; None = the default of the features.
      num_candidates: k, candidates that the local search hands to the re-ranking, and the length of
        the neighbour lists; at least 1. A larger `config.num_reranked` has the search hand out so
        many, of which k are embedded, unless `config.num_embedded` says otherwise.
      seed: of every sample and start.
      verify: whether everything that was made before is read and its checksums compared.
      watch: takes the seconds of the stages; None = a new one.
      choose: says which photographs of the folder this look and every later one take in, so that a
        large folder can be searched before all of it is; None = all of them. A data set has all of
        its images.

    Raises:
      InputError: the folder holds no photograph; an image of a data set or a file can't be used;
        or no image has local features.
      SettingError: a number lies outside of its range.
    """
    if not isinstance(features, Features):
      features = Features() if features is None else Features(local=features)
    options = StageOptions(features, index, num_candidates, seed)
    if config.num_embedded is None:
      config = dataclasses.replace(config, num_embedded=num_candidates)
    weight = features.default_weight if weight is None else check_weight(weight)
    watch = watch or Stopwatch()
    root = pathlib.Path(work_dir)
    folder = None
    if isinstance(images, Dataset):
      dataset = images
      directory, on_error = root / dataset.name, "raise"

      def list_images() -> Listing:
        return listing.list_dataset(dataset)

      def prepare(jobs: Sequence[ImageJob], verify: bool, more_follow: bool):
        del more_follow  # A data set has all of its images.
        return collections.prepare(
          jobs, directory, options, watch, on_error=on_error, verify=verify
        )
    else:
      # Photographs and work may lie in one folder; the mark keeps them apart.
      mark_work_folder(root)
      path = pathlib.Path(images)
      directory, on_error = listing.folder_directory(root, path), "empty"
      folder = listing.Folder(path, directory)
      list_images = folder.list

      def prepare(jobs: Sequence[ImageJob], verify: bool, more_follow: bool):
        return collections.follow(
          jobs,
          directory,
          options,
          watch,
          on_error=on_error,
          verify=verify,
          more_follow=more_follow,
        )

    made = cls(
      directory,
      list_images,
      prepare,
      folder=folder,
      choose=None if folder is None else choose,
      on_error=on_error,
      options=options,
      config=config,
      weight=weight,
      watch=watch,
    )
    made._look(verify=verify)
    return made

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the images; ids are positions in it."""
    return self._state.collection.names

  @property
  def num_searched(self) -> int:
    """How many candidates a search hands out: k, or M where that is more."""
    return max(self.options.num_candidates, self.config.num_reranked or 0)

  @property
  def images(self) -> Listing:
    """The images, and the files that were left out, as of the last look at the folder."""
    return self._state.images

  @property
  def method(self) -> L2G:
    """The method with its settings and the weight w."""
    return self._state.l2g

  @property
  def collection(self) -> collections.Collection:
    """The index, the lists and the global features of the collection."""
    return self._state.collection

  def describe(self) -> tuple[Listing, collections.Collection, DescribedImages]:
    """Returns the images, the collection and its local features, all of one look at the folder."""
    state = self._state
    described = describe_images(state.collection, state.images.jobs, on_error=self._on_error)
    return state.images, state.collection, described

  def search(
    self, photograph: os.PathLike | str, box: Box | None = None, k: int = NUM_RESULTS
  ) -> Results:
    """Searches for the subject of a photograph, or of a part of it.

    Args:
      photograph: an image file.
      box: the part, x1, y1, x2, y2 in pixels; None = all of it.
      k: results wanted, at least 1; there are fewer where the collection is smaller.

    Returns:
      The best images with their rank in each stage. Exact copies of the photograph come first.

    Raises:
      InputError: the photograph can't be used, or the box lies outside of it.
    """
    k = settings.integer("k", k, least=1)
    state = self._state
    path = pathlib.Path(photograph)
    query = photo_search.read_query(path, box)
    described = collections.describe_query(
      state.collection, ImageJob(path.name, path, box), self.watch, query.photograph
    )
    return photo_search.rank_images(
      state.collection,
      state.files,
      query,
      described,
      k,
      num_candidates=self.num_searched,
      l2g=state.l2g,
      placed=state.placed,
      watch=self.watch,
    )

  def rank(
    self,
    queries: Sequence[ImageJob],
    *,
    weights: Sequence[float] | None = None,
    candidates: np.ndarray | None = None,
    similarity: PairSimilarity | AsmkSearch | None = None,
    show_progress: bool = False,
  ) -> Rankings:
    """Ranks the collection for a batch of queries by every stage; their features are kept.

    Args:
      queries: Q photographs, of a data set for instance; names are their own.
      weights: the weights w in [0, 1]; None = the retriever's.
      candidates: `[Q, C]` ids that other programs found, best first, -1 pads; the index says how
        similar they are. None = the local search.
      similarity: what is embedded in place of Chamfer similarities: one of pairs, by which
        candidates and neighbours are compared anew, or a search by ASMK; None = Chamfer's.
      show_progress: whether to show a bar.

    Raises:
      InputError: an image can't be used, or candidates do not fit.
    """
    state = self._state
    collection = state.collection
    weights = [self.weight] if weights is None else list(weights)
    described = collections.describe_queries(collection, queries, self.watch)
    features = GlobalFeatures(described.global_features, collection.global_features)
    with self.watch.measure("global search"):
      by_global = rank_by_global(features)
    with self.watch.measure("global re-ranking"):
      reranked = rerank_by_global(features, by_global)
    with self.watch.measure("local search"):
      if candidates is None:
        found = candidate_search.search(collection, described.descriptors, self.num_searched)
        candidates = found.ids
      else:
        found = collection.compare(described.descriptors, candidates)
    placed = state.placed
    if similarity is not None:
      images = describe_images(collection, state.images.jobs, on_error=self._on_error)
      if isinstance(similarity, AsmkSearch):
        found, lists = self._search_asmk(collection, similarity, images, described.descriptors)
      else:
        found, lists = self._compare(collection, similarity, images, queries, found)
      placed = state.l2g.place(lists, collection.global_features)
    with self.watch.measure("embedding and re-ranking"):
      results = state.l2g.rank(
        placed,
        found,
        described.global_features,
        weights=weights,
        show_progress=show_progress,
      )
    return Rankings(
      by_global=by_global,
      by_global_reranked=reranked,
      candidates=found,
      neighbor_lists=placed.neighbor_lists,
      by_candidates=complete_rankings(candidates, None, len(collection.names)),
      by_similarity=(
        None if similarity is None else complete_rankings(found.ids, None, len(collection.names))
      ),
      l2g=dict(zip(weights, results, strict=True)),
    )

  def _compare(
    self,
    collection: collections.Collection,
    similarity: PairSimilarity,
    images: DescribedImages,
    queries: Sequence[ImageJob],
    found: Ranked,
  ) -> tuple[Ranked, Ranked]:
    """Returns candidates and lists, compared anew by a similarity of pairs."""
    with self.watch.measure(f"lists by {similarity.name}"):
      lists = pair_similarity.open_or_make_lists(similarity, collection, images)
    with self.watch.measure(f"{similarity.name} of candidates"):
      described = describe_queries(collection, queries)
      return pair_similarity.compare_candidates(similarity, found, described, images), lists

  def _search_asmk(
    self,
    collection: collections.Collection,
    options: AsmkSearch,
    images: DescribedImages,
    descriptors: Sequence[collections.Descriptors],
  ) -> tuple[Ranked, Ranked]:
    """Returns candidates and lists that ASMK finds."""
    with self.watch.measure("ASMK of the collection"):
      searched = asmk_search.open_or_build(options, collection, images)
      lists = asmk_search.open_or_make_lists(searched, collection, images)
    with self.watch.measure("ASMK"):
      return searched.search(descriptors, self.num_searched), lists

  def add(self, photographs: Iterable[os.PathLike | str]) -> None:
    """Adds photographs that lie anywhere; they stay in the collection until they are removed.

    Raises:
      InputError: one is missing or no image, or the collection is a data set.
    """
    folder = self._changeable()
    with files.locked(self.directory, refusal=None):
      folder.add(photographs)
    self.refresh()

  def remove(self, names: Iterable[str]) -> None:
    """Removes photographs by name from the collection; their files stay as they are.

    Raises:
      InputError: a name is not in the collection, none would be left, or it is a data set.
    """
    folder = self._changeable()
    if isinstance(names, str):
      raise InputError(f"Photographs are removed by a list of names, as in remove([{names!r}]).")
    jobs = {job.name: job for job in self._state.images.jobs}
    wanted = set(names)
    if unknown := wanted - set(jobs):
      raise InputError(f"The collection holds no image {printable(min(unknown, key=str))!r}.")
    if len(wanted) == len(jobs):
      raise InputError("A collection keeps at least one image: not all can be removed.")
    with files.locked(self.directory, refusal=None):
      folder.remove(jobs[name] for name in wanted)
    self.refresh()

  def refresh(self) -> None:
    """Looks at the folder again: photographs that came are added, those that went are removed."""
    self._look(verify=False)

  def snapshot(self) -> "Retriever":
    """Returns a retriever of the collection as it is now, which no later look of this one changes.

    Searches of it go on while this one takes in photographs.
    """
    return copy.copy(self)

  def _look(self, *, verify: bool) -> None:
    images = self._list_images()
    jobs = images.jobs
    if self._choose is not None:
      known = collections.known_names(self.directory, self.options)
      jobs = self._choose(images.jobs, known)
    more_follow = len(jobs) < len(images.jobs)
    images = dataclasses.replace(images, jobs=jobs)
    collection = self._prepare(jobs, verify, more_follow)
    self._state = _State(images, collection, L2G(self.weight, self.config))

  def _changeable(self) -> listing.Folder:
    if self._folder is None:
      raise InputError("A data set has the images of its ground truth: none come or go.")
    return self._folder

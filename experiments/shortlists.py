"""What the method takes for the queries of a data set: candidates, lists, features, and labels."""

import dataclasses
import functools
import hashlib

import numpy as np

from l2g_jax.cli import evaluate
from l2g_jax.data.dataset import Dataset
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.retriever import Retriever, candidates
from l2g_jax.retriever.collection import describe_queries
from l2g_jax.runtime.digests import new_digest


@dataclasses.dataclass(frozen=True)
class Shortlists:
  """What `L2G` takes for Q queries of N images.

  Attributes:
    candidates: `[Q, C]`, what the search found.
    lists: `[N, L]`, the neighbours of every image.
    features: global features of queries and images.
    ground_truth: None = there is none.
  """

  candidates: Ranked
  lists: Ranked
  features: GlobalFeatures
  ground_truth: GroundTruth | None = None

  @property
  def truth(self) -> GroundTruth:
    """The ground truth, where there is one."""
    assert self.ground_truth is not None
    return self.ground_truth

  def every(self, step: int) -> "Shortlists":
    """Returns the same for every so manyth query; 1 = all."""
    features = GlobalFeatures(self.features.queries[::step], self.features.database)
    truth = None if self.ground_truth is None else _every(self.ground_truth, step)
    return Shortlists(
      Ranked(self.candidates.ids[::step], self.candidates.similarities[::step]),
      self.lists,
      features,
      truth,
    )

  @functools.cached_property
  def key(self) -> str:
    """Identifies all of it by content."""
    digest = new_digest()
    update_digest(digest, self)
    return digest.hexdigest()[:16]


def update_digest(digest: hashlib.blake2b, given: Shortlists) -> None:
  """Adds arrays and labels to a digest."""
  features = given.features
  for array in (*given.candidates, *given.lists, features.queries, features.database):
    digest.update(np.ascontiguousarray(array).tobytes())
  for query in given.truth.queries:
    for labels in (query.easy, query.hard, query.junk):
      digest.update(np.append(labels, -1).astype(np.int64).tobytes())


def shortlists_of(dataset: Dataset, retriever: Retriever, *, every: int = 1) -> Shortlists:
  """Searches for every so manyth query of a data set."""
  collection = retriever.collection
  described = describe_queries(collection, evaluate.query_jobs(dataset), retriever.watch)
  return Shortlists(
    candidates=candidates.search(
      collection, described.descriptors[::every], retriever.num_searched
    ),
    lists=collection.lists,
    features=GlobalFeatures(described.global_features[::every], collection.global_features),
    ground_truth=_every(dataset.ground_truth, every),
  )


def _every(truth: GroundTruth, step: int) -> GroundTruth:
  return dataclasses.replace(truth, qimlist=truth.qimlist[::step], queries=truth.queries[::step])

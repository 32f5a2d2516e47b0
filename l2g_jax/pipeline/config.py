"""Settings of the method, and how programs are given them."""

import dataclasses
from typing import Generic, NamedTuple, get_args

import numpy as np

from l2g_jax import settings
from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.pipeline.collection import Array
from l2g_jax.ranking.certainty import CERTAINTY_RATIO
from l2g_jax.ranking.fusion import FUSION, Fusion

# Of L2G's re-ranking, chosen on development data. It re-ranks vectors made for one query: fewer of
# their neighbours are right, and those by more, than of SuperGlobal's, whose own are in `rerank`.
NUM_NEIGHBORS = 5
BETA = 0.5


class Numbers(NamedTuple, Generic[Array]):
  """The numbers of a configuration: scalars that programs are given, so that a change of them
  compiles nothing. See `L2GConfig`.
  """

  num_known: Array
  power: Array
  max_iterations: Array
  rtol: Array
  beta: Array
  certainty_ratio: Array
  seed: Array


class Choices(NamedTuple):
  """The choices and sizes of a configuration, which programs are compiled for. See `L2GConfig`."""

  query_pairs: dissimilarity.QueryPairs
  completion: dissimilarity.Completion
  num_dimensions: int
  method: mds.Method
  fusion: Fusion
  num_reranked: int
  num_neighbors: int


@dataclasses.dataclass(frozen=True)
class L2GConfig:
  """Settings of the method; values are checked, and numbers of NumPy become those of Python.

  Attributes:
    num_known: t, the neighbours of each point of a shortlist whose similarity is taken as known; at
      least 1.
    query_pairs: whether the query's pairs are known for its `own` t nearest or for `all`.
    power: p of D = 1 - s^p, above 0.
    completion: what stands for unknown pairs: `one`, `mean` or `masked`.
    num_dimensions: m, of the embedding, at least 1.
    method: SMACOF's, see `mds.smacof`.
    max_iterations: SMACOF's, at least 0; few problems need as many.
    rtol: SMACOF's, at least 0; at the default the order is as good as that of the plain method at
      convergence.
    fusion: `concat` or `sum`, which needs global features of as many dimensions as the embedding.
    num_reranked: M, the head of the shortlist that is re-ranked, at least 1; None = all of it.
    num_neighbors: K of the re-ranking, at least 0.
    beta: of the re-ranking, at least 0.
    certainty_ratio: multiple of the background above which a match of the search counts as certain;
      its certainty, in [0, 1), is added to its score. Above 0; infinite for the paper's plain
      order. The default suits a selective kernel, as power(alpha=7); a flat one never reaches it.
    seed: of the embedding's start, from 0 to 2^32 - 1.

  Raises:
    SettingError: a value lies outside of its range.
  """

  num_known: int = dissimilarity.NUM_KNOWN
  query_pairs: dissimilarity.QueryPairs = dissimilarity.QUERY_PAIRS
  power: float = dissimilarity.POWER
  completion: dissimilarity.Completion = dissimilarity.COMPLETION
  num_dimensions: int = mds.NUM_DIMENSIONS
  method: mds.Method = mds.METHOD
  max_iterations: int = mds.MAX_ITERATIONS
  rtol: float = mds.RTOL
  fusion: Fusion = FUSION
  num_reranked: int | None = None
  num_neighbors: int = NUM_NEIGHBORS
  beta: float = BETA
  certainty_ratio: float = CERTAINTY_RATIO
  seed: int = 0

  def __post_init__(self):
    checked = {
      **{
        name: settings.integer(name, getattr(self, name), least=least)
        for name, least in _LEAST_INTEGERS.items()
      },
      **{
        name: settings.choice(name, getattr(self, name), get_args(options))
        for name, options in _OPTIONS.items()
      },
      "power": settings.real("power", self.power, above=0.0),
      "rtol": settings.real("rtol", self.rtol, least=0.0),
      "beta": settings.real("beta", self.beta, least=0.0),
      "certainty_ratio": settings.real(
        "certainty_ratio", self.certainty_ratio, above=0.0, infinite=True
      ),
      "seed": settings.integer("seed", self.seed, least=0, most=settings.LARGEST_SEED),
    }
    if self.num_reranked is not None:
      checked["num_reranked"] = settings.integer("num_reranked", self.num_reranked, least=1)
    for name, value in checked.items():
      object.__setattr__(self, name, value)

  def numbers(self) -> Numbers[np.ndarray]:
    """Returns what programs are given."""
    return Numbers(
      num_known=np.array(self.num_known, np.int32),
      power=np.array(self.power, np.float32),
      max_iterations=np.array(self.max_iterations, np.int32),
      rtol=np.array(self.rtol, np.float32),
      beta=np.array(self.beta, np.float32),
      certainty_ratio=np.array(self.certainty_ratio, np.float32),
      seed=np.array(self.seed, np.uint32),
    )

  def choices(self, size: int) -> Choices:
    """Returns what a program for shortlists of `size` candidates is compiled for."""
    return Choices(
      query_pairs=self.query_pairs,
      completion=self.completion,
      num_dimensions=self.num_dimensions,
      method=self.method,
      fusion=self.fusion,
      num_reranked=size if self.num_reranked is None else min(self.num_reranked, size),
      num_neighbors=self.num_neighbors,
    )


_LEAST_INTEGERS = {"num_known": 1, "num_dimensions": 1, "max_iterations": 0, "num_neighbors": 0}
_OPTIONS = {
  "query_pairs": dissimilarity.QueryPairs,
  "completion": dissimilarity.Completion,
  "method": mds.Method,
  "fusion": Fusion,
}

"""Settings of the method, and the form in which programs get them."""

import dataclasses
import math
from typing import Generic, NamedTuple, get_args

import numpy as np

from l2g_jax import settings
from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.pipeline.collection import Array
from l2g_jax.ranking.certainty import CERTAINTY_RATIO
from l2g_jax.ranking.fusion import FUSION, Fusion

# Of L2G's re-ranking, see `L2GConfig`; SuperGlobal's own are in `rerank`.
NUM_NEIGHBORS = 5
BETA = 0.5


class Numbers(NamedTuple, Generic[Array]):
  """The numbers of a configuration: scalars that programs are given, so that a change of them
  compiles nothing. See `L2GConfig`.
  """

  num_known: Array
  num_query_known: Array
  power: Array
  max_iterations: Array
  rtol: Array
  beta: Array
  certainty_ratio: Array
  seed: Array


class Choices(NamedTuple):
  """The choices and sizes of a configuration, which programs are compiled for. See `L2GConfig`."""

  query_pairs: dissimilarity.QueryPairs
  measure: dissimilarity.Measure
  completion: dissimilarity.Completion
  num_dimensions: int
  method: mds.Method
  fusion: Fusion
  num_embedded: int
  num_reranked: int
  num_neighbors: int


@dataclasses.dataclass(frozen=True)
class L2GConfig:
  """Settings of the method; values are checked, and numbers of NumPy become those of Python.

  "Development data" are the built-in benchmark of another seed, 91 photographs of two landmarks
  among paintings, and photographs of museum paintings.

  Attributes:
    num_known: t, how many nearest neighbours of each candidate have a known similarity, at least 1.
      Few leave images of one subject in unconnected pieces. Many do no harm by contrast, of which a
      pair of noise has none.
    num_query_known: how many nearest neighbours of the query have a known similarity, at least 1.
      More than there are images of the subject draws the query to others, so the default is small:
      the candidates' neighbours lead from a few to the rest.
    query_pairs: whose pairs with the query are known: `own`, those of its nearest, or `all`.
      With `all` the order of the search weighs more. The default is from development data.
    measure: what s of a known pair is: its `contrast`, which is how far the similarity stands above
      those of unrelated images, see `dissimilarity.contrast`, the default; or its `similarity`, as
      in arXiv 2509.04351.
    power: p of the dissimilarity 1 - s^p, above 0. The smaller, the more a small s counts. The
      default suits contrasts and is from development data; 0.3 suits similarities by
      power(alpha=7), since a selective kernel needs a p well below 1, and a flat one up to 1.
    completion: the dissimilarity of unknown pairs: `one`, the largest there is, as in arXiv
      2509.04351 and by default; `mean`, that of the known pairs, which keeps clusters nearer to
      each other; or `masked`, none, so that only known pairs shape the embedding.
    num_dimensions: m, of the embedding, at least 1. More dimensions fit the dissimilarities more
      closely and take time in proportion; more than k add nothing. The default is from development
      data.
    method: how SMACOF minimises the stress, see `mds.smacof`; they differ in how soon they come how
      near to the least stress, which `benchmarks.mds` compares and from which the default is.
    max_iterations: of SMACOF, at least 0, which keeps the classical start. Few problems reach the
      default; it bounds the time of the others.
    rtol: SMACOF stops when the stress falls by less than this share in five iterations; at least 0.
      A smaller share takes more time and hardly changes mAP, see `experiments.ablation`.
    fusion: how embedding and global features are joined: `concat`, so that their cosines are
      averaged by w, the default; or `sum`, which averages the vectors, with the embedding turned
      onto the global features, and needs m = D.
    num_embedded: k, how many candidates are embedded, the best, at least 1; time and memory grow
      with its square. None = all that there are, the default.
    num_reranked: M, how many candidates are re-ranked, at least 1; the others follow in the order
      of the search. None = all, the default. M may exceed k: those beyond k have their global
      feature alone, and compete by its share, 1 - w. That costs little, and helps where k is small
      for the collection. 1600 with k = 700 are attributed to arXiv 2509.04351.
    num_neighbors: K, by how many neighbours the re-ranking refines a vector, at least 0, which
      leaves vectors as they are. About as many as an image has true matches; 9 is usual for global
      features. The default is from development data: vectors made for one query have fewer right
      neighbours.
    beta: weight of those neighbours, at least 0, which leaves vectors as they are. To about 1;
      SuperGlobal has 0.15. The default is from development data: the neighbours that are right are
      so by far.
    certainty_ratio: a match whose similarity is above this multiple of the background of its own
      search is certain; its certainty, in [0, 1), is added to its score. Above 0; a smaller ratio
      trusts the search more, and infinity gives the plain order of arXiv 2509.04351. The default
      suits a selective kernel, as power(alpha=7), and is from development data; a flat kernel never
      reaches it.
    seed: of the random start of the embedding, from 0 to 2^32 - 1. The same seed gives the same
      result; another changes little, since the embedding is then minimised.

  Raises:
    SettingError: a value lies outside of its range.
  """

  num_known: int = dissimilarity.NUM_KNOWN
  num_query_known: int = dissimilarity.NUM_QUERY_KNOWN
  query_pairs: dissimilarity.QueryPairs = dissimilarity.QUERY_PAIRS
  measure: dissimilarity.Measure = dissimilarity.MEASURE
  power: float = dissimilarity.POWER
  completion: dissimilarity.Completion = dissimilarity.COMPLETION
  num_dimensions: int = mds.NUM_DIMENSIONS
  method: mds.Method = mds.METHOD
  max_iterations: int = mds.MAX_ITERATIONS
  rtol: float = mds.RTOL
  fusion: Fusion = FUSION
  num_embedded: int | None = None
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
    for name in ("num_embedded", "num_reranked"):
      if getattr(self, name) is not None:
        checked[name] = settings.integer(name, getattr(self, name), least=1)
    for name, value in checked.items():
      object.__setattr__(self, name, value)

  def numbers(self) -> Numbers[np.ndarray]:
    """Returns what programs are given."""
    return Numbers(
      num_known=np.array(self.num_known, np.int32),
      num_query_known=np.array(self.num_query_known, np.int32),
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
      measure=self.measure,
      completion=self.completion,
      num_dimensions=self.num_dimensions,
      method=self.method,
      fusion=self.fusion,
      num_embedded=size if self.num_embedded is None else min(self.num_embedded, size),
      num_reranked=size if self.num_reranked is None else min(self.num_reranked, size),
      num_neighbors=self.num_neighbors,
    )


_LEAST_INTEGERS = {
  "num_known": 1,
  "num_query_known": 1,
  "num_dimensions": 1,
  "max_iterations": 0,
  "num_neighbors": 0,
}
_OPTIONS = {
  "query_pairs": dissimilarity.QueryPairs,
  "measure": dissimilarity.Measure,
  "completion": dissimilarity.Completion,
  "method": mds.Method,
  "fusion": Fusion,
}

# Attributed to arXiv 2509.04351 by others, with w = 0.19 and the kernel `chamfer`: all that lists
# of 700 say is known, 700 candidates are embedded, 1600 re-ranked, and no match is certain.
PAPER = L2GConfig(
  num_known=700,
  query_pairs="all",
  measure="similarity",
  power=0.01,
  method="guttman",
  max_iterations=300,
  rtol=0.1,
  num_reranked=1600,
  num_neighbors=6,
  beta=0.31,
  certainty_ratio=math.inf,
)

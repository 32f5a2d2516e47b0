"""Results of searches."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from l2g_jax.pipeline.l2g import L2GResult
from l2g_jax.ranked import Ranked
from l2g_jax.retriever.matched import View


@dataclasses.dataclass(frozen=True)
class Result:
  """An image that a search found.

  Attributes:
    name: of the image, by which it can be removed.
    path: its file.
    rank: from 1.
    score: of the re-ranking, higher is better; None where the image was not re-ranked.
    similarity: Chamfer similarity to the query, in [0, 1]; 0 where the search did not reach it.
    ranks: the rank in each stage, from 1: `global` and `chamfer`.
    copy: `the same file` or `the same pixels` of an exact copy of the query; None of others.
  """

  name: str
  path: pathlib.Path
  rank: int
  score: float | None
  similarity: float
  ranks: Mapping[str, int]
  copy: str | None = None


@dataclasses.dataclass(frozen=True)
class Results:
  """The best images for a photograph; iterates over them.

  Attributes:
    images: best first.
    remarks: sentences for the user on how this order came about.
    weight: w, that was used.
    num_images: of the collection, that could be read.
    query: the photograph as it was described, for `matched.match_views`.
    candidates: `[1, C]`, what the local search handed to the re-ranking.
  """

  images: tuple[Result, ...]
  remarks: tuple[str, ...]
  weight: float
  num_images: int
  query: View
  candidates: Ranked

  def __iter__(self) -> Iterator[Result]:
    return iter(self.images)

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, rank: int) -> Result:
    return self.images[rank]


@dataclasses.dataclass(frozen=True)
class Rankings:
  """Rankings of a collection of N images for Q queries, by every stage.

  Attributes:
    by_global: `[Q, N]` int32, by the cosines of global features.
    by_global_reranked: `[Q, N]` int32, the same re-ranked by SuperGlobal's method.
    candidates: `[Q, C]`, that were handed to the re-ranking, by their Chamfer similarity or that
      which was asked for.
    neighbor_lists: `[N, L]`, by which the re-ranking knows the candidates' pairs.
    by_candidates: `[Q, N]` int32, the candidates in the order of the search, or of the program
      that gave them, then the rest by id.
    by_similarity: `[Q, N]` int32, the same by the similarity that was asked for; None = none was.
    l2g: one result a weight.
  """

  by_global: np.ndarray
  by_global_reranked: np.ndarray
  candidates: Ranked
  neighbor_lists: Ranked
  by_candidates: np.ndarray
  by_similarity: np.ndarray | None
  l2g: Mapping[float, L2GResult]

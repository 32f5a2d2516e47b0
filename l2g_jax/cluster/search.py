"""Searches of one index by several nodes, each with a share of the images in memory."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray

from l2g_jax.cann import CannIndex, scoring, shares
from l2g_jax.cann.config import Reach
from l2g_jax.cann.scoring import Scanned
from l2g_jax.cann.searcher import check_search
from l2g_jax.cluster.nodes import Needs, check_room
from l2g_jax.cluster.stages import open_index
from l2g_jax.cluster.tasks import errors_as_ours, use_cores
from l2g_jax.ranked import Ranked
from l2g_jax.similarity.codec import Codes, encode

# Queries that are sent together: while some are rescored the next are scanned.
_QUERIES = 8


class ClusterSearcher:
  """Searches an index over the nodes, and ranks to the bit as `CannIndex.search_many` does.

  One actor a share answers. An actor that dies, or whose node dies, is replaced on another node,
  and what it was asked is asked again. Use it as a context, which ends the actors.

  Attributes:
    index: as the driver sees it.
  """

  def __init__(self, directory: os.PathLike | str, num_shares: int, needs: Needs = Needs()):
    """Starts the actors.

    Args:
      directory: of the index, which all nodes see by this path.
      num_shares: into which the images are cut, at least 1; at most one an image is made.
      needs: of each actor.

    Raises:
      InputError: there is no index, or the nodes have no room for so many actors.
    """
    root = pathlib.Path(directory).absolute()
    self.index = CannIndex.open(root)
    self._bounds = shares.bounds(len(self.index.names), num_shares)
    check_room(needs, len(self._bounds))
    remote = ray.remote(_Share).options(
      num_cpus=needs.cpus,
      num_gpus=needs.gpus,
      max_restarts=-1,
      max_task_retries=needs.attempts - 1,
      scheduling_strategy="SPREAD",
    )
    self._actors: list[Any] = [
      remote.remote(root, self.index.state, bounds, needs.cpus) for bounds in self._bounds
    ]

  def __enter__(self) -> "ClusterSearcher":
    return self

  def __exit__(self, *_: object) -> None:
    for actor in self._actors:
      ray.kill(actor)

  def search_many(
    self,
    queries: Sequence[np.ndarray],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> Ranked:
    """Finds the images `[Q, k]` most similar to each of Q queries, see `CannIndex.search_many`."""
    codes = [
      encode(descriptors, dimension=self.index.dimension, where=f"query {number}")
      for number, descriptors in enumerate(queries)
    ]
    return self.search_codes(codes, k, num_probes=num_probes, rescoring_depth=rescoring_depth)

  def search_codes(
    self,
    queries: Sequence[Codes],
    k: int,
    *,
    num_probes: int | None = None,
    rescoring_depth: int | None = None,
  ) -> Ranked:
    """Searches several queries that are quantised already, see `CannIndex.search_codes`."""
    reach = self.index.config.reach(len(self.index.names), num_probes, rescoring_depth)
    k, reach = check_search(k, reach)
    found = Ranked(
      np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32)
    )
    with errors_as_ours():
      for row, (ids, similarities) in enumerate(self._search(queries, k, reach)):
        found.ids[row, : len(ids)], found.similarities[row, : len(ids)] = ids, similarities
    return found

  def _search(
    self, queries: Sequence[Codes], k: int, reach: Reach
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the ids and similarities of each query."""
    count = max(reach.depth, reach.screened) + k

    def scan(first: int) -> tuple[Any, list[Any]]:
      block = ray.put([*queries[first : first + _QUERIES]])
      return block, [actor.scan.remote(block, count, reach) for actor in self._actors]

    following = scan(0)
    for first in range(0, len(queries), _QUERIES):
      block, scanning = following
      best = [shares.join(parts, count) for parts in zip(*ray.get(scanning), strict=True)]
      if reach.screened:
        partial = self._similarities(
          self._compare(block, [each.ids[: reach.screened] for each in best], screening=True)
        )
        best = [
          scoring.screen(each, reach.screened, lambda _, values=values: values)
          for each, values in zip(best, partial, strict=True)
        ]
      rescoring = self._compare(block, [each.ids[: reach.depth] for each in best], screening=False)
      # Actors are never idle: they scan the next queries while these are put together.
      following = scan(first + _QUERIES)
      for each, values in zip(best, self._similarities(rescoring), strict=True):
        yield scoring.best_images(
          each, k, depth=reach.depth, rescore=lambda _, values=values: values
        )

  def _compare(
    self, block: Any, ids: Sequence[np.ndarray], *, screening: bool
  ) -> tuple[Sequence[np.ndarray], list[Any]]:
    """Asks each actor for the similarities of each query to those of some images that it has."""
    return ids, [
      actor.similarities.remote(block, [_between(some, *bounds) for some in ids], screening)
      for actor, bounds in zip(self._actors, self._bounds, strict=True)
    ]

  def _similarities(self, asked: tuple[Sequence[np.ndarray], list[Any]]) -> Iterator[np.ndarray]:
    """Yields for each query the similarities `[n]` of the images that were asked for."""
    ids, answers = asked
    for some, *of_shares in zip(ids, *ray.get(answers), strict=True):
      similarities = np.zeros(len(some), np.float32)
      for bounds, values in zip(self._bounds, of_shares, strict=True):
        similarities[_is_between(some, *bounds)] = values
      yield similarities


class _Share:
  """An actor: the images of one share, and what is asked of them; ids are those of the index."""

  def __init__(self, root: pathlib.Path, state: str, bounds: tuple[int, int], cores: int):
    use_cores(cores)
    self._start = bounds[0]
    self._searcher = open_index(root, state).share(*bounds)

  def scan(self, queries: Sequence[Codes], count: int, reach: Reach) -> list[Scanned]:
    """Returns the `count` best images of each query by the scan."""
    found = [self._searcher.scan(query, count, reach) for query in queries]
    return [Scanned(each.ids + self._start, each.values) for each in found]

  def similarities(
    self, queries: Sequence[Codes], ids: Sequence[np.ndarray], screening: bool
  ) -> list[np.ndarray]:
    """Returns the similarities of each query to some images of its own, exact or to screen them."""
    return [
      self._searcher.similarities([query], own - self._start, screening=screening)[0]
      for query, own in zip(queries, ids, strict=True)
    ]


def _is_between(ids: np.ndarray, start: int, stop: int) -> np.ndarray:
  return (ids >= start) & (ids < stop)


def _between(ids: np.ndarray, start: int, stop: int) -> np.ndarray:
  return ids[_is_between(ids, start, stop)]

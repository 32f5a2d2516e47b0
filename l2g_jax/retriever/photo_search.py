"""The search for one photograph: a ranking of the collection that a person can follow."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from l2g_jax.data.image_names import printable
from l2g_jax.data.images import Box, Photograph, crop_photograph, read_photograph
from l2g_jax.pipeline.collection import Collection as PlacedCollection
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import global_cosines
from l2g_jax.retriever.collection import Collection, Queries
from l2g_jax.retriever.copies import Files, find_copies
from l2g_jax.retriever.matched import View
from l2g_jax.retriever.results import Result, Results
from l2g_jax.runtime.stopwatch import Stopwatch

# An image with the query's pixels has its descriptors, so no other is much more similar.
_COPY_SIMILARITY = 0.99


@dataclasses.dataclass(frozen=True)
class Query:
  """A photograph to search for.

  Attributes:
    path: its file.
    photograph: as it was read.
    box: the part that is searched for; None = all of it.
  """

  path: pathlib.Path
  photograph: Photograph
  box: Box | None


def read_query(path: pathlib.Path, box: Box | None) -> Query:
  """Reads a photograph.

  Raises:
    InputError: it can't be used, or the box lies outside of it.
  """
  photograph = read_photograph(path)
  if box is not None:
    crop_photograph(photograph, box)
  return Query(path, photograph, box)


@dataclasses.dataclass(frozen=True)
class _Order:
  """The order of the images before copies are put first.

  Attributes:
    ids: of images in the index, best first.
    scores: of those that were re-ranked, by id.
    suspects: ids of images that may have the pixels of the query.
    remarks: see `Results`.
  """

  ids: list[int]
  scores: Mapping[int, float]
  suspects: list[int]
  remarks: list[str]


def rank_images(
  collection: Collection,
  files: Files,
  query: Query,
  described: Queries,
  num_results: int,
  *,
  num_candidates: int,
  l2g: L2G,
  placed: PlacedCollection,
  watch: Stopwatch,
) -> Results:
  """Ranks the readable images for one photograph; exact copies of it come first.

  Args:
    collection: N images.
    files: of the images, by id.
    query: the photograph.
    described: its features.
    num_results: the most that are returned.
    num_candidates: that the local search hands out.
    l2g: the method, with its weight.
    placed: the lists and global features of the collection, by `l2g.place`.
    watch: takes the seconds of the stages.
  """
  features = GlobalFeatures(described.global_features, collection.global_features)
  num_descriptors = sum(len(values) for values in described.descriptors[0])
  names = collection.names
  # Ids are in the order in which the images came; ties are shown by name.
  by_name = collection.readable
  with watch.measure("global search"):
    cosines = global_cosines(features)[0, by_name]
    by_global = by_name[np.argsort(-cosines, kind="stable")]
  with watch.measure("local search"):
    candidates = collection.search(described.descriptors, min(num_candidates, len(names)))
  is_found = candidates.ids[0] >= 0
  ids, similarities = candidates.ids[0, is_found], candidates.similarities[0, is_found]
  others = by_name[~np.isin(by_name, ids)]
  featureless = by_name[collection.counts()[by_name] == 0]
  if len(ids):
    with watch.measure("embedding and re-ranking"):
      (result,) = l2g.rank(placed, candidates, features.queries)
    order = _Order(
      ids=np.concatenate([result.rankings[0, : len(ids)], others]).tolist(),
      scores=dict(zip(ids.tolist(), result.scores[0, is_found].tolist(), strict=True)),
      suspects=ids[similarities >= _COPY_SIMILARITY * similarities[0]].tolist(),
      remarks=_remarks_on_order(featureless, len(by_name), len(ids), num_results),
    )
  else:
    order = _order_without_search(num_descriptors, features, by_global, featureless)
  with watch.measure("exact copies"):
    pixels = query.photograph.pixels if query.box is None else None
    copies = find_copies(query.path, pixels, files, order.suspects)
  remarks = [f"The query: {note}." for note in query.photograph.notes] + order.remarks
  if copies:
    told = ", ".join(f"{printable(names[image])} ({part})" for image, part in copies.items())
    remarks.append(f"First stand exact copies of the query: {told}.")
  by_similarity = dict(zip(ids.tolist(), similarities.tolist(), strict=True))
  ranks = {
    stage: _ranks(ranking, len(names))
    for stage, ranking in (("global", by_global), ("chamfer", np.concatenate([ids, others])))
  }
  ranked = [*copies, *(image for image in order.ids if image not in copies)]
  return Results(
    images=tuple(
      Result(
        name=names[image],
        path=files.paths[image],
        rank=rank,
        score=order.scores.get(image),
        similarity=by_similarity.get(image, 0.0),
        ranks={stage: int(values[image]) for stage, values in ranks.items()},
        copy=copies.get(image),
      )
      for rank, image in enumerate(ranked[:num_results], start=1)
    ),
    remarks=tuple(remarks),
    weight=l2g.weight,
    num_images=len(by_name),
    query=View(
      described.features[0],
      query.photograph.size,
      query.box,
      reduction=query.photograph.reduction,
    ),
    candidates=candidates,
  )


def _ranks(ranking: np.ndarray, num_images: int) -> np.ndarray:
  """Returns the ranks from 1 of all images, `[N]`; 0 of those that are in no ranking."""
  ranks = np.zeros(num_images, np.int64)
  ranks[ranking] = np.arange(1, len(ranking) + 1)
  return ranks


def _remarks_on_order(
  featureless: np.ndarray, num_images: int, num_found: int, num_results: int
) -> list[str]:
  """Says how many images stand in no order that means anything."""
  remarks = []
  if len(featureless):
    remarks.append(
      f"Without local features, hence last: {len(featureless)} of {num_images} images."
    )
  if num_found < min(num_results, num_images):
    remarks.append(
      f"{num_found} images have something in common with the query; the others follow in the order"
      " of their names."
    )
  return remarks


def _order_without_search(
  num_descriptors: int, features: GlobalFeatures, by_global: np.ndarray, featureless: np.ndarray
) -> _Order:
  """Returns the order where the local search found no image."""
  reason = "local features in common with any image" if num_descriptors else "local features"
  suspects = featureless.tolist()
  if np.any(features.queries[0]):
    remark = f"The query has no {reason}: images stand by their global features."
    return _Order(by_global.tolist(), {}, suspects, [remark])
  remark = f"The query has no {reason} and no global ones: only exact copies of it are found."
  return _Order([], {}, suspects, [remark])

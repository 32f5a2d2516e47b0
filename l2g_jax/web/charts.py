"""The shortlist of a search as a map: what is alike lies together."""

import dataclasses

import numpy as np

from l2g_jax.data.image_names import printable
from l2g_jax.pipeline.plane import Plane, embed_in_plane
from l2g_jax.web.failures import NOT_FOUND, Refusal
from l2g_jax.web.schemas import MapAnswer, MapPoint
from l2g_jax.web.searching import Search


@dataclasses.dataclass(frozen=True)
class _Chosen:
  """The best candidates of a search, in the order of the local search."""

  ids: np.ndarray
  similarities: np.ndarray
  ranks: list[int]


def make_map(search: Search, limit: int) -> MapAnswer:
  """Embeds the query and its best results in the plane.

  Args:
    search: that was done.
    limit: the most results.

  Raises:
    Refusal: the search found nothing in common with any image.
  """
  chosen = _choose(search, limit)
  if not len(chosen.ids):
    raise Refusal(NOT_FOUND, "No picture has anything in common with the query: there is no map.")
  retriever = search.state.retriever
  plane = embed_in_plane(
    chosen.ids, chosen.similarities, retriever.collection.lists, retriever.config
  )
  places = plane.points.round(4).tolist()
  query = MapPoint(None, search.query.picture.name, *places[0], rank=0)
  points = [
    MapPoint(search.state.ids[int(image)], printable(retriever.names[image]), *place, rank=rank)
    for image, place, rank in zip(chosen.ids, places[1:], chosen.ranks, strict=True)
  ]
  ordered = sorted(points, key=lambda point: point.rank)
  return MapAnswer([query, *ordered], round(plane.normalized_stress, 4), _sentence(plane))


def _choose(search: Search, limit: int) -> _Chosen:
  candidates, numbers = search.results.candidates, search.state.numbers
  # Copies that the local search did not find have no known similarity.
  found = {int(image) for image in candidates.ids[0] if image >= 0}
  ranks = {}
  for result in search.results:
    image = numbers[result.name]
    if image in found and len(ranks) < limit:
      ranks[image] = result.rank
  kept = np.isin(candidates.ids[0], list(ranks))
  ids = candidates.ids[0, kept]
  return _Chosen(ids, candidates.similarities[0, kept], [ranks[int(image)] for image in ids])


def _sentence(plane: Plane) -> str:
  fit = "well" if plane.normalized_stress < 0.2 else "roughly"
  return (
    f"Distances on the map fit the known similarities {fit} (normalised stress"
    f" {plane.normalized_stress:.2f}). {plane.sentence}"
  )

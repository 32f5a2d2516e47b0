"""A closer look at collages: what of them shows no known picture yet is described by itself.

The strongest key points of a collage are those of its strongest pictures, and a pale one has none.
In a field of its own it has.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from l2g_jax.data.images import read_image
from l2g_jax.errors import InputError
from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.retriever.described import Described
from l2g_jax.retriever.groups import comparing
from l2g_jax.retriever.groups.comparing import Progress
from l2g_jax.retriever.groups.ledger import Entries, Ledger, Pair
from l2g_jax.retriever.groups.measurement import explained_points, overlay
from l2g_jax.retriever.groups.options import GroupOptions
from l2g_jax.retriever.groups.pictures import Pictures
from l2g_jax.retriever.groups.relation import Quad, Relation

# Fields are of half the sides of a collage, a quarter apart; one that is known to this share, or
# is as even as this, shows nothing else.
_STEPS, _MOST_KNOWN, _LEAST_DEVIATION = 4, 0.7, 6.0
_RASTER = 32


def find(relations: Iterable[Relation]) -> dict[str, list[Quad]]:
  """Returns the pictures that show others reduced, by name, with the regions that do."""
  found: dict[str, list[Quad]] = collections.defaultdict(list)
  for relation in relations:
    if relation.is_inset and relation.region_first is not None:
      found[relation.first].append(relation.region_first)
  return dict(found)


def look_closer(
  pictures: Pictures,
  ledger: Ledger,
  found: Mapping[str, Sequence[Quad]],
  options: GroupOptions,
  progress: Progress | None,
) -> set[Pair]:
  """Searches for what collages show besides the regions that are known, each once.

  Args:
    pictures: of the collection.
    ledger: is given the pairs.
    found: see `find`.
    options: how many are looked for in a field.
    progress: see `comparing.compare_pairs`.

  Returns:
    The pairs of these collages that agree, now or before.
  """
  local = pictures.kind.options.local
  if not isinstance(local, LocalExtractor):
    return set()
  regions = {pictures.keys_by_name[name]: quads for name, quads in found.items()}
  look = functools.partial(_look, pictures, local, regions, options)
  way = f"collage {options.mirror_depth}"
  comparing.search_pictures(ledger, way, regions, look, "pictures in collages", progress)
  searched = ledger.entries.searched.get(way, {})
  return comparing.among(pictures, {key: searched[key] for key in regions})


def _look(
  pictures: Pictures,
  local: LocalExtractor,
  regions: Mapping[str, Sequence[Quad]],
  options: GroupOptions,
  key: str,
) -> tuple[list[str], Entries]:
  """Looks at one collage; returns what was found, and the pairs that were measured."""
  made = Entries()
  try:
    pixels, own = read_image(pictures.path(key)), pictures.look(key)
  except InputError:
    # It went or changed meanwhile, and then has another key at the next look at the folder.
    return [], made
  for top, bottom, left, right in _fields(pixels, regions[key]):
    features = local.extract(np.ascontiguousarray(pixels[top:bottom, left:right]))
    if len(features.descriptors) < options.min_inliers:
      continue
    locations = features.locations + np.array([left, top], np.float32)
    located = dataclasses.replace(features, locations=locations)
    for other in pictures.search(features.descriptors, options.mirror_depth):
      pair = min(key, other), max(key, other), False
      if other == key or pair in made.pairs:
        continue
      both: list[Described] = [(located,), pictures.plain(other)]
      if pair[0] != key:
        both.reverse()
      points = explained_points(both[0], both[1], pictures.mirror_kinds)
      if len(points) < options.min_inliers:
        continue
      looks = [own if one == key else pictures.look(one) for one in pair[:2]]
      value = overlay(points, looks[0], looks[1], is_mirrored=False)
      if value is not None and value.correlation >= options.min_correlation:
        made.pairs[pair] = value.to_json()
        made.facts |= {one: seen.facts for one, seen in zip(pair[:2], looks, strict=True)}
  return sorted({one for pair in made.pairs for one in pair[:2]} - {key}), made


def _fields(pixels: np.ndarray, known: Sequence[Quad]) -> Iterator[tuple[int, int, int, int]]:
  """Yields top, bottom, left and right of the fields that may show more."""
  raster = np.zeros((_RASTER, _RASTER), bool)
  for quad in known:
    corners = np.round(_RASTER * np.array(quad)).astype(int)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    raster[top:bottom, left:right] = True
  height, width = pixels.shape[:2]
  for row in range(_STEPS - 1):
    for column in range(_STEPS - 1):
      rows, columns = (
        slice(first * _RASTER // _STEPS, (first + 2) * _RASTER // _STEPS) for first in (row, column)
      )
      bounds = (
        row * height // _STEPS,
        (row + 2) * height // _STEPS,
        column * width // _STEPS,
        (column + 2) * width // _STEPS,
      )
      field = pixels[bounds[0] : bounds[1] : 4, bounds[2] : bounds[3] : 4]
      is_even = not field.size or np.std(field.mean(axis=2)) < _LEAST_DEVIATION
      if not is_even and np.mean(raster[rows, columns]) < _MOST_KNOWN:
        yield bounds

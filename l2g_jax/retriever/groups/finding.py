"""Finds what the pictures of a collection are to each other, and groups of them."""

import functools
from collections.abc import Iterator

import numpy as np

from l2g_jax.errors import SettingError
from l2g_jax.ranking.spatial import MIN_INLIERS
from l2g_jax.retriever.groups import collages, comparing
from l2g_jax.retriever.groups.comparing import Progress, among, listed_pairs, pairs_of
from l2g_jax.retriever.groups.group import Groups, make_groups
from l2g_jax.retriever.groups.ledger import Entries
from l2g_jax.retriever.groups.measurement import Overlay, Sight
from l2g_jax.retriever.groups.options import GroupOptions
from l2g_jax.retriever.groups.pictures import Pictures, open_pictures
from l2g_jax.retriever.groups.relation import Relation, mark_insets, relate_objects, relate_pixels
from l2g_jax.retriever.retriever import Retriever

DEFAULTS = GroupOptions()
# Matches of two pictures neither of which lies in the other: windows of one program share a frame.
_OVERLAP_INLIERS = 15


def find_groups(
  retriever: Retriever,
  options: GroupOptions = DEFAULTS,
  progress: Progress | None = None,
) -> Groups:
  """Finds groups of pictures that show the same, all of it or a part; files stay as they are.

  What is measured of pairs is kept beside the index, so that another call, or a folder that grew,
  costs new pairs alone. An interrupted call goes on where it stood.

  Args:
    retriever: of a folder or a data set.
    options: what is looked for, and which pairs count.
    progress: is told the work, how much of it is done and how much there is; None = a meter shows.
  """
  pictures = open_pictures(retriever)
  relations = [*_same_files(pictures), *_pixel_relations(pictures, options, progress)]
  if options.finds_views:
    known = {frozenset((relation.first, relation.second)) for relation in relations}
    relations += [
      relation
      for relation in _object_relations(pictures, options, progress)
      if frozenset((relation.first, relation.second)) not in known
    ]
  return make_groups(pictures, relations, options)


def find_pairs(
  retriever: Retriever,
  *,
  num_neighbors: int,
  min_inliers: int | None,
  progress: Progress | None = None,
) -> list[tuple[str, str]]:
  """Finds the pairs of pictures that other programs should match, each once.

  Args:
    retriever: of a folder or a data set.
    num_neighbors: of each picture, at least 1.
    min_inliers: pairs with fewer matches that a homography explains are left out, at least 8; None
      = none is verified.
    progress: see `find_groups`.

  Returns:
    Names, the smaller first, ascending.
  """
  pictures = open_pictures(retriever)
  lists, names = pictures.collection.lists, pictures.collection.names
  found = {
    (min(number, other), max(number, other))
    for number in range(len(names))
    for other in np.asarray(lists.ids[number][:num_neighbors]).tolist()
    if other >= 0
  }
  if min_inliers is not None:
    if min_inliers < MIN_INLIERS:
      raise SettingError("min_inliers", f"at least {MIN_INLIERS}", min_inliers)
    keys = pictures.keys
    wanted = {pair for a, b in found for pair in pairs_of(keys[a], [keys[b]])}
    sights = _sights(pictures, wanted, progress)
    found = {
      (a, b)
      for a, b in found
      # Equal files need no verification.
      if keys[a] == keys[b]
      or any(
        pair in sights and sights[pair].inliers >= min_inliers
        for pair in pairs_of(keys[a], [keys[b]])
      )
    }
  return sorted((min(names[a], names[b]), max(names[a], names[b])) for a, b in found)


def _same_files(pictures: Pictures) -> Iterator[Relation]:
  """Yields the relation of each copy to the first of them."""
  for names in pictures.names.values():
    for other in names[1:]:
      yield Relation(names[0], other, "same file")


def _pixel_relations(
  pictures: Pictures, options: GroupOptions, progress: Progress | None
) -> list[Relation]:
  """Returns the relations of pictures that agree pixel by pixel."""
  compare = functools.partial(comparing.compare_overlay, pictures, options.min_inliers)
  depth = options.mirror_depth
  with comparing.open_ledger(pictures, "groups", options.min_inliers) as ledger:
    pairs = listed_pairs(pictures, options.depth)
    if options.mirrors:
      comparing.search_pictures(
        ledger,
        f"mirror {depth}",
        pictures.names,
        lambda key: (pictures.search(pictures.mirrored(key)[0].descriptors, depth), Entries()),
        "search in the mirror",
        progress,
      )
      found = ledger.entries.searched.get(f"mirror {depth}", {})
      pairs |= among(pictures, found, is_mirrored=True)
    comparing.compare_pairs(ledger, pairs, compare, "duplicates and parts", progress)
    known = [
      relation for pair in pairs if (relation := relate(pictures, ledger.entries, pair, options))
    ]
    pairs |= collages.look_closer(pictures, ledger, collages.find(known), options, progress)
    pictures.known.update(ledger.entries.facts)
    related = [relate(pictures, ledger.entries, pair, options) for pair in sorted(pairs)]
    return mark_insets([relation for relation in related if relation is not None])


def relate(
  pictures: Pictures, entries: Entries, pair: tuple[str, str, bool], options: GroupOptions
) -> Relation | None:
  """Returns the relation of a pair; None where its pixels do not agree."""
  value = entries.pairs.get(pair)
  if value is None:
    return None
  found = Overlay(*value)
  if found.correlation < options.min_correlation:
    return None
  first, second, is_mirrored = pair
  names = pictures.names[first][0], pictures.names[second][0]
  facts = entries.facts[first], entries.facts[second]
  relation = relate_pixels(names, facts, found, is_mirrored=is_mirrored)
  if relation.kind == "part" and not relation.is_within and found.inliers < _OVERLAP_INLIERS:
    return None
  return relation


def _object_relations(
  pictures: Pictures, options: GroupOptions, progress: Progress | None
) -> list[Relation]:
  """Returns the relations of pictures that a homography connects."""
  sights = _sights(pictures, listed_pairs(pictures, options.depth), progress)
  relations = []
  for (first, second, _), found in sorted(sights.items(), key=lambda item: item[0]):
    if found.inliers >= options.min_object_inliers:
      names = pictures.names[first][0], pictures.names[second][0]
      facts = pictures.facts(first), pictures.facts(second)
      relations.append(relate_objects(names, facts, found, usual=options.min_object_inliers))
  return relations


def _sights(
  pictures: Pictures, wanted: set[tuple[str, str, bool]], progress: Progress | None
) -> dict[tuple[str, str, bool], Sight]:
  """Returns what a homography explains of pairs, of those where it explains enough."""
  compare = functools.partial(comparing.compare_sight, pictures)
  with comparing.open_ledger(pictures, "sights") as ledger:
    comparing.compare_pairs(ledger, wanted, compare, "spatial verification", progress)
    known = ledger.entries.pairs
    return {pair: Sight(*value) for pair in wanted if (value := known[pair]) is not None}

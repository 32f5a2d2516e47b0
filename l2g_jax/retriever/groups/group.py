"""Groups of pictures, and which of each is the best to keep.

A group has a main picture, and every member shows pixels of it: copies of it, parts of it and of
its parts, and collages or screenshots that show it reduced. These lie in the groups of all that
they show and tie none of them together; neither does a part that two pictures have in common. Other
photographs of the same thing are grouped around the one with the most relations, for the same
reason: chains lead from one thing to another.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.retriever.groups.look import Facts
from l2g_jax.retriever.groups.options import GroupKind, GroupOptions
from l2g_jax.retriever.groups.pictures import Pictures
from l2g_jax.retriever.groups.relation import COPIES, Quad, Relation

# What differs by less than these shares of the best is no reason to prefer it.
_DETAIL, _SHARPNESS = 0.9, 0.8


@dataclasses.dataclass(frozen=True)
class Member:
  """A picture of a group.

  Attributes:
    name: of the image.
    path: its file.
    width: in pixels of the file.
    height: in pixels of the file.
    bytes: of the file.
    sharpness: see `Facts`.
    is_best: whether it is the one to keep.
    regions: corners, in fractions of width and height, of the parts that other members show too.
  """

  name: str
  path: pathlib.Path
  width: int
  height: int
  bytes: int
  sharpness: float
  is_best: bool
  regions: tuple[Quad, ...]


@dataclasses.dataclass(frozen=True)
class Group:
  """Pictures that show the same.

  Attributes:
    members: the best first, then its copies, its parts, and what shows it reduced.
    relations: between members.
    kind: what was looked for, see `GroupOptions`.
  """

  members: tuple[Member, ...]
  relations: tuple[Relation, ...]
  kind: GroupKind

  def relation_of(self, name: str) -> Relation | None:
    """Returns the relation of a member to the best, or else to any; None of the best itself."""
    best = self.members[0].name
    if name == best:
      return None
    own = [relation for relation in self.relations if name in (relation.first, relation.second)]
    return next((one for one in own if one.other(name) == best), own[0] if own else None)


@dataclasses.dataclass(frozen=True)
class Groups:
  """The groups of a collection; iterates over them.

  Attributes:
    groups: the largest first, then by the name of the best.
    num_images: of the collection, that could be read.
    settings: JSON values that made them.
  """

  groups: tuple[Group, ...]
  num_images: int
  settings: Mapping[str, Any]

  def __iter__(self) -> Iterator[Group]:
    return iter(self.groups)

  def __len__(self) -> int:
    return len(self.groups)


def make_groups(pictures: Pictures, relations: Sequence[Relation], options: GroupOptions) -> Groups:
  """Groups pictures by their relations; of one kind alone, by these and by copies."""
  is_narrow = options.kind not in ("duplicates", "objects")
  if is_narrow:
    kept = ("copies", options.kind)
    relations = [relation for relation in relations if relation.group_kind in kept]
  copies = _Copies(relations)
  if options.finds_views:
    found = _around_hubs(copies, relations)
  else:
    found = _around_wholes(copies, relations)
  facts = _Facts(pictures)
  groups = [
    _make_group(pictures, facts, clusters, copies, relations, options) for clusters in found
  ]
  if is_narrow:
    groups = [
      group
      for group in groups
      if any(relation.group_kind == options.kind for relation in group.relations)
    ]
  return Groups(
    tuple(sorted(groups, key=lambda group: (-len(group.members), group.members[0].name))),
    num_images=len(pictures.collection.readable),
    settings=dataclasses.asdict(options),
  )


class _Copies:
  """Clusters of pictures with the same frame, each named by its first picture."""

  def __init__(self, relations: Iterable[Relation]):
    self._parents: dict[str, str] = {}
    for relation in relations:
      first, second = self.of(relation.first), self.of(relation.second)
      if relation.kind in COPIES:
        self._parents[max(first, second)] = min(first, second)
    self.members: dict[str, list[str]] = collections.defaultdict(list)
    for name in sorted(self._parents):
      self.members[self.of(name)].append(name)

  def of(self, name: str) -> str:
    """Returns the cluster of a picture."""
    while (parent := self._parents.setdefault(name, name)) != name:
      name = parent
    return name


def _around_wholes(copies: _Copies, relations: Sequence[Relation]) -> list[list[str]]:
  """Returns groups as clusters, the main one first: its parts, and what shows any of them."""
  parts, wholes, shown = (collections.defaultdict(set) for _ in range(3))
  for relation in relations:
    first, second = copies.of(relation.first), copies.of(relation.second)
    if relation.kind != "part" or first == second:
      continue
    if relation.is_inset or not relation.is_within:
      # Neither lies in the other, or a collage has a part: it follows, and leads no further.
      shown[second].add(first)
      if not relation.is_inset:
        shown[first].add(second)
    else:
      parts[first].add(second)
      wholes[second].add(first)
  found = []
  for cluster in sorted(copies.members):
    if wholes[cluster]:
      continue
    below = _reach(cluster, parts)
    above = {other for part in below for other in shown[part]} - set(below)
    found.append([*below, *sorted(above)])
  found = [group for group in found if len(group) > 1 or len(copies.members[group[0]]) > 1]
  return _without_subsets(found)


def _reach(start: str, links: Mapping[str, set[str]]) -> list[str]:
  """Returns what is reached from a cluster, itself first, the nearest next."""
  reached = {start: None}
  for cluster in (queue := [start]):
    for other in sorted(links[cluster]):
      if other not in reached:
        reached[other] = None
        queue.append(other)
  return list(reached)


def _around_hubs(copies: _Copies, relations: Sequence[Relation]) -> list[list[str]]:
  """Returns groups as clusters: the one with the most relations, its neighbours, and so on."""
  links: dict[str, set[str]] = collections.defaultdict(set)
  for relation in relations:
    first, second = copies.of(relation.first), copies.of(relation.second)
    # A collage shows things that have nothing to do with each other.
    if first != second and not relation.is_inset:
      links[first].add(second)
      links[second].add(first)
  left, found = set(copies.members), []
  for cluster in sorted(copies.members, key=lambda name: (-len(links[name]), name)):
    if cluster in left:
      group = [cluster, *sorted(links[cluster] & left)]
      left -= set(group)
      found.append(group)
  return [group for group in found if len(group) > 1 or len(copies.members[group[0]]) > 1]


def _without_subsets(found: Sequence[list[str]]) -> list[list[str]]:
  """Leaves out groups all of which lies in a larger one."""
  kept: list[list[str]] = []
  holders: dict[str, list[set[str]]] = collections.defaultdict(list)
  for group in sorted(found, key=lambda group: -len(group)):
    own = set(group)
    if not any(own <= other for other in holders[group[0]]):
      kept.append(group)
      for cluster in group:
        holders[cluster].append(own)
  return kept


def _make_group(
  pictures: Pictures,
  facts: "_Facts",
  clusters: Sequence[str],
  copies: _Copies,
  relations: Sequence[Relation],
  options: GroupOptions,
) -> Group:
  if options.finds_views:
    # None is the whole of another, so that the best of all is the best.
    ordered = _best_first([name for own in clusters for name in copies.members[own]], facts)
  else:
    ordered = [name for own in clusters for name in _best_first(copies.members[own], facts)]
  within = set(ordered)
  own = tuple(
    relation for relation in relations if relation.first in within and relation.second in within
  )
  regions: dict[str, list[Quad]] = collections.defaultdict(list)
  for relation in own:
    for name, region in (
      (relation.first, relation.region_first),
      (relation.second, relation.region_second),
    ):
      if region is not None and region not in regions[name]:
        regions[name].append(region)
  members = []
  for number, name in enumerate(ordered):
    known = facts.of(name)
    height, width = known.size
    members.append(
      Member(
        name=name,
        path=pictures.paths[name],
        width=width,
        height=height,
        bytes=known.bytes,
        sharpness=known.sharpness,
        is_best=not number,
        regions=tuple(regions[name]),
      )
    )
  return Group(tuple(members), own, options.kind)


def _best_first(names: Sequence[str], facts: "_Facts") -> list[str]:
  """Orders pictures of one frame: by what they truly show, then sharpness, then bytes."""
  left, ordered = sorted(names), []
  while left:
    known = {name: facts.of(name) for name in left}
    detail = max(one.detail for one in known.values())
    near = [name for name in left if known[name].detail >= _DETAIL * detail]
    sharpness = max(known[name].sharpness for name in near)
    near = [name for name in near if known[name].sharpness >= _SHARPNESS * sharpness]
    ordered.append(max(near, key=lambda name: known[name].bytes))
    left.remove(ordered[-1])
  return ordered


class _Facts:
  """What is known of pictures, by name."""

  def __init__(self, pictures: Pictures):
    self._pictures = pictures

  def of(self, name: str) -> Facts:
    try:
      return self._pictures.facts(self._pictures.keys_by_name[name])
    except InputError:
      # The same file twice, and both can't be read.
      return Facts((0, 0), 1, self._pictures.paths[name].stat().st_size, 0.0, 0.0, "")

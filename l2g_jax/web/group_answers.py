"""Groups as the interface answers them, and as files to take away."""

import dataclasses
import json
import pathlib
from typing import get_args

from l2g_jax.data.image_names import printable
from l2g_jax.report import spreadsheet
from l2g_jax.retriever.groups import Group, Groups
from l2g_jax.retriever.groups.relation import RelationKind
from l2g_jax.web.exports import below, write_pairs
from l2g_jax.web.found import image_id
from l2g_jax.web.schemas import GroupAnswer, MemberAnswer, RelationAnswer

_COLUMNS = (
  *("group", "kind", "keep", "name", "file", "relation", "to"),
  *("width", "height", "bytes", "sharpness"),
)

_LOOSEST_FIRST: tuple[RelationKind, ...] = get_args(RelationKind)[::-1]


def answer(group: Group) -> GroupAnswer:
  """Returns a group for the interface."""
  return GroupAnswer(
    kind=kind_of(group),
    members=[
      MemberAnswer(
        id=image_id(member.name),
        name=printable(member.name),
        width=member.width,
        height=member.height,
        bytes=member.bytes,
        sharpness=member.sharpness,
        is_best=member.is_best,
      )
      for member in group.members
    ],
    relations=[
      RelationAnswer(
        first=image_id(relation.first),
        second=image_id(relation.second),
        kind=relation.kind,
        turn=relation.turn,
        mirrored=relation.mirrored,
        is_inset=relation.is_inset,
        is_within=relation.is_within,
        inliers=relation.inliers,
        region_first=_corners(relation.region_first),
        region_second=_corners(relation.region_second),
      )
      for relation in group.relations
    ],
  )


def kind_of(group: Group) -> RelationKind:
  """Returns the loosest of the relations that hold a group together."""
  kinds = {relation.kind for relation in group.relations}
  return next(kind for kind in _LOOSEST_FIRST if kind in kinds)


def table(groups: Groups, root: pathlib.Path) -> str:
  """Returns groups as CSV, a picture a line."""
  return spreadsheet.csv_text(
    _COLUMNS,
    (
      (
        number,
        kind_of(group),
        "yes" if member.is_best else "",
        printable(member.name),
        below(pathlib.Path(member.path), root),
        *_relation(group, member.name),
        member.width,
        member.height,
        member.bytes,
        f"{member.sharpness:.2f}",
      )
      for number, group in enumerate(groups.groups, start=1)
      for member in group.members
    ),
  )


def document(groups: Groups) -> str:
  """Returns groups as JSON."""
  found = [dataclasses.asdict(answer(group)) for group in groups.groups]
  return json.dumps({"num_images": groups.num_images, "groups": found}, indent=2)


def pairs(groups: Groups, root: pathlib.Path) -> str:
  """Returns the files of every two pictures that are related, a pair a line."""
  return write_pairs(
    (paths[relation.first], paths[relation.second])
    for group in groups.groups
    if (paths := {item.name: below(pathlib.Path(item.path), root) for item in group.members})
    for relation in group.relations
  )


def _relation(group: Group, name: str) -> tuple[str, str]:
  """Says what a member is to the best, or to another member, and names that."""
  relation = group.relation_of(name)
  return (
    ("", "") if relation is None else (relation.describe(name), printable(relation.other(name)))
  )


def _corners(region) -> list[tuple[float, float]] | None:
  return None if region is None else [(round(float(x), 5), round(float(y), 5)) for x, y in region]

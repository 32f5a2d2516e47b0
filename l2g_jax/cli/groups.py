"""Finds the pictures of a folder that show the same: duplicates, crops, collages, screenshots.

  l2g groups FOLDER [--mirrors] [--kind=KIND] [--output=FILE]

Prints groups with the picture to keep first. No picture is ever changed or deleted.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, get_args

from absl import flags

from l2g_jax.cli import command
from l2g_jax.cli.collection_flags import COLLECTION, open_folder
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import FEATURES
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.work_flags import WORK
from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.report import spreadsheet
from l2g_jax.retriever import groups
from l2g_jax.retriever.groups import GroupOptions, Groups
from l2g_jax.retriever.groups.options import GroupKind
from l2g_jax.runtime import files

_DEFAULTS = GroupOptions()
_HEAD = "# Groups of l2g_jax"
_COLUMNS = (
  *("group", "kind", "name", "path", "is_best", "relation", "to", "turn", "mirrored", "score"),
  *("width", "height", "bytes", "sharpness"),
)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "kind",
    _DEFAULTS.kind,
    list(get_args(GroupKind)),
    "duplicates: pictures that share pixels, all or a part; objects: other photographs of the same"
    " thing as well. Of these alone, copies, crops, insets (in collages and screenshots) or views"
    " (other photographs).",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "mirrors", _DEFAULTS.mirrors, "Find mirrored pictures too; it takes longer.", flag_values=values
  )
  flags.DEFINE_integer(
    "depth", _DEFAULTS.depth, "Neighbours that each picture is compared with.", flag_values=values
  )
  flags.DEFINE_float(
    "min_correlation",
    _DEFAULTS.min_correlation,
    "Correlation of the pixels that two pictures share, 0 to 1, from which they are the same.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "min_object_inliers",
    _DEFAULTS.min_object_inliers,
    "With --kind=objects, matches that one transform must explain.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "output",
    None,
    "File of the groups, .json, .csv or .txt by its ending; omitted: none.",
    flag_values=values,
  )


def main(values: Values) -> None:
  """Finds groups, prints and writes them."""
  write = _writer(values.output) if values.output else None
  with settings_as_flags():
    options = GroupOptions(
      kind=values.kind,
      mirrors=values.mirrors,
      depth=values.depth,
      min_correlation=values.min_correlation,
      min_object_inliers=values.min_object_inliers,
    )
  retriever = open_folder(values)
  found = groups.find_groups(retriever, options)
  if write is not None:
    write(found)
  print(f"\n{to_text(found)}")


def to_text(found: Groups) -> str:
  """Returns groups as lines for a reader; `*` marks the best of each."""
  lines = []
  for number, group in enumerate(found, start=1):
    lines.append(f"{number}. {len(group.members)} pictures")
    for member in group.members:
      relation = group.relation_of(member.name)
      size = f"{member.width} x {member.height}, {member.bytes / 1e3:.0f} kB"
      told = "copy of a copy" if relation is None else relation.describe(member.name)
      mark = "*" if member.is_best else " "
      said = "keep" if member.is_best else told
      lines.append(f"  {mark} {printable(member.name)}  ({size}): {said}")
    lines.append("")
  count = sum(len(group.members) for group in found)
  kind = found.settings["kind"]
  return "\n".join(
    [*lines, f"{len(found)} groups of {kind}, {count} members; {found.num_images} images."]
  )


def to_json(found: Groups) -> dict[str, Any]:
  """Returns groups as a JSON value."""
  return {
    "num_images": found.num_images,
    "settings": dict(found.settings),
    "groups": [
      {
        "kind": group.kind,
        "members": [{**vars(member), "path": str(member.path)} for member in group.members],
        "relations": [relation.to_json() for relation in group.relations],
      }
      for group in found
    ],
  }


def to_csv(found: Groups) -> str:
  """Returns groups as a table, a row a member, with its relation to the first of its group."""
  rows = []
  for number, group in enumerate(found, start=1):
    for member in group.members:
      row: dict[str, Any] = {
        name: value for name, value in vars(member).items() if name in _COLUMNS
      }
      row |= {"group": number, "kind": group.kind, "path": str(member.path)}
      relation = group.relation_of(member.name)
      if relation is not None:
        told, other = relation.describe(member.name), relation.other(member.name)
        row |= {"relation": told, "to": other}
        row |= {"turn": relation.turn, "mirrored": relation.mirrored, "score": relation.score}
      rows.append([row.get(name) for name in _COLUMNS])
  return spreadsheet.csv_text(_COLUMNS, rows)


def _writer(path: str):
  """Returns what writes groups to a file, by its ending; refuses a file that would be lost."""
  target = pathlib.Path(path)
  kinds: Mapping[str, Any] = {".csv": to_csv, ".txt": lambda found: f"{_HEAD}\n{to_text(found)}\n"}
  ending = target.suffix.lower()
  if ending == ".json":
    command.check_file(target)
    return lambda found: files.write_json(target, to_json(found))
  if ending not in kinds:
    raise InputError(f"--output must end in .json, .csv or .txt, not in {ending or 'nothing'}.")
  head = _HEAD if ending == ".txt" else ",".join(_COLUMNS)
  command.check_file(target, lambda file: _starts_with(file, head))

  def write(found: Groups) -> None:
    with files.atomic_path(target) as temporary:
      temporary.write_text(kinds[ending](found), encoding="utf-8", errors="backslashreplace")

  return write


def _starts_with(path: pathlib.Path, head: str) -> bool:
  with path.open("rb") as file:
    return file.read(len(head)) == head.encode()


COMMAND = Command(
  "groups",
  __doc__,
  [COLLECTION, Group("Groups", _define), FEATURES, WORK],
  main,
  ("images",),
  words={"images": "FOLDER"},
  example="photos --output=groups.csv",
)

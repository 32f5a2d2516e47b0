"""Figures that are kept in a folder: a run that was interrupted goes on, and nothing runs twice."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.runtime import files


def keep(
  folder: pathlib.Path,
  settings: Any,
  measure: Callable[[], dict[str, Any]],
  *,
  again: bool = False,
) -> dict[str, Any]:
  """Returns the kept row of some settings, or measures it and keeps it.

  Several processes may share the folder: a row is written whole, and the last one stays.

  Args:
    folder: where rows are kept; it is made where it is not there.
    settings: a JSON value of all on which the row depends, such as checksums of contents.
    measure: makes the row, a JSON object.
    again: whether to measure a row that is kept.
  """
  path = folder / f"{files.checksum_json(settings)[:16]}.json"
  if not again and (kept := _read(path)) is not None:
    return kept
  row = measure()
  folder.mkdir(parents=True, exist_ok=True)
  files.write_manifest(path, {"row": row})
  return row


def is_kept(folder: pathlib.Path, settings: Any) -> bool:
  """Returns whether the row of some settings is kept and whole."""
  return _read(folder / f"{files.checksum_json(settings)[:16]}.json") is not None


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns a kept row; None where it is missing or damaged."""
  try:
    manifest: Mapping[str, Any] = files.read_manifest(path)
  except InputError:
    return None
  return manifest["row"]

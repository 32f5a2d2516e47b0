"""JSON files that are written atomically; a manifest is one with its own checksum."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.runtime.atomic import atomic_path
from l2g_jax.runtime.digests import checksum_json

# Of the folder that a manifest lists.
MANIFEST = "manifest.json"


def write_json(path: os.PathLike | str, value: Any) -> None:
  """Writes a JSON value atomically, with sorted keys and no NaN."""
  with atomic_path(path) as temporary:
    temporary.write_text(_json_text(value), encoding="utf-8")


def write_manifest(path: os.PathLike | str, body: Mapping[str, Any]) -> None:
  """Writes a JSON object with its own checksum, atomically."""
  with atomic_path(path) as temporary:
    temporary.write_text(manifest_text(body), encoding="utf-8")


def manifest_text(body: Mapping[str, Any]) -> str:
  """Returns the text that `write_manifest` writes."""
  return _json_text({**body, "checksum": checksum_json(dict(body))})


def _json_text(value: Any) -> str:
  return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_manifest(path: os.PathLike | str) -> dict[str, Any]:
  """Reads a manifest; InputError if it is missing, truncated or altered."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing.")
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    intact = manifest.pop("checksum") == checksum_json(manifest)
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise InputError(f"{path} is truncated or not a manifest.") from error
  if not intact:
    raise InputError(f"{path} was altered.")
  return manifest


def try_manifest(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads a manifest; None where the file is anything else."""
  try:
    return read_manifest(path)
  except InputError:
    return None

"""Removal of files that are provably ours: a manifest with its own checksum says so.

The library removes such files here alone, or has made them itself in the same call. Links are never
followed.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.runtime.atomic import target_of, workplace
from l2g_jax.runtime.locks import LOCK
from l2g_jax.runtime.manifests import MANIFEST, try_manifest


def remove_ours(path: os.PathLike | str, *, names: re.Pattern | None = None) -> bool:
  """Removes a path as far as it is provably ours; returns whether it is gone.

  Provably ours are a bundle that holds only its manifest and the files that this may name, a file
  of `write_manifest`, an empty lock, and the leftovers of a killed writer. Of any other folder the
  parts that are ours are removed, and the folder itself if that empties it. Everything else stays,
  and so do links, their targets, and files that another process is writing. So call it for names of
  ours only.

  Args:
    path: the file or folder.
    names: names that may be removed from a folder that is no bundle, and from folders in it: a user
      may keep files of ours under other names. None = any name.
  """
  path = pathlib.Path(path)
  # Another process may remove the same files, and some may be protected: neither is an error.
  with contextlib.suppress(OSError):
    if path.is_symlink():
      return False
    if path.is_file():
      if (path.name == LOCK and not path.stat().st_size) or try_manifest(path) is not None:
        path.unlink()
    elif (name := target_of(path)) is not None:
      target, children = path.with_name(name), {child.name for child in path.iterdir()}
      if not children or {LOCK} <= children <= {LOCK, name}:
        with contextlib.suppress(InputError), workplace(target, refusal="It is being written."):
          pass
    elif (path / MANIFEST).exists():
      manifest = try_manifest(path / MANIFEST)
      if manifest is not None and holds_arrays_alone(path, array_names(manifest)):
        # The manifest goes last: until then it says whose the others are.
        for file in path.glob("*.npy"):
          file.unlink()
        (path / MANIFEST).unlink()
        path.rmdir()
    else:
      for child in path.iterdir():
        if names is None or names.fullmatch(child.name):
          remove_ours(child, names=names)
      path.rmdir()
  return not os.path.lexists(path)


def remove_leftovers(directory: os.PathLike | str) -> None:
  """Removes from a folder the leftovers of killed writers; files that are being written stay."""
  for path in pathlib.Path(directory).iterdir():
    if target_of(path) is not None:
      remove_ours(path)


def array_names(manifest: Mapping[str, Any]) -> set[str]:
  """Returns the names of a bundle's arrays; the file of a replaced array has another name."""
  return {
    entry.get("array", pathlib.PurePath(file).stem)
    for file, entry in manifest.get("files", {}).items()
  }


def is_of_arrays(file: pathlib.Path, names: Iterable[str]) -> bool:
  """Whether a file has the name of one of these arrays, or of one that replaced it."""
  pattern = rf"(?:{'|'.join(map(re.escape, names))})(?:\.\d+)?\.npy"
  return re.fullmatch(pattern, file.name) is not None


def holds_arrays_alone(directory: pathlib.Path, names: set[str]) -> bool:
  """Whether a folder holds only a manifest and files of these arrays."""
  return all(
    file.is_file()
    and not file.is_symlink()
    and (file.name == MANIFEST or is_of_arrays(file, names))
    for file in directory.iterdir()
  )

"""Where features come from: extracted here, stores made before, or files that others publish."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from l2g_jax import files, settings
from l2g_jax.data.formats import ames, cann, folder
from l2g_jax.data.formats.global_features import read_global, stack_global
from l2g_jax.data.formats.source import LocalSource, import_local
from l2g_jax.data.images import CropPolicy
from l2g_jax.data.store import FeatureStore, open_store
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob, OnError, extract_local
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, as_local

Part = Literal["database", "queries"]
Format = Literal["stores", "ames", "cann", "npy"]

# What AMES calls them.
_AMES_PARTS = {"database": "gallery", "queries": "query"}


@dataclasses.dataclass(frozen=True)
class LocalFiles:
  """Local features that are in files.

  Attributes:
    format: `stores` of ours; AMES's HDF5 files; lists `database.txt` and `queries.txt` of CANN's
      files; or folders of `.npy` files, one an image.
    folder: that holds those of the database and of the queries.
    dimension: of descriptors in CANN's files, which do not say it.
    max_descriptors: how many of an image are used; stores of ours are used whole.
  """

  format: Format
  folder: pathlib.Path
  dimension: int = cann.DIMENSION
  max_descriptors: int | None = None

  def __post_init__(self):
    settings.integer("dimension", self.dimension, least=1)
    if self.max_descriptors is not None:
      settings.integer("max_descriptors", self.max_descriptors, least=1)


def local_features(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  part: Part,
  local: LocalExtractor | LocalFiles,
  *,
  crop_policy: CropPolicy | None,
  on_error: OnError = "raise",
) -> FeatureStore:
  """Returns the local features of a collection's database or queries.

  Args:
    jobs: the images.
    directory: where what is made here lies.
    part: which of the two.
    local: where the features come from.
    crop_policy: how boxes become crops; None = the extractor's own.
    on_error: see `extract_local`.

  Raises:
    InputError: an image or a file can't be used, or files do not fit the images.
  """
  if isinstance(local, LocalExtractor):
    place = directory / f"{local.name}-{short_key(dict(local.settings))}" / part
    return extract_local(jobs, local, place, crop_policy=crop_policy, on_error=on_error)
  names = tuple(job.name for job in jobs)
  if local.format == "stores":
    return _open_store(local.folder / part, names)
  key = short_key(local.format, str(local.folder.resolve()), local.max_descriptors)
  return import_local(
    _open_source(local, part, names),
    directory / f"{local.format}-{key}" / part,
    max_descriptors=local.max_descriptors,
  )


def global_features(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  part: Part,
  source: GlobalExtractor | pathlib.Path,
  *,
  crop_policy: CropPolicy | None,
  on_error: OnError = "raise",
) -> np.ndarray:
  """Returns the global features of a collection's database or queries, `[N, D]` float32.

  Args:
    jobs: the images.
    directory: where what is made here lies.
    part: which of the two.
    source: an extractor; or a file or folder, see `read_global`.
    crop_policy: how boxes become crops; None = the extractor's own.
    on_error: see `extract_local`; an image that is left empty has the feature zero.

  Raises:
    InputError: an image or a file can't be used, or a file does not fit the images.
  """
  if isinstance(source, pathlib.Path):
    if source.is_dir() and (source / part).is_dir():
      _open_store(source / part, tuple(job.name for job in jobs))
    return read_global(source, part, len(jobs))
  store = extract_local(
    jobs,
    as_local(source),
    directory / f"{source.name}-{short_key(dict(source.settings))}" / part,
    crop_policy=crop_policy,
    precision="float32",
    on_error=on_error,
  )
  return stack_global(store)


def short_key(*values: object) -> str:
  """Returns a short name for what was made from these JSON values."""
  return files.checksum_json(list(values))[:16]


def _open_source(local: LocalFiles, part: Part, names: Sequence[str]) -> LocalSource:
  match local.format:
    case "ames":
      path = ames.find_local(local.folder, _AMES_PARTS[part])
      return ames.open_local(path, names, max_descriptors=local.max_descriptors)
    case "cann":
      return cann.open_local(local.folder / f"{part}.txt", names, dimension=local.dimension)
    case _:
      return folder.open_local(local.folder / part, names)


def _open_store(path: pathlib.Path, names: Sequence[str]) -> FeatureStore:
  store = open_store(path)
  if store.names != tuple(names):
    present = set(store.names)
    missing = next((name for name in names if name not in present), None)
    what = "has not the same order" if missing is None else f"lacks {missing!r}"
    raise InputError(f"The feature store {path} does not fit: it {what}.")
  if store.failures:
    print(f"{len(store.failures)} images of {path} have no features:")
    for name, reason in store.failures.items():
      print(f"  {name}: {reason}")
  for name, values in store:
    if not np.all(np.isfinite(values)):
      raise InputError(f"The descriptors of {name!r} in {path} are not finite.")
  return store

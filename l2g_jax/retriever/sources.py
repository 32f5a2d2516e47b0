"""Sources of features: an extractor, a store, or published files."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from l2g_jax import settings
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import CropPolicy, Photograph
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob, OnError, describe_image, extract_local, image_keys
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor, LocalFeatures, as_local
from l2g_jax.features.store import FeatureStore, open_store
from l2g_jax.interop import ames, cann, folder
from l2g_jax.interop.global_features import read_global, stack_global
from l2g_jax.interop.source import LocalSource, import_keys, import_local
from l2g_jax.runtime import checksums, files

Part = Literal["database", "queries"]
Format = Literal["stores", "ames", "cann", "npy"]

# Their names in AMES.
_AMES_PARTS = {"database": "gallery", "queries": "query"}


@dataclasses.dataclass(frozen=True)
class LocalFiles:
  """Local features in files.

  Attributes:
    format: `stores` of ours; AMES's HDF5 files; lists `database.txt` and `queries.txt` of CANN's
      files; or folders of `.npy` files, one an image.
    folder: holds the features of the database and of the queries.
    dimension: of the descriptors in CANN's files, which do not state it.
    max_descriptors: the most that are used of an image; our own stores are used whole.
  """

  format: Format
  folder: pathlib.Path
  dimension: int = cann.DIMENSION
  max_descriptors: int | None = None

  def __post_init__(self):
    settings.integer("dimension", self.dimension, least=1)
    if self.max_descriptors is not None:
      settings.integer("max_descriptors", self.max_descriptors, least=1)


def local_settings(local: LocalExtractor | LocalFiles) -> list[Any]:
  """Returns a JSON value that identifies a source of local features."""
  if isinstance(local, LocalExtractor):
    return [local.name, dict(local.settings)]
  return [local.format, str(local.folder.resolve()), local.dimension, local.max_descriptors]


def local_keys(
  jobs: Sequence[ImageJob], directory: pathlib.Path, local: LocalExtractor | LocalFiles
) -> Sequence[str]:
  """Returns the keys of the images in the store of a database's local features.

  Args:
    jobs: the images.
    directory: the folder of the collection.
    local: the source of the features.

  Raises:
    InputError: a file can't be used, or files do not fit the images.
  """
  if isinstance(local, LocalExtractor):
    return image_keys(jobs, local, directory / checksums.NAME)
  names = tuple(job.name for job in jobs)
  if local.format == "stores":
    return _open_store(local.folder / "database", names).keys
  return import_keys(
    _open_source(local, "database", names),
    _folder_of(directory, local, "database") / checksums.NAME,
    max_descriptors=local.max_descriptors,
  )


def local_features(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  part: Part,
  local: LocalExtractor | LocalFiles,
  *,
  crop_policy: CropPolicy | None,
  on_error: OnError = "raise",
  verify: bool = False,
  more_follow: bool = False,
) -> FeatureStore:
  """Returns the local features of a collection's database or queries.

  Args:
    jobs: the images.
    directory: the folder of the collection.
    part: `database` or `queries`.
    local: the source of the features.
    crop_policy: how boxes become crops; None = the policy of the extractor.
    on_error: see `extract_local`.
    verify: whether the checksums of existing files are compared, not only their sizes.
    more_follow: whether other images are looked at later, whose features are kept until then.

  Raises:
    InputError: an image or a file can't be used, or files do not fit the images.
  """
  if isinstance(local, LocalExtractor):
    return extract_local(
      jobs,
      local,
      _folder_of(directory, local, part),
      crop_policy=crop_policy,
      on_error=on_error,
      checksum_memory=directory / checksums.NAME,
      verify=verify,
      removes="none" if more_follow else "all",
    )
  names = tuple(job.name for job in jobs)
  if local.format == "stores":
    store = _open_store(local.folder / part, names, verify=verify)
    _check_finite(store, local.folder / part)
    return store
  return import_local(
    _open_source(local, part, names),
    _folder_of(directory, local, part),
    max_descriptors=local.max_descriptors,
    verify=verify,
  )


def open_extracted(
  directory: pathlib.Path, local: LocalExtractor | LocalFiles, keys: Mapping[str, str]
) -> FeatureStore | None:
  """Opens the local features of a collection's database as an extraction left them.

  Args:
    directory: the folder of the collection.
    local: the source of the features.
    keys: of images in the store, by name.

  Returns:
    A store that holds these images, among others; None where there is none.
  """
  if not isinstance(local, LocalExtractor):
    return None
  try:
    store = open_store(_folder_of(directory, local, "database"))
  except InputError:
    return None
  return store if keys.items() <= dict(zip(store.names, store.keys, strict=True)).items() else None


def describe_local(
  job: ImageJob,
  directory: pathlib.Path,
  local: LocalExtractor | LocalFiles,
  *,
  crop_policy: CropPolicy | None,
  photograph: Photograph | None = None,
) -> LocalFeatures:
  """Returns the local features of one query, descriptors as float32; see `local_features`.

  A photograph that was read before, see `jobs.read`, is not read again.
  """
  if isinstance(local, LocalExtractor):
    return describe_image(job, local, crop_policy=crop_policy, photograph=photograph)
  return local_features([job], directory, "queries", local, crop_policy=crop_policy)[0]


def global_features(
  jobs: Sequence[ImageJob],
  directory: pathlib.Path,
  part: Part,
  source: GlobalExtractor | pathlib.Path,
  *,
  crop_policy: CropPolicy | None,
  on_error: OnError = "raise",
  verify: bool = False,
  more_follow: bool = False,
) -> np.ndarray:
  """Returns the global features of a collection's database or queries, `[N, D]` float32.

  Args:
    jobs: the images.
    directory: the folder of the collection.
    part: `database` or `queries`.
    source: an extractor; or a file or folder, see `read_global`.
    crop_policy: how boxes become crops; None = the policy of the extractor.
    on_error: see `extract_local`; an image that is left empty has the feature zero.
    verify: see `local_features`.
    more_follow: see `local_features`.

  Raises:
    InputError: an image or a file can't be used, or a file does not fit the images.
  """
  if isinstance(source, pathlib.Path):
    if source.is_dir() and (source / part).is_dir():
      store = _open_store(source / part, tuple(job.name for job in jobs), verify=verify)
      _check_finite(store, source / part)
    return read_global(source, part, len(jobs))
  store = extract_local(
    jobs,
    as_local(source),
    _folder_of(directory, source, part),
    crop_policy=crop_policy,
    precision="float32",
    on_error=on_error,
    checksum_memory=directory / checksums.NAME,
    verify=verify,
    removes="none" if more_follow else "all",
  )
  return stack_global(store)


def describe_global(
  job: ImageJob,
  directory: pathlib.Path,
  source: GlobalExtractor | pathlib.Path,
  *,
  crop_policy: CropPolicy | None,
  photograph: Photograph | None = None,
) -> np.ndarray:
  """Returns the global feature of one query, `[1, D]` float32; see `describe_local`."""
  if isinstance(source, pathlib.Path):
    return global_features([job], directory, "queries", source, crop_policy=crop_policy)
  made = describe_image(
    job, as_local(source), crop_policy=crop_policy, precision="float32", photograph=photograph
  )
  return made.descriptors


def short_key(*values: object) -> str:
  """Returns a short name for a product of these JSON values."""
  return files.checksum_json(list(values))[:16]


def _folder_of(
  directory: pathlib.Path, source: LocalExtractor | GlobalExtractor | LocalFiles, part: Part
) -> pathlib.Path:
  """Returns the folder of a source's features."""
  if isinstance(source, LocalFiles):
    key = short_key(source.format, str(source.folder.resolve()), source.max_descriptors)
    return directory / f"{source.format}-{key}" / part
  return directory / f"{source.name}-{short_key(dict(source.settings))}" / part


def _open_source(local: LocalFiles, part: Part, names: Sequence[str]) -> LocalSource:
  match local.format:
    case "ames":
      path = ames.find_local(local.folder, _AMES_PARTS[part])
      return ames.open_local(path, names, max_descriptors=local.max_descriptors)
    case "cann":
      return cann.open_local(local.folder / f"{part}.txt", names, dimension=local.dimension)
    case _:
      return folder.open_local(local.folder / part, names)


def _open_store(path: pathlib.Path, names: Sequence[str], *, verify: bool = False) -> FeatureStore:
  store = open_store(path, verify=verify)
  if store.names != tuple(names):
    present = set(store.names)
    missing = next((name for name in names if name not in present), None)
    fault = "has not the same order" if missing is None else f"lacks {missing!r}"
    raise InputError(f"The feature store {path} does not fit: it {fault}.")
  if store.failures:
    print(f"{len(store.failures)} images of {path} have no features:")
    for name, reason in store.failures.items():
      print(f"  {printable(name)}: {printable(reason)}")
  return store


def _check_finite(store: FeatureStore, path: pathlib.Path) -> None:
  for name, values in store:
    if not np.all(np.isfinite(values)):
      raise InputError(f"The descriptors of {name!r} in {path} are not finite.")

"""The local features of a collection and of queries, with their key points, by number."""

import dataclasses
from collections.abc import Mapping, Sequence

from l2g_jax.features.extraction import ImageJob, OnError
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.store import FeatureStore
from l2g_jax.retriever import sources
from l2g_jax.retriever.collection import Collection

# The features of an image, of each kind; descriptors as they were extracted, not whitened.
Described = tuple[LocalFeatures, ...]


@dataclasses.dataclass(frozen=True)
class DescribedImages:
  """The local features of images, which are read when they are asked for.

  Attributes:
    names: of the images, by number.
    stores: of each kind of features, in any order.
  """

  names: Sequence[str]
  stores: Sequence[FeatureStore]
  _rows: Sequence[Mapping[str, int]]

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, number: int) -> Described:
    name = self.names[number]
    return tuple(store[rows[name]] for store, rows in zip(self.stores, self._rows, strict=True))


def describe_images(
  collection: Collection, jobs: Sequence[ImageJob], *, on_error: OnError
) -> DescribedImages:
  """Opens the local features of a collection's images, in the order of its names.

  Args:
    collection: that is ready for queries.
    jobs: its images, in any order.
    on_error: see `extract_local`.
  """
  return _open(collection, jobs, "database", collection.names, on_error)


def describe_queries(collection: Collection, jobs: Sequence[ImageJob]) -> DescribedImages:
  """Opens the local features of queries, as `collection.describe_queries` keeps them."""
  return _open(collection, jobs, "queries", [job.name for job in jobs], "raise")


def _open(
  collection: Collection,
  jobs: Sequence[ImageJob],
  part: sources.Part,
  names: Sequence[str],
  on_error: OnError,
) -> DescribedImages:
  # What made the collection is there, and the photographs need not be looked at again.
  is_made = part == "database"
  stores = [
    (
      sources.open_extracted(collection.directory, kind.options.local, kind.keys)
      if is_made
      else None
    )
    or sources.local_features(
      jobs,
      collection.directory,
      part,
      kind.options.local,
      crop_policy=kind.options.crop_policy,
      on_error=on_error,
    )
    for kind in collection.kinds
  ]
  rows = [{name: row for row, name in enumerate(store.names)} for store in stores]
  return DescribedImages(names, stores, rows)

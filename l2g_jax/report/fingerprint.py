"""The fingerprint of a run: what its figures were made from, by content.

Two runs may be compared where their fingerprints agree; their settings are compared separately.
Images that were encoded anew are other images.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from l2g_jax.data.dataset import Dataset
from l2g_jax.features.extraction import ImageJob
from l2g_jax.features.store import FeatureStore
from l2g_jax.retriever import Retriever, described
from l2g_jax.retriever import collection as collections
from l2g_jax.runtime import checksums, files
from l2g_jax.runtime.digests import new_digest
from l2g_jax.version import __version__


def fingerprint(
  dataset: Dataset, retriever: Retriever, *, settings: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns what the figures of a data set were made from.

  Args:
    dataset: with its ground truth.
    retriever: of the data set.
    settings: of the run, as JSON.

  Returns:
    JSON: checksums of the bytes of all image files, of the queries' files, of the ground truth, of
    the local and the global features of both, and of the neighbour lists; the version of the
    library; `all`, a short checksum of all of these; and the settings, which are not in it.
  """
  collection = retriever.collection
  jobs = [
    ImageJob(name, path, query.bbx)
    for name, path, query in zip(
      dataset.ground_truth.qimlist, dataset.query_paths, dataset.ground_truth.queries, strict=True
    )
  ]
  images = described.describe_images(collection, retriever.images.jobs, on_error="raise")
  queries = described.describe_queries(collection, jobs)
  global_features = collections.describe_queries(collection, jobs, retriever.watch).global_features
  made: dict[str, Any] = {
    "images": _checksum_images(dataset.database_paths, retriever),
    "query_images": _checksum_images(dataset.query_paths, retriever),
    "ground_truth": _checksum_judgements(dataset),
    "local_features": _checksum_stores(images.stores),
    "query_local_features": _checksum_stores(queries.stores),
    "global_features": _checksum_arrays([collection.global_features]),
    "query_global_features": _checksum_arrays([global_features]),
    "neighbour_lists": _checksum_arrays(collection.lists),
    "version": __version__,
  }
  return {"all": files.checksum_json(made)[:16], **made, "settings": dict(settings)}


def _checksum_images(paths: Sequence[Any], retriever: Retriever) -> str:
  """Returns the checksum of the checksums of files, in their order."""
  found = checksums.checksum_files(paths, retriever.directory / checksums.NAME)
  return files.checksum_json(found)


def _checksum_judgements(dataset: Dataset) -> str:
  truth = dataset.ground_truth
  queries = [
    [query.bbx, query.easy.tolist(), query.hard.tolist(), query.junk.tolist()]
    for query in truth.queries
  ]
  return files.checksum_json([list(truth.imlist), list(truth.qimlist), queries])


def _checksum_stores(stores: Sequence[FeatureStore]) -> str:
  return _checksum_arrays(descriptors for store in stores for _, descriptors in store)


def _checksum_arrays(arrays: Iterable[np.ndarray]) -> str:
  digest = new_digest()
  for array in arrays:
    digest.update(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()

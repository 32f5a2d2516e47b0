"""Global features that are aggregated from local ones: VLAD, learned from the collection."""

import pathlib
from collections.abc import Sequence

import numpy as np

from l2g_jax.cann import CannIndex
from l2g_jax.errors import InputError
from l2g_jax.features import aggregate, whitening
from l2g_jax.features.aggregate import Vlad
from l2g_jax.features.store import FeatureStore
from l2g_jax.retriever.members import Members
from l2g_jax.runtime import files

_SAMPLE = 100_000
_KIND = "l2g_jax.experiments.global_features"
_VERSION = 2


def open_vlad(
  directory: pathlib.Path, members: Members, names: Sequence[str], *, verify: bool = False
) -> tuple[Vlad, np.ndarray] | None:
  """Opens the result of `update_vlad` for images in this order; None if it is missing.

  Args:
    directory: of the collection.
    members: the known state of its index.
    names: of the index.
    verify: whether checksums are compared, not only sizes.

  Returns:
    The aggregation, and the images' global features `[N, D]` float32.
  """
  made = _read(directory, members, verify=verify)
  if made is None:
    return None
  vlad, features, keys = made
  return (vlad, features) if keys == [members.keys[name] for name in names] else None


def update_vlad(
  directory: pathlib.Path,
  members: Members,
  index: CannIndex,
  store: FeatureStore,
  *,
  seed: int,
  verify: bool = False,
) -> tuple[Vlad, np.ndarray]:
  """Aggregates the images of an index, each image once, by its key.

  Args:
    directory: of the collection.
    members: the known state of its index.
    index: whose whitening is used, and whose order.
    store: the images' local features.
    seed: of the vocabulary, which is learned where there is none yet.
    verify: see `open_vlad`.

  Returns:
    See `open_vlad`.
  """
  learned = whitening.Whitening.from_note(index.whitening)
  keys = [members.keys[name] for name in index.names]
  made = _read(directory, members, verify=verify)
  if made is None:
    sample = store.sample_descriptors(_SAMPLE, seed=seed)
    vlad, features = aggregate.fit_vlad(
      whitened(learned, sample),
      (whitened(learned, values) for _, values in store),
      seed=seed,
    )
    aggregate.save_vlad(members.path(directory, "vlad"), vlad)
    known = dict(zip(store.keys, features, strict=True))
  else:
    vlad, features, before = made
    known = dict(zip(before, features, strict=True))
    numbers = {key: number for number, key in enumerate(store.keys) if key not in known}
    if numbers:
      images = (whitened(learned, store[n].descriptors) for n in numbers.values())
      known |= dict(zip(numbers, aggregate.apply_vlad(vlad, images), strict=True))
    if keys == before:
      return vlad, features
  features = np.stack([known[key] for key in keys])
  files.save_bundle(
    members.path(directory, "global"),
    kind=_KIND,
    version=_VERSION,
    arrays={"database": features},
    metadata={"keys": keys},
  )
  return vlad, features


def described(learned: whitening.Whitening | None, values: np.ndarray) -> np.ndarray:
  """Returns descriptors ready for the index: whitened, if there is a whitening."""
  return values if learned is None else whitening.apply_whitening(learned, values)


def whitened(learned: whitening.Whitening | None, values: np.ndarray) -> np.ndarray:
  """Returns descriptors ready for aggregation: whitened, if there is a whitening, of unit norm."""
  if learned is None:
    return whitening.normalize_rows(values)
  return whitening.apply_whitening(learned, values)


def _read(
  directory: pathlib.Path, members: Members, *, verify: bool
) -> tuple[Vlad, np.ndarray, list[str]] | None:
  paths = [members.path(directory, kind) for kind in ("vlad", "global")]
  try:
    if verify:
      for path in paths:
        files.verify_bundle(path)
    vlad = aggregate.load_vlad(paths[0])
    bundle = files.load_bundle(paths[1], kind=_KIND, version=_VERSION)
  except InputError:
    # If it is missing or damaged, it is made again.
    return None
  return vlad, bundle.arrays["database"], bundle.metadata["keys"]

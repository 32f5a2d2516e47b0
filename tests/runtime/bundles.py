"""Small bundles and folders that the tests of files write and read."""

import numpy as np

from l2g_jax.runtime import files

ARRAYS = {
  "descriptors": np.arange(24, dtype=np.float32).reshape(6, 4),
  "empty": np.zeros((0, 3), np.float16),
}
METADATA = {"names": ["a", "b"], "dimension": 4}


def save(directory, offset):
  arrays = {name: array + array.dtype.type(offset) for name, array in ARRAYS.items()}
  files.save_bundle(directory, kind="test", version=3, arrays=arrays, metadata=METADATA)


def load(directory, **options):
  return files.load_bundle(directory, **{"kind": "test", "version": 3, **options})


def offset_of(directory):
  return load(directory).arrays["descriptors"][0, 0]


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def save_values(directory, value, names=("first", "second")):
  arrays = {name: np.full(5, value) for name in names}
  files.save_bundle(directory, kind="test", version=3, arrays=arrays, metadata={"value": value})


def values_of(bundle):
  return {int(value) for array in bundle.arrays.values() for value in array}

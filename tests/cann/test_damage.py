"""Indexes and stores whose checksums are right and whose content is not."""

import json

import numpy as np
import pytest

from l2g_jax.cann import CannIndex
from l2g_jax.errors import InputError
from l2g_jax.features import store
from tests.fuzz.stores import copy_of_index, copy_of_store, fit_checksums


def change_array(path, change):
  array = np.load(path)
  np.save(path, change(array))
  fit_checksums(path)


def with_value(place, value):
  def change(array):
    array[place] = value
    return array

  return change


@pytest.mark.parametrize(
  ("file", "change"),
  [
    ("descriptors/offsets", with_value(1, 10**9)),
    ("descriptors/offsets", with_value(1, -1)),
    ("descriptors/offsets", with_value(0, 1)),
    ("descriptors/offsets", lambda array: array[:0]),
    ("descriptors/offsets", lambda array: array.astype(np.float64)),
    ("descriptors/values", lambda array: array[:-1]),
    ("descriptors/values", lambda array: array[:, :-4]),
    ("descriptors/values", lambda array: array.view(np.uint8)),
    ("descriptors/scales", lambda array: array[:, None]),
    ("descriptors/names", with_value(0, 255)),
    ("descriptors/names", lambda array: array[:-1]),
    ("lists/blocks", lambda array: array[:-1]),
    ("lists/blocks", lambda array: array[:, :-1]),
    ("lists/images", with_value(0, 10**6)),
    ("lists/images", with_value(0, -1)),
    ("lists/images", lambda array: array[:-1]),
    ("lists/counts", with_value(0, -(10**6))),
    ("lists/counts", with_value(0, 2**62)),
    ("lists/counts", lambda array: np.append(array, 0)),
    ("quantizer/cells", lambda array: array[:-16]),
    ("quantizer/cells", lambda array: array[:, :4]),
    ("quantizer/cells_used", lambda array: array & False),
    ("quantizer/firsts", with_value(1, 10**6)),
    ("quantizer/firsts", with_value(0, -5)),
    ("quantizer/rotation", lambda array: array[:-1]),
    ("quantizer/spacing", lambda array: array[:-1]),
  ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, file, change):
  root = copy_of_index(tmp_path / "index")
  folder, name = file.split("/")
  # The first of them: that of the first segment.
  change_array(sorted(root.glob(f"{folder}-*/{name}.npy"))[0], change)
  with pytest.raises(InputError, match=str(root)):
    CannIndex.open(root, verify=True)


@pytest.mark.parametrize(
  ("keys", "value"),
  [
    (("dimension",), 8),
    (("dimension",), "many"),
    (("config",), None),
    (("config", "unknown"), 1),
    (("config", "kernel"), "unknown"),
    (("quantizer",), "lists-000002"),
    (("quantizer",), None),
    (("quantizer",), ["x"]),
    (("segments",), 7),
    (("segments", 0, "removed"), [99]),
    (("segments", 0, "removed"), "x"),
    (("segments", 0, "lists"), {}),
    (("version",), [2]),
    (("kind",), None),
  ],
)
def test_manifests_that_do_not_fit_are_refused(tmp_path, keys, value):
  root = copy_of_index(tmp_path / "index")
  path = root / "index.json"
  manifest = json.loads(path.read_text())
  target = manifest
  for key in keys[:-1]:
    target = target[key]
  target[keys[-1]] = value
  path.write_text(json.dumps(manifest))
  fit_checksums(path)
  with pytest.raises(InputError):
    CannIndex.open(root, verify=True)


@pytest.mark.parametrize(
  ("name", "change"),
  [
    ("offsets", with_value(1, 10**9)),
    ("offsets", with_value(0, 2)),
    ("offsets", lambda array: array[:-1]),
    ("descriptors", lambda array: array[:-1]),
    ("descriptors", lambda array: array[:, :-1]),
    ("locations", lambda array: array[:, :1]),
    ("scales", lambda array: array.astype(np.float64)),
    ("strengths", lambda array: array[:, None]),
  ],
)
def test_parts_of_a_store_that_do_not_fit_are_refused(tmp_path, name, change):
  root = copy_of_store(tmp_path / "store")
  change_array(sorted(root.glob(f"*/{name}.npy"))[0], change)
  with pytest.raises(InputError, match=str(root)):
    store.open_store(root)


@pytest.mark.parametrize(
  "content",
  [
    b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"
    + b" " * 60,
    b"\x93NUMPY\x01\x00\xff\xff{",
    b"\x93NUMPY\x01\x00\x02\x00{(",
    b"",
  ],
)
def test_headers_behind_right_checksums_are_refused(tmp_path, content):
  # Found by fuzzing: four kinds of tracebacks.
  path = sorted(copy_of_store(tmp_path / "store").glob("*/offsets.npy"))[0]
  path.write_bytes(content)
  fit_checksums(path)
  with pytest.raises(InputError, match=r"offsets\.npy"):
    store.open_store(tmp_path / "store")

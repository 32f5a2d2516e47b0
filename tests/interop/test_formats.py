import importlib
import os
import pickle
import re
import sys

import numpy as np
import pytest
import scipy.io

from l2g_jax.errors import InputError
from l2g_jax.features import LocalFeatures, store
from l2g_jax.interop import ames, cann, folder, global_features, source
from l2g_jax.interop.tensor import read_tensor
from l2g_jax.ranked import Ranked
from tests.interop.torch_writer import Called, Global, write_archive, write_pickle, write_stream

NAMES = ("a", "sub/b", "c")


def random(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write_cann(root):
  """Writes descriptor files of three images, 2, 0 and 5 rows, and a list of them."""
  sets = [random(count, 4, seed=count) for count in (2, 0, 5)]
  names = ["a.jpg.desc", "deep/b.desc", "c.bin"]
  for name, values in zip(names, sets, strict=True):
    cann.write_descriptors(root / name, values)
  cann.write_list(root / "list.txt", names[::-1])
  return root / "list.txt", sets


def test_cann_descriptors_come_by_name(tmp_path):
  path, sets = write_cann(tmp_path)
  opened = cann.open_local(path, NAMES, dimension=4)
  assert (opened.names, opened.dimension) == (NAMES, 4)
  for index, values in enumerate(sets):
    np.testing.assert_array_equal(opened.read(index).descriptors, values, strict=True)
  assert (tmp_path / "a.jpg.desc").read_bytes() == sets[0].astype("<f4").tobytes()


def test_cann_descriptors_that_do_not_fit_are_refused(tmp_path):
  path, _ = write_cann(tmp_path)
  with pytest.raises(InputError, match=r"list\.txt lacks 2 of 4 images: d, e\."):
    cann.open_local(path, ["a", "d", "e", "c"], dimension=4)
  (tmp_path / "c.bin").write_bytes(b"12345")
  with pytest.raises(InputError, match=r"c\.bin is truncated, or its descriptors have not 4 dim"):
    cann.open_local(path, NAMES, dimension=4).read(2)
  (tmp_path / "c.bin").unlink()
  with pytest.raises(InputError, match=r"names .*c\.bin, which is not there"):
    cann.open_local(path, NAMES, dimension=4)
  path.write_text("a.desc\nx/a.desc\n")
  with pytest.raises(InputError, match=r"two files of image 'a'"):
    cann.open_local(path, ["a"])
  path.write_text("\n")
  with pytest.raises(InputError, match="lists no files"):
    cann.open_local(path, NAMES)


def test_cann_results_are_read_as_written(tmp_path):
  path = tmp_path / "pairs.txt"
  shortlist = Ranked(
    np.array([[2, 0, 1], [1, -1, -1]]), np.array([[0.9, 0.5, 0.5], [0.25, 0, 0]], np.float32)
  )
  cann.write_results(path, shortlist, ["q", "x/r"], NAMES)
  lines = path.read_text().splitlines()
  assert lines[0].startswith("q, c, 0.9")
  assert lines[3] == "x/r, sub/b, 0.25"
  path.write_text("\n".join(lines[::-1]) + "\n")  # Order of the lines does not matter.
  found = cann.read_results(path, ["q", "x/r"], NAMES)
  np.testing.assert_array_equal(found.ids, shortlist.ids)
  np.testing.assert_allclose(found.similarities, shortlist.similarities, rtol=1e-7)


def test_cann_results_are_matched_by_file_name(tmp_path):
  path = tmp_path / "pairs.txt"
  path.write_text("gs://x/q.jpg.desc, gs://x/a.jpg.desc, 0.3022350\n/tmp/r.desc, y/c.desc, 0.1\n")
  found = cann.read_results(path, ["q", "r"], NAMES)
  np.testing.assert_array_equal(found.ids, [[0], [2]])


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("q, a", r"Line 2 of .* is not `query, image, score`"),
    ("q, a, high", r"Line 2 of .* is not `query"),
    ("q, a, nan", r"Line 2 of .* has a score that is not finite"),
    ("s, a, 1", r"Line 2 of .* names 's', which the data set has not"),
    ("q, d, 1", r"Line 2 of .* names 'd'"),
    ("q, c, 1", r"Line 2 of .* lists 'c' for 'q' again"),
    ("", r"has no result for query 'r'"),
  ],
)
def test_damaged_cann_results_are_refused(tmp_path, line, message):
  path = tmp_path / "pairs.txt"
  path.write_text(f"q, c, 0.5\n{line}\n")
  with pytest.raises(InputError, match=message):
    cann.read_results(path, ["q", "r"], NAMES)


def test_folders_of_arrays(tmp_path):
  (tmp_path / "sub").mkdir()
  sets = {"a": random(3, 4), "sub/b": random(0, 4), "c": random(1, 4).astype(np.float16)}
  for name, values in sets.items():
    np.save(tmp_path / f"{name}.npy", values)
  opened = folder.open_local(tmp_path, NAMES)
  for index, values in enumerate(sets.values()):
    np.testing.assert_array_equal(opened.read(index).descriptors, values)
  np.save(tmp_path / "c.npy", random(2, 5))
  with pytest.raises(InputError, match=r"c\.npy has 5 dimensions; .*a\.npy has 4"):
    folder.open_local(tmp_path, NAMES).read(2)
  np.save(tmp_path / "a.npy", random(2))
  with pytest.raises(InputError, match=r"a\.npy must be \[count, d\] numbers, not \(2,\)"):
    folder.open_local(tmp_path, NAMES)
  (tmp_path / "a.npy").write_bytes(b"no array")
  with pytest.raises(InputError, match=r"a\.npy is truncated or not a \.npy file"):
    folder.open_local(tmp_path, NAMES)


def numbered(count, reads, value=1.0):
  """A source whose image i has i descriptors, and that counts how often it is read."""

  def read(index):
    reads.append(index)
    return source.bare_features(np.full((index, 2), index * value, np.float32))

  names = tuple(f"image {index}" for index in range(count))
  return source.LocalSource(names, 2, lambda index: [index, str(value)], read)


def test_published_features_become_a_store_once(tmp_path, monkeypatch):
  monkeypatch.setattr(source, "IMAGES_PER_PART", 3)
  reads = []

  def run(count=8, **changes):
    reads.clear()
    made = source.import_local(numbered(count, reads, **changes), tmp_path, show_progress=False)
    return made, list(reads)

  first, read = run()
  assert read == list(range(8))
  assert first.names[7] == "image 7"
  np.testing.assert_array_equal(first.counts(), range(8))
  np.testing.assert_array_equal(first[5].descriptors, np.full((5, 2), 5.0))
  assert run()[1] == []
  assert run(count=9)[1] == [8]
  again, read = run(count=9, value=2.0)
  assert read == list(range(9))
  assert again.key != first.key
  with pytest.raises(InputError, match="descriptors of 'image 1' are not finite"):
    run(value=np.nan)


@pytest.mark.parametrize("kind", ["cann", "npy"])
def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path, kind):
  def write(values):
    for name in NAMES:
      place = tmp_path / "files" / name.rsplit("/", 1)[-1]
      place.parent.mkdir(exist_ok=True)
      if kind == "npy":
        np.save(place.with_suffix(".npy"), values)
      else:
        cann.write_descriptors(place.with_suffix(".desc"), values)
    for path in (tmp_path / "files").iterdir():
      os.utime(path, ns=(10**18, 10**18))

  def read():
    if kind == "npy":
      opened = folder.open_local(tmp_path / "files", NAMES)
    else:
      paths = sorted((tmp_path / "files").glob("*.desc"))
      cann.write_list(tmp_path / "list.txt", paths)
      opened = cann.open_local(tmp_path / "list.txt", NAMES, dimension=6)
    return source.import_local(opened, tmp_path / "store", show_progress=False)

  for value in (1.0, 2.0):
    write(np.full((3, 6), value, np.float32))
    for _, descriptors in read():
      np.testing.assert_array_equal(descriptors, np.full((3, 6), value))


def test_only_the_first_descriptors_are_kept(tmp_path):
  made = source.import_local(numbered(5, []), tmp_path, max_descriptors=2, show_progress=False)
  np.testing.assert_array_equal(made.counts(), [0, 1, 2, 2, 2])


@pytest.mark.parametrize("write", [write_archive, write_stream, write_pickle])
def test_tensors_are_read_without_pytorch(tmp_path, write):
  values = random(2, 3, 5)
  np.testing.assert_array_equal(read_tensor(write(tmp_path / "x.pth", values)), values, strict=True)


def test_files_without_one_tensor_are_refused(tmp_path):
  path = tmp_path / "x.pkl"
  with pytest.raises(InputError, match=r"There is no file .*x\.pkl"):
    read_tensor(path)
  content = write_pickle(path, random(3, 4)).read_bytes()
  path.write_bytes(content[:-60])
  with pytest.raises(InputError, match=r"x\.pkl is truncated or not a PyTorch checkpoint"):
    read_tensor(path)
  write_archive(path, {"x": random(3)})
  with pytest.raises(InputError, match=r"x\.pkl does not hold exactly one tensor"):
    read_tensor(path)
  path.write_bytes(pickle.dumps([1.0]))
  with pytest.raises(
    InputError, match=r"x\.pkl is refused: it is a pickle, but not one of PyTorch"
  ):
    read_tensor(path)
  load = Called(Global("torch.storage", "_load_from_bytes"), ("no bytes",))
  write_stream(path, load)
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(InputError, match=r"x\.pkl holds something else|is truncated"):
    read_tensor(path)
  (tmp_path / "x.npy").write_bytes(b"no array")
  with pytest.raises(InputError, match=r"x\.npy is truncated or not a \.npy file"):
    read_tensor(tmp_path / "x.npy")


def test_a_damaged_number_is_noticed(tmp_path):
  values = np.full(100, 1.5, np.float32)
  path = write_archive(tmp_path / "x.pth", values)
  content = path.read_bytes()
  place = content.index(values.tobytes()) + 41
  path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
  with pytest.raises(InputError, match=r"x\.pth is truncated or damaged"):
    read_tensor(path)


def neighbors():
  """Neighbours of 2 queries among 9 images, as AMES keeps them."""
  ids = np.array([[4, 0, 8], [1, 2, 3]], np.float32)
  return np.stack([np.array([[0.9, 0.8, 0.1], [0.5, 0.5, -0.5]], np.float32), ids])


def test_neighbors_of_ames(tmp_path):
  path = write_pickle(tmp_path / "nn.pkl", neighbors())
  found = ames.read_neighbors(path, 2, 9)
  np.testing.assert_array_equal(found.ids, neighbors()[1].astype(np.int64), strict=True)
  np.testing.assert_array_equal(found.similarities, neighbors()[0], strict=True)


@pytest.mark.parametrize(
  ("place", "value", "message"),
  [
    ((1, 0, 0), 9, r"names images outside 0 \.\. 8"),
    ((1, 0, 0), -1, r"names images outside 0 \.\. 8"),
    ((1, 0, 0), 1.5, r"names images outside 0 \.\. 8"),
    ((1, 1, 0), 3, "lists an image twice for query 1"),
    ((0, 0, 1), 0.95, "are not finite and descending"),
    ((0, 0, 1), np.nan, "are not finite and descending"),
  ],
)
def test_neighbors_that_can_not_be_are_refused(tmp_path, place, value, message):
  values = neighbors()
  values[place] = value
  with pytest.raises(InputError, match=message):
    ames.read_neighbors(write_archive(tmp_path / "nn.pkl", values), 2, 9)


def test_neighbors_of_another_data_set_are_refused(tmp_path):
  path = write_pickle(tmp_path / "nn.pkl", neighbors())
  with pytest.raises(InputError, match=r"must be \[2, 70, k\], not \(2, 2, 3\)"):
    ames.read_neighbors(path, 70, 9)


def test_global_features_of_every_format(tmp_path):
  queries, database, more = random(2, 6), random(3, 6, seed=1), random(4, 6, seed=2)
  np.savez(tmp_path / "x.npz", queries=queries, database=database)
  scipy.io.savemat(tmp_path / "x.mat", {"Q": queries.T, "X": database.T})
  root = tmp_path / "folder"
  root.mkdir()
  np.save(root / "queries.npy", queries)
  write_archive(root / "database.pth", database)
  for path in (tmp_path / "x.npz", tmp_path / "x.mat", root):
    read = global_features.read_global
    np.testing.assert_array_equal(read(path, "queries", 2), queries, strict=True)
    np.testing.assert_array_equal(read(path, "database", 3), database, strict=True)
    with pytest.raises(InputError, match=r"database in .* must be \[4, D\], not \(3, 6\)"):
      read(path, "database", 4)
  write_archive(root / "distractors.pth", more)
  found = global_features.read_global(root, "database", 7)
  np.testing.assert_array_equal(found, np.concatenate([database, more]), strict=True)
  np.testing.assert_array_equal(global_features.read_global(root, "queries", 2), queries)
  write_archive(root / "distractors.pth", more[:, :5].copy())
  with pytest.raises(InputError, match=r"database and distractors in .* differ in their dimension"):
    global_features.read_global(root, "database", 7)


def test_global_features_in_a_store(tmp_path):
  values = random(3, 6)
  blank = LocalFeatures(values[:0], np.zeros((0, 2)), np.zeros(0), np.zeros(0))
  features = [source.bare_features(values[:1]), blank, source.bare_features(values[2:])]
  root = tmp_path / "database"

  def save(items):
    store.save_part(root, 0, key="x", names=NAMES, features=items, dimension=6, precision="float32")
    store.finish(root, keys=["x"])

  save(features)
  expected = values * np.array([[1], [0], [1]], np.float32)
  found = global_features.read_global(tmp_path, "database", 3)
  np.testing.assert_array_equal(found, expected, strict=True)
  save([*features[:2], source.bare_features(values)])
  with pytest.raises(InputError, match="A store of local features was given"):
    global_features.read_global(tmp_path, "database", 3)


def test_damaged_global_features_are_refused(tmp_path):
  read = global_features.read_global
  for name, message in [
    ("x.npz", "not a .npz file with an array 'database'"),
    ("x.mat", "is truncated or not a .mat file"),
  ]:
    with pytest.raises(InputError, match=f"There is no file .*{name}"):
      read(tmp_path / name, "database", 3)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=re.escape(name) + ".*" + message):
      read(tmp_path / name, "database", 3)
  scipy.io.savemat(tmp_path / "x.mat", {"Q": random(6, 2)})
  with pytest.raises(InputError, match=r"x\.mat has no matrix X"):
    read(tmp_path / "x.mat", "database", 3)
  values = random(3, 6)
  values[2, 1] = np.inf
  np.savez(tmp_path / "x.npz", database=values)
  with pytest.raises(InputError, match=r"x\.npz has values that are not finite"):
    read(tmp_path / "x.npz", "database", 3)
  with pytest.raises(InputError, match=r"has no database: a store, \.npy or \.pth"):
    read(tmp_path, "database", 3)


@pytest.fixture
def h5py():
  pytest.importorskip("h5py")
  return importlib.import_module("h5py")


def published():
  """Three images of at most 4 features with 6 dimensions; the last rows of two are padding."""
  values = random(3, 4, 11)
  values[:, :, 3] = 0
  values[:, :, 4] = [4, 3, 2, 1]
  values[0, 3:, 3] = 1
  values[1, :, 3] = 1
  return values


def write_hdf5(h5py, path, values):
  with h5py.File(path, "w") as file:
    file["features"] = values
  return path


def test_local_features_of_ames(tmp_path, h5py):
  values = published()
  path = write_hdf5(h5py, tmp_path / "dinov2_gallery_local.hdf5", values)
  assert ames.find_local(tmp_path, "gallery") == path
  opened = ames.open_local(path, NAMES)
  assert opened.dimension == 6
  for index, count in enumerate([3, 0, 4]):
    features = opened.read(index)
    np.testing.assert_array_equal(features.descriptors, values[index, :count, 5:], strict=True)
    np.testing.assert_array_equal(features.locations, values[index, :count, :2])
    np.testing.assert_array_equal(features.scales, values[index, :count, 2])
    np.testing.assert_array_equal(features.strengths, values[index, :count, 4])
  assert len(ames.open_local(path, NAMES, max_descriptors=2).read(2).descriptors) == 2
  with pytest.raises(InputError, match=r"must hold one file \*_query_local\.hdf5, not 0"):
    ames.find_local(tmp_path, "query")


def test_parts_of_ames_that_are_missing_are_refused(tmp_path, h5py):
  values = published()
  layout = h5py.VirtualLayout(shape=values.shape, dtype=np.float32)
  for index in range(3):
    write_hdf5(h5py, tmp_path / f"{index}.hdf5", values[index : index + 1])
    layout[index] = h5py.VirtualSource(f"{index}.hdf5", "features", shape=(1, 4, 11))[0]
  with h5py.File(tmp_path / "all.hdf5", "w") as file:
    file.create_virtual_dataset("features", layout)
  opened = ames.open_local(tmp_path / "all.hdf5", NAMES)
  np.testing.assert_array_equal(opened.read(2).descriptors, values[2, :, 5:])
  (tmp_path / "1.hdf5").unlink()
  with pytest.raises(InputError, match=r"all\.hdf5 refers to 1\.hdf5, which is not there"):
    ames.open_local(tmp_path / "all.hdf5", NAMES)


def test_local_features_of_ames_that_do_not_fit_are_refused(tmp_path, h5py):
  path = tmp_path / "x.hdf5"
  with pytest.raises(InputError, match=r"There is no file of local features at .*x\.hdf5"):
    ames.open_local(path, NAMES)
  path.write_bytes(b"no HDF5")
  with pytest.raises(InputError, match=r"x\.hdf5 is truncated, or no HDF5 file with a dataset"):
    ames.open_local(path, NAMES)
  write_hdf5(h5py, path, published())
  with pytest.raises(InputError, match="has features of 3 images; the data set has 2"):
    ames.open_local(path, NAMES[:2])
  write_hdf5(h5py, path, published()[0])
  with pytest.raises(InputError, match=r"must be \[N, count, 5 \+ d\] numbers, not \(4, 11\)"):
    ames.open_local(path, NAMES)
  values = published()
  values[2, 1, 3] = 0.5
  values[0, 1, 4] = 9
  opened = ames.open_local(write_hdf5(h5py, path, values), NAMES)
  with pytest.raises(InputError, match=r"Image 2 in .*x\.hdf5 has a mask that is neither 0 nor 1"):
    opened.read(2)
  with pytest.raises(InputError, match=r"The weights of image 0 in .*x\.hdf5 do not descend"):
    opened.read(0)


def test_without_h5py_it_is_said_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "h5py", None)
  (tmp_path / "x.hdf5").touch()
  with pytest.raises(InputError, match=r"Reading .*x\.hdf5 needs h5py: pip install h5py"):
    ames.open_local(tmp_path / "x.hdf5", NAMES)

"""Files of others that are damaged, hostile, or in another encoding than ours."""

import errno
import importlib
import pathlib
import re
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

from l2g_jax.data.ground_truth import load_ground_truth
from l2g_jax.errors import InputError
from l2g_jax.interop import ames, cann, folder, global_features, matlab
from l2g_jax.interop.tensor import read_tensor
from l2g_jax.ranked import Ranked
from l2g_jax.runtime.arrays import read_archived, read_array

NAMES = ("a", "b", "c")


def random(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Text.


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_results_and_lists_of_every_system_are_read(tmp_path, start, end):
  results = tmp_path / "pairs.txt"
  results.write_bytes(start + end.join([b"q, caf\xc3\xa9, 0.5", b"", b"q, b, 0.25"]))
  found = cann.read_results(results, ["q"], ["b", "caf\u00e9"])
  np.testing.assert_array_equal(found.ids, [[1, 0]])
  listed = tmp_path / "list.txt"
  listed.write_bytes(start + end.join([b"caf\xc3\xa9.bin", b"", b"b.bin", b""]))
  assert [path.name for path in cann.read_list(listed)] == ["caf\u00e9.bin", "b.bin"]


def test_only_ends_of_lines_end_a_line(tmp_path):
  # What `str.splitlines` takes for one besides.
  names = [f"a{character}b" for character in "\x0b\x0c\x1c\x85\u2028\u2029"]
  listed = tmp_path / "list.txt"
  cann.write_list(listed, names)
  assert [path.name for path in cann.read_list(listed)] == names
  (tmp_path / "pairs.txt").write_text("q, a\x85b, 0.5\nq, c, high\n", encoding="utf-8")
  with pytest.raises(InputError, match="Line 2 of"):
    cann.read_results(tmp_path / "pairs.txt", ["q"], ["a\x85b", "c"])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_text_that_is_not_utf_8_is_refused_by_its_line(tmp_path, encoding):
  results = tmp_path / "pairs.txt"
  results.write_bytes("q, a, 0.5\nq, caf\u00e9, 0.25\n".encode(encoding))
  line = 2 if encoding == "latin-1" else 1
  with pytest.raises(InputError, match=rf"^Line {line} of .*pairs\.txt is not UTF-8: save"):
    cann.read_results(results, ["q"], ["a", "caf\u00e9"])
  listed = tmp_path / "list.txt"
  listed.write_bytes("a.bin\ncaf\u00e9.bin\n".encode(encoding))
  with pytest.raises(InputError, match=rf"^Line {line} of .*list\.txt is not UTF-8: save"):
    cann.open_local(listed, ["a", "caf\u00e9"])
  results.write_bytes("\u00e9, a\n".encode(encoding))
  with pytest.raises(InputError, match=r"^Line 1 of .*pairs\.txt is not UTF-8: save"):
    cann.read_results(results, ["q"], ["a"])


def test_a_listed_name_that_no_file_can_have_is_missing(tmp_path):
  listed = tmp_path / "list.txt"
  listed.write_text(f"{'a' * 300}.bin\n")
  with pytest.raises(InputError, match=r"names .*aaa.*, which is not there"):
    cann.open_local(listed, ["a" * 300])


def test_names_that_file_systems_have_as_bytes_are_kept(tmp_path):
  # An image whose name is Latin-1 comes so from a folder.
  name = b"caf\xe9".decode("utf-8", "surrogateescape")
  shortlist = Ranked(np.array([[0]]), np.array([[0.5]], np.float32))
  cann.write_results(tmp_path / "pairs.txt", shortlist, ["q"], [name])
  assert (tmp_path / "pairs.txt").read_bytes() == b"q, caf\xe9, 0.5\n"
  found = cann.read_results(tmp_path / "pairs.txt", ["q"], [name])
  np.testing.assert_array_equal(found.ids, [[0]])
  cann.write_descriptors(tmp_path / f"{name}.bin", random(2, 4))
  cann.write_list(tmp_path / "list.txt", [f"{name}.bin"])
  opened = cann.open_local(tmp_path / "list.txt", [name], dimension=4)
  assert len(opened.read(0).descriptors) == 2


@pytest.mark.parametrize("score", ["1e39", "-1e39", "inf", "nan"])
def test_scores_beyond_float32_are_refused(tmp_path, score):
  (tmp_path / "pairs.txt").write_text(f"q, a, {score}\n")
  with pytest.raises(InputError, match=r"Line 1 of .* has a score that is not finite"):
    cann.read_results(tmp_path / "pairs.txt", ["q"], ["a"])


def test_files_that_may_not_be_read_are_not_called_damaged(tmp_path, monkeypatch):
  def refuse(self, *_, **__):
    raise PermissionError(errno.EACCES, "Permission denied", str(self))

  for name in ("x.npy", "x.mat", "x.pth", "x.pkl"):
    (tmp_path / name).touch()
  monkeypatch.setattr(pathlib.Path, "open", refuse)
  for read, name in (
    (read_array, "x.npy"),
    (lambda path: matlab.read_matrix(path, "X"), "x.mat"),
    (read_tensor, "x.pth"),
    (load_ground_truth, "x.pkl"),
  ):
    with pytest.raises(InputError, match=rf"{re.escape(name)} may not be read; check its perm"):
      read(tmp_path / name)


# Arrays of NumPy.


def array_bytes(header, numbers=bytes(48), version=b"\x01\x00"):
  text = header if isinstance(header, bytes) else repr(header).encode()
  length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
  return b"\x93NUMPY" + version + length + text + numbers


def header(**changes):
  return {"descr": "<f4", "fortran_order": False, "shape": (3, 4), **changes}


@pytest.mark.parametrize(
  "content",
  [
    array_bytes(header(shape=(1 << 40,))),
    array_bytes(header(shape=(1 << 62, 1 << 62))),
    array_bytes(header(shape=(-3, -4))),
    array_bytes(header(shape=(3, 5))),
    array_bytes(header(descr="|O")),
    array_bytes(header(descr="<U3", shape=(1,))),
    array_bytes(header(descr="<c8", shape=(2,))),
    array_bytes(header(descr="|V4")),
    array_bytes(header(descr=[("a", "<f4")])),
    array_bytes(header(descr=("<f4", (1 << 40,)), shape=(0,))),
    array_bytes(header(descr="<f4,<f4")),
    array_bytes(b"("),
    array_bytes(5000 * b"("),
    array_bytes(9000 * b"-" + b"1"),
    array_bytes(b"9" * 9000),
    array_bytes(b"\xff" * 40),
    array_bytes(b"__import__('os').mkdir('made')"),
    b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
    b"\x93NUMPY\x09\x00" + bytes(100),
    b"\x93NUMPY",
    b"",
  ],
)
def test_hostile_arrays_are_refused_before_memory_is_taken(tmp_path, content):
  path = tmp_path / "a.npy"
  path.write_bytes(content)
  for read in (read_array, read_tensor, lambda path: folder.open_local(path.parent, ["a"])):
    with pytest.raises(InputError, match=r"a\.npy is truncated or not a \.npy file of numbers"):
      read(path)
  for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", compression) as archive:
      archive.writestr("database.npy", content)
    with pytest.raises(InputError, match=r"a\.npz is not a \.npz file with an array 'database'"):
      read_archived(tmp_path / "a.npz", "database")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|u1", "<i8"])
def test_arrays_of_every_order_and_type_are_read(tmp_path, dtype):
  values = np.arange(12).reshape(3, 4).astype(dtype)
  for array in (values, values.T, values[:0], values[:, ::2]):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", database=array)
    np.savez_compressed(tmp_path / "b.npz", database=array)
    for read in (
      read_array(tmp_path / "a.npy"),
      read_archived(tmp_path / "a.npz", "database"),
      read_archived(tmp_path / "b.npz", "database"),
    ):
      np.testing.assert_array_equal(read, array, strict=True)


def test_arrays_of_python_2_are_read(tmp_path):
  text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }\n"
  numbers = random(3, 4)
  (tmp_path / "a.npy").write_bytes(array_bytes(text, numbers.tobytes()))
  np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), numbers)


def test_what_inflates_beyond_measure_is_refused(tmp_path, monkeypatch):
  path = tmp_path / "a.npz"
  np.savez_compressed(path, database=np.zeros((200, 2000), np.float32))
  assert read_archived(path, "database").shape == (200, 2000)
  monkeypatch.setattr("l2g_jax.runtime.arrays.ALWAYS_INFLATED", 1 << 20)
  with pytest.raises(InputError, match=r"inflates to more than 100 times its size; save it with"):
    read_archived(path, "database")
  with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
    archive.writestr("database.npy", array_bytes(header()))
  with pytest.raises(InputError, match=r"is not a \.npz file"):
    read_archived(path, "database")


def test_an_entry_that_says_it_is_larger_is_refused(tmp_path):
  path = tmp_path / "a.npz"
  np.savez(path, database=random(3, 4))
  content = bytearray(path.read_bytes())
  place = content.index(b"PK\x01\x02")
  for field in (20, 24):
    content[place + field : place + field + 4] = (1 << 30).to_bytes(4, "little")
  path.write_bytes(content)
  with pytest.raises(InputError, match=r"is not a \.npz file"):
    read_archived(path, "database")


def test_numbers_beyond_float32_are_not_finite(tmp_path):
  np.savez(tmp_path / "x.npz", database=np.full((2, 3), 1e300))
  with pytest.raises(InputError, match="values that are not finite"):
    global_features.read_global(tmp_path / "x.npz", "database", 2)


# MATLAB.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"format": "4"}, {}, {"do_compression": True}])
def test_matrices_are_read_as_scipy_reads_them(tmp_path, options, dtype):
  path = tmp_path / "x.mat"
  values = random(5, 7).astype(dtype)
  # Others before it, names that share their tag, and numbers that are stored as integers.
  for name in ("X", "Queries"):
    for matrix in (values, np.arange(12, dtype=dtype).reshape(3, 4), values[:1]):
      scipy.io.savemat(path, {"text": "abc", "n": 3, "other": values.T, name: matrix}, **options)
      expected = scipy.io.loadmat(path)[name]
      found = matlab.read_matrix(path, name)
      np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("order", ["<", ">"])
def test_matrices_of_both_byte_orders_with_integers_in_them_are_read(tmp_path, order):
  def element(kind, content):
    tag = np.array([kind, len(content)], f"{order}u4").tobytes()
    return tag + content + bytes(-len(content) % 8)

  def numbers(values, dtype):
    return np.array(values, f"{order}{dtype}").tobytes()

  # MATLAB stores whole numbers of a matrix of doubles in as few bytes as they need.
  small = np.array([1 << 16 | 1], f"{order}u4").tobytes() + b"X\0\0\0"
  body = element(6, numbers([6, 0], "u4")) + element(5, numbers([2, 3], "i4")) + small
  body += element(2, bytes([1, 2, 3, 4, 5, 6]))
  start = b"MATLAB 5.0 MAT-file".ljust(124) + numbers([0x0100], "u2") + numbers([0x4D49], "u2")
  (tmp_path / "x.mat").write_bytes(start + element(14, body))
  expected = np.array([[1.0, 3, 5], [2, 4, 6]])
  np.testing.assert_array_equal(matlab.read_matrix(tmp_path / "x.mat", "X"), expected, strict=True)
  np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / "x.mat")["X"], expected)


@pytest.mark.parametrize("value", [np.array([[1, 2]]), "text", np.array([[1j]]), {"a": 1}])
def test_variables_that_are_no_matrix_of_floats_are_refused(tmp_path, value):
  scipy.io.savemat(tmp_path / "x.mat", {"X": value})
  with pytest.raises(InputError, match=r"x\.mat has no matrix X of floats"):
    matlab.read_matrix(tmp_path / "x.mat", "X")


def test_matlab_7_3_is_said_to_be_so(tmp_path):
  (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(1000))
  with pytest.raises(InputError, match=r"x\.mat is refused: it is of MATLAB 7\.3; save"):
    matlab.read_matrix(tmp_path / "x.mat", "X")


@pytest.mark.parametrize("options", [{"format": "4"}, {}, {"do_compression": True}])
def test_truncated_matrices_are_refused(tmp_path, options):
  path = tmp_path / "x.mat"
  scipy.io.savemat(path, {"other": random(2, 2), "X": random(3, 4)}, **options)
  content = path.read_bytes()
  for length in range(len(content) - 1):
    path.write_bytes(content[:length])
    with pytest.raises(InputError):
      matlab.read_matrix(path, "X")


def test_a_matrix_that_inflates_beyond_measure_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr("l2g_jax.runtime.arrays.ALWAYS_INFLATED", 1 << 20)
  scipy.io.savemat(tmp_path / "x.mat", {"X": np.zeros((200, 2000))}, do_compression=True)
  with pytest.raises(InputError, match="inflates to more than 100 times its size"):
    matlab.read_matrix(tmp_path / "x.mat", "X")


def test_a_matrix_with_a_false_length_is_refused_before_memory_is_taken(tmp_path):
  scipy.io.savemat(tmp_path / "x.mat", {"X": random(3, 4)})
  content = bytearray((tmp_path / "x.mat").read_bytes())
  content[128 + 4 : 128 + 8] = b"\xff\xff\xff\x7f"
  (tmp_path / "x.mat").write_bytes(content)
  with pytest.raises(InputError, match=r"truncated or not a \.mat file"):
    matlab.read_matrix(tmp_path / "x.mat", "X")
  packed = zlib.compress(bytes(content[128:]))
  tag = (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little")
  (tmp_path / "x.mat").write_bytes(bytes(content[:128]) + tag + packed)
  with pytest.raises(InputError, match="inflates to more than"):
    matlab.read_matrix(tmp_path / "x.mat", "X")


# HDF5.


@pytest.fixture
def h5py():
  pytest.importorskip("h5py")
  return importlib.import_module("h5py")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"shape": (3, 1 << 40, 11), "chunks": (1, 4, 11)}, "parts of less than 256 MiB"),
    ({"shape": (3, 4, 1 << 40)}, "parts of less than 256 MiB"),
    ({"shape": (3, 4, 11)}, "was not written to its end"),
    ({"shape": (3, 4, 11), "chunks": (1, 4, 11)}, "was not written to its end"),
  ],
)
def test_hdf5_files_that_promise_what_they_do_not_hold_are_refused(
  tmp_path, h5py, options, message
):
  with h5py.File(tmp_path / "x.hdf5", "w") as file:
    file.create_dataset("features", dtype=np.float32, **options)
  with pytest.raises(InputError, match=message):
    ames.open_local(tmp_path / "x.hdf5", NAMES)


def test_large_chunks_of_hdf5_are_refused(tmp_path, h5py):
  with h5py.File(tmp_path / "x.hdf5", "w") as file:
    made = file.create_dataset(
      "features", (3, 4, 11), np.float32, chunks=(3 << 21, 4, 11), maxshape=(None, 4, 11)
    )
    assert made.chunks
  with pytest.raises(InputError, match="parts of less than 256 MiB"):
    ames.open_local(tmp_path / "x.hdf5", NAMES)


def test_hdf5_that_reads_other_files_is_refused(tmp_path, h5py):
  (tmp_path / "secret").write_bytes(bytes(3 * 4 * 11 * 4))
  with h5py.File(tmp_path / "x.hdf5", "w") as file:
    external = [(str(tmp_path / "secret"), 0, 3 * 4 * 11 * 4)]
    file.create_dataset("features", (3, 4, 11), np.float32, external=external)
  with pytest.raises(InputError, match="keeps its numbers in other files"):
    ames.open_local(tmp_path / "x.hdf5", NAMES)


@pytest.mark.parametrize("kind", ["group", "empty", "text", "loop"])
def test_other_things_named_features_are_refused(tmp_path, h5py, kind):
  with h5py.File(tmp_path / "x.hdf5", "w") as file:
    if kind == "group":
      file.create_group("features")
    elif kind == "empty":
      file["features"] = h5py.Empty(np.float32)
    elif kind == "text":
      file["features"] = "abc"
    else:
      file["features"] = h5py.ExternalLink("x.hdf5", "features")
  with pytest.raises(InputError, match=r"x\.hdf5"):
    ames.open_local(tmp_path / "x.hdf5", NAMES)

import collections
import contextlib
import json
import pickle
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.torch_file import Tensor, open_torch_file
from l2g_jax.runtime.pickles import Placeholder
from tests.interop import torch_writer
from tests.interop.torch_writer import Called, Global, View, write_archive, write_stream

pytestmark = pytest.mark.fast

WRITERS = pytest.mark.parametrize("write", [write_archive, write_stream])
NUMBERS = np.arange(24, dtype=np.float32)
BYTES = NUMBERS.view(np.uint8)


def read_all(path) -> Any:
  """The content, with arrays for tensors."""

  def convert(value):
    if isinstance(value, Tensor):
      return file.read(value)
    if isinstance(value, dict):
      return {key: convert(part) for key, part in value.items()}
    return [convert(part) for part in value] if isinstance(value, list) else value

  with open_torch_file(path) as file:
    return convert(file.content)


@WRITERS
@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2", "<i8"])
def test_tensors_are_read(tmp_path, write, dtype):
  arrays = {
    "matrix": np.arange(6, dtype=dtype).reshape(2, 3),
    "number": np.array(7, dtype),
    "nothing": np.zeros((0, 3), dtype),
  }
  state = collections.OrderedDict(arrays)
  content = read_all(write(tmp_path / "x.pth", {"state": state, "epoch": 3, "names": ["a", None]}))
  assert content["epoch"] == 3
  assert content["names"] == ["a", None]
  for name, array in arrays.items():
    np.testing.assert_array_equal(content["state"][name], array, strict=True)


@WRITERS
def test_tensors_may_share_a_storage(tmp_path, write):
  views = {
    "part": View(NUMBERS, 4, (2, 3), (3, 1)),
    "turned": View(NUMBERS, 0, (3, 2), (1, 3)),
    "repeated": View(NUMBERS, 23, (2, 2), (0, 0)),
  }
  content = read_all(write(tmp_path / "x.pth", views))
  np.testing.assert_array_equal(content["part"], NUMBERS[4:10].reshape(2, 3))
  np.testing.assert_array_equal(content["turned"], NUMBERS[:6].reshape(2, 3).T)
  np.testing.assert_array_equal(content["repeated"], np.full((2, 2), 23.0))


@WRITERS
def test_settings_and_scores_of_a_training_are_passed_over(tmp_path, write):
  state = collections.OrderedDict(weight=NUMBERS)
  # PyTorch hangs versions of its modules on the dictionary.
  vars(state)["_metadata"] = collections.OrderedDict()
  content = {
    "state": state,
    "score": np.float64(0.5),
    "parameter": Called(Global("torch._utils", "_rebuild_parameter"), (NUMBERS, True, {})),
    "device": Called(Global("torch", "device"), ("cuda",)),
    "config": Called(Global("yacs.config", "CfgNode"), ({"a": 1},)),
    "type": Global("torch", "float32"),
  }
  content = read_all(write(tmp_path / "x.pth", content))
  np.testing.assert_array_equal(content["state"]["weight"], NUMBERS)
  np.testing.assert_array_equal(content["parameter"], NUMBERS)


@WRITERS
@pytest.mark.parametrize(
  ("module", "name"), [("os", "mkdir"), ("posix", "system"), ("builtins", "eval"), ("sys", "exit")]
)
def test_what_calls_code_is_refused_by_name_and_not_run(tmp_path, write, module, name):
  victim = tmp_path / "made"
  hostile = {"state": NUMBERS, "x": Called(Global(module, name), (str(victim),))}
  with pytest.raises(InputError, match=rf"x\.pth is refused: it asks for {module}\.{name}, which"):
    read_all(write(tmp_path / "x.pth", hostile))
  assert not victim.exists()


@WRITERS
def test_names_of_a_library_lead_nowhere(tmp_path, write):
  # An attribute of a library may be another library.
  hostile = {"x": Called(Global("numpy", "load"), (str(tmp_path / "x.pth"), None, True))}
  assert not isinstance(read_all(write(tmp_path / "x.pth", hostile))["x"], np.ndarray)
  hostile = {"x": Called(Global("torch.serialization", "os.system"), ("exit 1",))}
  assert read_all(write(tmp_path / "x.pth", hostile))


@WRITERS
@pytest.mark.parametrize(
  ("view", "message"),
  [
    (View(NUMBERS, 1, (24,), (1,)), "leaves its storage"),
    (View(NUMBERS, 0, (5, 5), (5, 1)), "leaves its storage"),
    (View(NUMBERS, 0, (2**40, 2**40), (1, 1)), "leaves its storage"),
    (View(NUMBERS, 0, (2**40, 2), (0, 1)), "larger than its storage"),
    (View(NUMBERS, -1, (2,), (1,)), "way that is not known"),
    (View(NUMBERS, 0, (2,), (-1,)), "way that is not known"),
    (View(NUMBERS, 0, (2, 2), (1,)), "way that is not known"),
    (View(np.zeros(4, np.uint8), 0, (4,), (1,)), "type that weights do not have"),
  ],
)
def test_impossible_tensors_are_refused(tmp_path, write, view, message):
  with pytest.raises(InputError, match=message):
    read_all(write(tmp_path / "x.pth", {"x": view}))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data_pkl": None}, "zip archive, but not one of PyTorch"),
    ({"data/0": None}, "truncated or damaged"),
    ({"data/0": NUMBERS[:-1].tobytes()}, "truncated"),
    ({"data/0": bytes(1000)}, "compressed or too large"),
    ({"byteorder": b"big"}, "big-endian"),
    ({"compression": zipfile.ZIP_DEFLATED}, "compressed or too large"),
    ({"data_pkl": b""}, "truncated or not a PyTorch checkpoint"),
    ({"data_pkl": pickle.dumps([1, 2])[:-1]}, "truncated or not a PyTorch checkpoint"),
  ],
)
def test_damaged_archives_are_refused(tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    read_all(write_archive(tmp_path / "x.pth", {"x": NUMBERS}, **changes))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "truncated or not a PyTorch checkpoint"),
    (b"<html>404</html>", "truncated or not a PyTorch checkpoint"),
    (bytes(1000), "truncated or not a PyTorch checkpoint"),
    (pickle.dumps({"state": 1}), "a pickle, but not one of PyTorch"),
    (pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(7), "format is not known"),
  ],
)
def test_other_files_are_refused(tmp_path, content, message):
  (tmp_path / "x.pth").write_bytes(content)
  with pytest.raises(InputError, match=message):
    read_all(tmp_path / "x.pth")


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=r"There is no checkpoint at .*x\.pth"):
    read_all(tmp_path / "x.pth")


@WRITERS
def test_every_truncation_is_refused(tmp_path, write):
  whole = write(tmp_path / "whole.pth", {"x": NUMBERS, "y": [NUMBERS + 1]}).read_bytes()
  for length in range(0, len(whole), 7):
    (tmp_path / "x.pth").write_bytes(whole[:length])
    with pytest.raises(InputError):
      read_all(tmp_path / "x.pth")


@WRITERS
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_damage_raises_nothing_else(tmp_path, write, data):
  content = bytearray(write(tmp_path / "x.pth", {"x": NUMBERS, "y": [NUMBERS + 1]}).read_bytes())
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  (tmp_path / "x.pth").write_bytes(content)
  with contextlib.suppress(InputError):
    read_all(tmp_path / "x.pth")


def rebuilt(function, *arguments, module="torch._utils"):
  return Called(Global(module, function), arguments)


def tensor_arguments(values, *rest):
  return (torch_writer.Storage(values.ravel()), 0, values.shape, (1,), False, {}, *rest)


@WRITERS
def test_tensors_are_rebuilt_in_every_way(tmp_path, write):
  v2 = Global("torch._utils", "_rebuild_tensor_v2")
  content = {
    "first": rebuilt("_rebuild_tensor", *tensor_arguments(NUMBERS)[:4]),
    "parameter": rebuilt("_rebuild_parameter_with_state", NUMBERS, True, {}, {"tag": 1}),
    "subclass": rebuilt(
      "_rebuild_from_type_v2",
      v2,
      Global("somebody.tensors", "Image"),
      tensor_arguments(NUMBERS),
      {"tag": 1},
      module="torch._tensor",
    ),
  }
  found = read_all(write(tmp_path / "x.pth", content))
  for name in ("first", "parameter", "subclass"):
    np.testing.assert_array_equal(found[name], NUMBERS, strict=True)


@WRITERS
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
def test_numbers_of_8_bits_come_as_float32(tmp_path, write, name):
  values = np.array([0.5, -2, 0], np.float32)
  small = values.astype(getattr(ml_dtypes, name)).view(np.uint8)
  tensor = rebuilt("_rebuild_tensor_v3", *tensor_arguments(small), Global("torch", name))
  np.testing.assert_array_equal(read_all(write(tmp_path / "x.pth", tensor)), values, strict=True)


@WRITERS
@pytest.mark.parametrize(
  "tensor",
  [
    np.zeros(3, np.bool_),
    np.zeros(3, np.int8),
    np.zeros(3, np.complex64),
    rebuilt(
      "_rebuild_tensor_v3", *tensor_arguments(NUMBERS.view(np.uint8)), Global("torch", "uint16")
    ),
    # Kept with the other sign.
    rebuilt("_rebuild_tensor_v2", *tensor_arguments(NUMBERS), {"neg": True}),
  ],
)
def test_numbers_of_other_types_harm_only_those_who_need_them(tmp_path, write, tensor):
  path = write(tmp_path / "x.pth", {"wanted": NUMBERS, "other": tensor})
  with open_torch_file(path) as file:
    np.testing.assert_array_equal(file.read(file.content["wanted"]), NUMBERS)
    with pytest.raises(InputError, match="of a type that weights do not have"):
      file.read(file.content["other"])


def test_parts_of_storages_are_read_as_the_oldest_files_have_them(tmp_path):
  whole = torch_writer.Storage(NUMBERS)
  part = torch_writer.Storage(NUMBERS, view=("1", 4, 6))
  content = {
    "whole": Called(Global("torch._utils", "_rebuild_tensor"), (whole, 0, (24,), (1,))),
    "part": Called(Global("torch._utils", "_rebuild_tensor"), (part, 1, (5,), (1,))),
  }
  found = read_all(write_stream(tmp_path / "x.pth", content))
  np.testing.assert_array_equal(found["whole"], NUMBERS)
  np.testing.assert_array_equal(found["part"], NUMBERS[5:10])
  far = Called(Global("torch._utils", "_rebuild_tensor"), (part, 1, (6,), (1,)))
  with pytest.raises(InputError, match="leaves its storage"):
    read_all(write_stream(tmp_path / "x.pth", far))
  wide = torch_writer.Storage(NUMBERS, view=("1", 20, 6))
  with pytest.raises(InputError, match="way that is not known"):
    read_all(write_stream(tmp_path / "x.pth", {"x": wide}))


@WRITERS
def test_objects_of_unknown_classes_take_what_is_put_into_them(tmp_path, write):
  config = Called(Global("somebody.config", "Config"), ([], {"a": 1}))
  content = {"weight": NUMBERS, "config": config, "names": {"a", "b"}, 3: [config, config]}
  found = read_all(write(tmp_path / "x.pth", content))
  np.testing.assert_array_equal(found["weight"], NUMBERS)
  assert isinstance(found["config"], Placeholder)
  assert sorted(found["names"]) == ["a", "b"]
  assert len(found[3]) == 2


def write_safetensors(path, header, numbers=b""):
  header = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)
  return path


def test_safetensors_are_read_as_their_library_writes_them(tmp_path):
  arrays = {"a": NUMBERS.reshape(4, 6), "b": np.array(7.0), "c": np.zeros((0, 3), np.float16)}
  safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
  found = read_all(tmp_path / "x.safetensors")
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize(
  ("header", "message"),
  [
    (b"{" + 100_000 * b"[", "truncated or not a PyTorch checkpoint"),
    ({"x": 3}, "truncated or not a PyTorch checkpoint"),
    (
      {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 40]}},
      "refused: it is truncated",
    ),
    ({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}, "leaves its storage"),
    ({"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, "way that is not known"),
    ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 7]}}, "truncated"),
    ({"x": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, "weights do not have"),
  ],
)
def test_impossible_safetensors_are_refused(tmp_path, header, message):
  with pytest.raises(InputError, match=message):
    read_all(write_safetensors(tmp_path / "x.safetensors", header, bytes(8)))

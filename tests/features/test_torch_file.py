import collections
import contextlib
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.features.checkpoints.torch_file import Tensor, open_torch_file
from tests.features.torch_writer import Called, Global, View, write_archive, write_stream

WRITERS = pytest.mark.parametrize("write", [write_archive, write_stream])
NUMBERS = np.arange(24, dtype=np.float32)


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

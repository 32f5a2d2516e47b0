"""Checkpoints of AMES made into weights."""

import dataclasses
import functools
import re
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from benchmarks.synthetic import synthetic_state
from l2g_jax.errors import InputError
from l2g_jax.features.weights import load_weights
from l2g_jax.interop import checkpoints
from l2g_jax.interop.checkpoints.ames import published_architecture
from l2g_jax.ranking.ames import VARIANTS, Ames
from tests.interop.torch_writer import write_archive


@functools.cache
def state_of(variant):
  return synthetic_state(published_architecture(variant), 7)


def flat(params) -> dict[str, Any]:
  return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize(
  ("variant", "num_keys", "num_values"),
  [
    # Sizes of the published networks, in thousands.
    ("dinov2_fp", 97, 2080),
    ("dinov2_dist", 98, 2096),
    ("cvnet_fp", 97, 2113),
    ("cvnet_dist", 98, 2129),
  ],
)
def test_every_variant_is_known_by_its_tensors(tmp_path, variant, num_keys, num_values):
  state = state_of(variant)
  assert len(state) == num_keys
  assert round(sum(values.size for values in state.values()) / 1000) == num_values
  wrapped = {f"module.{key}": values for key, values in state.items()}
  checkpoint = write_archive(tmp_path / "ames.pt", {"state": wrapped, "epoch": 3})
  notice = checkpoints.convert("ames", checkpoint, tmp_path / "ames.safetensors")
  assert "Apache-2.0" in notice
  weights = load_weights(tmp_path / "ames.safetensors", model="ames")
  assert weights.metadata["variant"] == variant
  # The layers are alike, and one is traced sooner.
  config = dataclasses.replace(VARIANTS[variant], num_layers=1)
  sets, masks = np.zeros((1, 2, config.local_dim), np.float32), np.ones((1, 2), bool)
  wanted = jax.eval_shape(Ames(config).init, jax.random.key(0), sets, sets, masks, masks)
  expected = {name: values.shape for name, values in flat(wanted["params"]).items()}
  arrays = flat(weights.params)
  shapes = {re.sub(r"^layer\d/", "layer0/", name): values.shape for name, values in arrays.items()}
  assert shapes == expected
  assert {name.partition("/")[0] for name in arrays if "layer" in name} == {
    f"layer{number}" for number in range(5)
  }


def test_layers_are_converted_as_documented(tmp_path):
  state = state_of("dinov2_dist")
  write_archive(tmp_path / "ames.pt", {"state": state})
  arrays = flat(checkpoints.read_weights("ames", tmp_path / "ames.pt").params)
  there = "decoder.layers.3.cross_attn"
  for number, name in enumerate(("query", "key", "value")):
    rows = slice(128 * number, 128 * (number + 1))
    expected = state[f"{there}.in_proj_weight"][rows].T
    np.testing.assert_array_equal(arrays[f"layer3/other/{name}/kernel"], expected)
    expected = state[f"{there}.in_proj_bias"][rows]
    np.testing.assert_array_equal(arrays[f"layer3/other/{name}/bias"], expected)
  np.testing.assert_array_equal(arrays["token"], state["mtc_token"])
  np.testing.assert_array_equal(arrays["remap/projection/kernel"], state["remap_local.0.W"])
  np.testing.assert_array_equal(arrays["remap/linear/kernel"], state["remap_local.1.weight"].T)
  np.testing.assert_array_equal(arrays["remap/norm/scale"], state["remap_local.2.weight"])
  np.testing.assert_array_equal(
    arrays["layer0/own/output/kernel"], state["decoder.layers.0.self_attn.out_proj.weight"].T
  )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"mtc_token": None}, r"no checkpoint of ames: it lacks mtc_token\."),
    ({"remap_local.0.W": None}, r"it lacks remap_local\.0\.weight.*unknown remap_local\.2"),
    ({"remap_local.0.W": (512, 128)}, r"it lacks remap_local\.0\.weight"),
    ({"decoder.layers.5.norm1.bias": (128,)}, r"the unknown decoder\.layers\.5\.norm1\.bias\."),
    ({"classifier.weight": (2, 128)}, r"classifier\.weight \(2, 128\) instead of \(1, 128\)"),
  ],
)
def test_another_network_is_refused(tmp_path, change, message):
  state = dict(state_of("dinov2_dist"))
  for key, shape in change.items():
    state.pop(key, None)
    if shape is not None:
      state[key] = np.zeros(shape, np.float32)
  write_archive(tmp_path / "ames.pt", {"state": state})
  with pytest.raises(InputError, match=message):
    checkpoints.read_weights("ames", tmp_path / "ames.pt")

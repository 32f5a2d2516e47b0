import argparse
import collections
import datetime
import fractions
import functools
import pathlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from benchmarks.synthetic import synthetic_state, synthetic_weight
from l2g_jax.errors import InputError
from l2g_jax.features import fire, resnet, superglobal
from l2g_jax.features.superglobal import SuperGlobalConfig
from l2g_jax.features.weights import is_weights, load_weights, save_weights
from l2g_jax.interop import checkpoints
from l2g_jax.interop.checkpoints.ames import published_architecture
from l2g_jax.interop.checkpoints.architectures import fire_architecture, superglobal_architecture
from l2g_jax.interop.checkpoints.layers import convert_tensors
from l2g_jax.runtime import files
from tests.cli import toy
from tests.features.synthetic import synthetic_params
from tests.golden.files import FOLDER, load_golden, load_image
from tests.interop.torch_writer import Called, Global, write_archive, write_stream

# Parts of CVNet that SuperGlobal has no use for.
UNUSED = {"conv2ds.0.weight": np.zeros((2, 3, 3, 3), np.float32)}
COUNTER = {"encoder_q.stem.bn.num_batches_tracked": np.array(7, np.int64)}


@pytest.fixture
def small(monkeypatch):
  """Networks whose checkpoints are small: one block a stage, few channels."""
  monkeypatch.setattr(superglobal, "BLOCKS", {50: (1, 1, 1, 1), 101: (1, 1, 23, 1)})
  monkeypatch.setattr(superglobal, "DIMENSION", 16)
  monkeypatch.setattr(fire, "BLOCKS", (1, 1, 1))
  monkeypatch.setattr(fire, "WIDTH", 16)
  monkeypatch.setattr(fire, "HIDDEN_WIDTH", 8)
  monkeypatch.setattr(resnet, "WIDTHS", (2, 2, 3, 4))


def architecture_of(model):
  if model == "ames":
    return published_architecture("dinov2_fp")
  return superglobal_architecture(50) if model == "superglobal" else fire_architecture()


def checkpoint_of(model, state):
  """What the authors' training saves."""
  if model == "superglobal":
    return {"epoch": 25, "model_state": {**state, **UNUSED, **COUNTER}, "cfg": "TRAIN: {}"}
  runtime = {"mean_std": [[0.485], [0.229]], "features_num": 1000}
  return {
    "_version": "fire/2021",
    "state_dict": {**state, "features.1.num_batches_tracked": np.array(7, np.int64)},
    "net_params": {"architecture": "resnet50", "pretrained": None, "runtime": runtime},
    "best_score": np.float64(0.9),
    "meta": {},
  }


def flat(params):
  return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize("write", [write_archive, write_stream])
@pytest.mark.parametrize("model", ["superglobal", "fire"])
def test_every_tensor_is_converted(small, tmp_path, model, write):
  architecture = architecture_of(model)
  state = synthetic_state(architecture, 3)
  checkpoint = write(tmp_path / "published.pth", checkpoint_of(model, state))
  notice = checkpoints.convert(model, checkpoint, tmp_path / "weights.safetensors")
  weights = load_weights(tmp_path / "weights.safetensors", model=model)
  expected = flat(synthetic_params(architecture, 3))
  assert flat(weights.params).keys() == expected.keys()
  for name, array in flat(weights.params).items():
    np.testing.assert_array_equal(array, expected[name], strict=True)
  assert weights.metadata["source"] == "published.pth"
  assert weights.metadata["source_checksum"] == files.checksum_file(checkpoint)
  assert weights.metadata["notice"] == notice
  assert ("CC BY-NC-SA" if model == "fire" else "no licence") in notice


def test_the_state_may_be_all_there_is(small, tmp_path):
  state = synthetic_state(superglobal_architecture(101), 4)
  checkpoint = write_archive(tmp_path / "x.pth", state)
  checkpoints.convert("superglobal", checkpoint, tmp_path / "x.safetensors")
  assert load_weights(tmp_path / "x.safetensors", model="superglobal").metadata["depth"] == "101"


def convert(model, content, tmp_path, write=write_archive):
  """The parameters that a checkpoint becomes, and what was said about it."""
  sentences = []
  checkpoint = write(tmp_path / "x.pth", content)
  checkpoints.convert(model, checkpoint, tmp_path / "x.safetensors", report=sentences.append)
  return flat(load_weights(tmp_path / "x.safetensors", model=model).params), sentences


def assert_same(params, expected):
  assert params.keys() == expected.keys()
  for name, array in params.items():
    np.testing.assert_array_equal(array, expected[name], strict=True)


@pytest.mark.parametrize(
  "wrapping", ["module.", "_orig_mod.", "model.", "module.student.backbone."]
)
@pytest.mark.parametrize("model", ["superglobal", "fire"])
def test_what_all_keys_begin_with_is_passed_over(small, tmp_path, model, wrapping):
  architecture = architecture_of(model)
  state = {wrapping + key: value for key, value in synthetic_state(architecture, 3).items()}
  params, sentences = convert(model, checkpoint_of(model, state), tmp_path)
  assert_same(params, flat(synthetic_params(architecture, 3)))
  assert not any("module" in sentence for sentence in sentences)


@pytest.mark.parametrize("model", ["superglobal", "fire"])
def test_weights_may_lie_deeper_than_published(small, tmp_path, model):
  architecture = architecture_of(model)
  state = {f"module.{key}": value for key, value in synthetic_state(architecture, 3).items()}
  beside = {"state": {0: {"exp_avg": np.zeros(2, np.float32)}}, "lr": 0.1}
  nested = {"model": {"state_dict": state}, "optimizer": beside, "epoch": 7}
  params, _ = convert(model, nested, tmp_path)
  assert_same(params, flat(synthetic_params(architecture, 3)))
  with pytest.raises(InputError, match=r"holds the network 2 times, under a\.module\., ema\.m"):
    convert(model, {"a": state, "ema": dict(state)}, tmp_path)


def test_the_depth_is_found_below_a_wrapping(small, tmp_path):
  state = synthetic_state(superglobal_architecture(101), 4)
  convert("superglobal", {f"module.{key}": value for key, value in state.items()}, tmp_path)
  metadata = load_weights(tmp_path / "x.safetensors", model="superglobal").metadata
  assert metadata["depth"] == "101"


def test_a_network_that_is_there_twice_is_refused_unless_one_is_bare(small, tmp_path):
  state = synthetic_state(fire_architecture(), 3)
  other = synthetic_state(fire_architecture(), 4)
  twice = {
    f"{name}.{key}": values[key] for name, values in (("a", state), ("b", other)) for key in state
  }
  with pytest.raises(InputError, match=r"holds the network 2 times, under a\., b\."):
    convert("fire", twice, tmp_path)
  bare = state | {f"ema.{key}": value for key, value in other.items()}
  params, sentences = convert("fire", bare, tmp_path)
  assert_same(params, flat(synthetic_params(fire_architecture(), 3)))
  assert sentences[0].startswith(f"{len(other)} tensors of ")


def test_tensors_that_no_network_needs_are_counted_and_named(small, tmp_path):
  state = synthetic_state(fire_architecture(), 3)
  rest = ["fc.weight", "fc.bias", "queue", "optimizer.0.exp_avg", "aux_head.0.weight", "last"]
  state |= {key: np.zeros(3, np.float32) for key in rest}
  params, sentences = convert("fire", checkpoint_of("fire", state), tmp_path)
  assert_same(params, flat(synthetic_params(fire_architecture(), 3)))
  (sentence,) = sentences
  assert sentence.startswith("6 tensors of ")
  assert sentence.endswith(
    "which fire does not need: fc.weight, fc.bias, queue, optimizer.0.exp_avg, aux_head.0.weight"
    " and 1 more."
  )
  _, sentences = convert("fire", synthetic_state(fire_architecture(), 3), tmp_path)
  assert not sentences


@pytest.mark.parametrize("write", [write_archive, write_stream])
def test_what_training_leaves_beside_the_weights_does_no_harm(small, tmp_path, write):
  state = synthetic_state(fire_architecture(), 3)
  beside = {
    "mask": np.zeros(3, np.uint8),
    "flags": np.zeros(3, np.bool_),
    "phase": np.zeros(3, np.complex64),
    "rounded": Called(Global("torch._utils", "_rebuild_qtensor"), (np.zeros(3, np.int8), 0, (3,))),
  }
  content = {
    **checkpoint_of("fire", {**state, **beside}),
    "path": pathlib.PurePosixPath("/data/train"),
    "seen": {1, 2},
    "kept": frozenset("ab"),
    "started": datetime.datetime(2021, 5, 4, tzinfo=datetime.UTC),
    "took": datetime.timedelta(hours=3),
    "arguments": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/out")),
    "history": collections.defaultdict(list, loss=[1.0]),
    "counts": collections.Counter("aab"),
    "share": fractions.Fraction(1, 3),
    "scores": Called(
      Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b")
    ),
    "config": Called(Global("somebody.training.config", "Config"), ({"a": 1},)),
    "schedule": Called(Global("functools", "partial"), (Global("math", "cos"),)),
    "device": Called(Global("torch", "device"), ("cuda:0",)),
    "level": Called(Global("builtins", "getattr"), (Global("somebody.levels", "Level"), "HIGH")),
  }
  params, _ = convert("fire", content, tmp_path, write)
  assert_same(params, flat(synthetic_params(fire_architecture(), 3)))


@pytest.mark.parametrize("write", [write_archive, write_stream])
def test_weights_of_16_bits_are_read(small, tmp_path, write):
  architecture = fire_architecture()
  # Numbers that have no more digits than the type.
  state = {
    key: values.astype(ml_dtypes.bfloat16)
    for key, values in synthetic_state(architecture, 3).items()
  }
  params, _ = convert("fire", state, tmp_path, write)
  exact = {key: values.astype(np.float32) for key, values in state.items()}
  assert_same(params, convert("fire", exact, tmp_path, write)[0])


def test_safetensors_are_checkpoints_too(small, tmp_path):
  architecture = fire_architecture()
  state = synthetic_state(architecture, 3)
  safetensors.numpy.save_file(
    {f"module.{key}": value for key, value in state.items()}, tmp_path / "in.safetensors"
  )
  checkpoints.convert("fire", tmp_path / "in.safetensors", tmp_path / "x.safetensors")
  params = flat(load_weights(tmp_path / "x.safetensors", model="fire").params)
  assert_same(params, flat(synthetic_params(architecture, 3)))


@pytest.mark.parametrize("write", [write_archive, write_stream])
@pytest.mark.parametrize("model", ["superglobal", "fire"])
def test_a_checkpoint_and_its_conversion_are_the_same_weights(small, tmp_path, model, write):
  state = synthetic_state(architecture_of(model), 3) | {"queue": np.zeros(3, np.float32)}
  checkpoint = write(tmp_path / "published.pth", checkpoint_of(model, state))
  checkpoints.convert(model, checkpoint, tmp_path / "x.safetensors", report=lambda _: None)
  sentences = []
  read = checkpoints.read_weights(model, checkpoint, report=sentences.append)
  expected = checkpoints.read_weights(model, tmp_path / "x.safetensors", report=sentences.append)
  assert_same(flat(read.params), flat(expected.params))
  assert read.metadata == expected.metadata
  (sentence,) = sentences
  assert sentence.endswith(f"which {model} does not need: queue.")


def test_weights_that_can_not_be_read_are_refused(small, tmp_path):
  checkpoint = write_archive(tmp_path / "x.pth", synthetic_state(fire_architecture(), 3))
  checkpoints.convert("fire", checkpoint, tmp_path / "x.safetensors")
  with pytest.raises(InputError, match="holds weights of fire, not of superglobal"):
    checkpoints.read_weights("superglobal", tmp_path / "x.safetensors")
  with pytest.raises(InputError, match="is no checkpoint of superglobal: it lacks"):
    checkpoints.read_weights("superglobal", checkpoint)
  with pytest.raises(InputError, match="There is no checkpoint at"):
    checkpoints.read_weights("fire", tmp_path / "missing.pth")
  for name in ("x.pth", "x.safetensors"):
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-100])
    with pytest.raises(InputError, match="is truncated"):
      checkpoints.read_weights("fire", tmp_path / name)
  write_archive(tmp_path / "hostile.pth", {"state_dict": Called(Global("os", "mkdir"), ("made",))})
  with pytest.raises(InputError, match=r"asks for os\.mkdir"):
    checkpoints.read_weights("fire", tmp_path / "hostile.pth")


def remove(state, key):
  del state[key]


def transpose(state, key):
  state[key] = np.zeros(state[key].shape[::-1], np.float32)


def spoil(state, key):
  state[key] = np.full_like(state[key], np.nan)


def negate(state, key):
  state[key] = -state[key] - 1


def add(state, key):
  state[key] = np.zeros(3, np.float32)


def count(state, key):
  state[key] = state[key].astype(np.int64)


def mask(state, key):
  state[key] = state[key].astype(np.uint8)


def compress(state, key):
  state[key] = Called(Global("torch._utils", "_rebuild_qtensor"), (state[key], 0, 3))


@pytest.mark.parametrize(
  ("model", "change", "key", "message"),
  [
    ("superglobal", remove, "encoder_q.head.pool.p", r"superglobal: it lacks encoder_q\.head\.p"),
    ("superglobal", remove, "encoder_q.s3.b1.f.b_bn.running_var", r"lacks .*b_bn\.running_var\."),
    ("superglobal", transpose, "encoder_q.s1.b1.f.b.weight", r"\(3, 3, 2, 2\) instead of \(2, 2"),
    ("superglobal", add, "encoder_q.s1.b2.proj.weight", r"the unknown encoder_q\.s1\.b2\.proj"),
    ("superglobal", spoil, "encoder_q.head.fc.bias", r"not finite, of encoder_q\.head\.fc"),
    ("superglobal", negate, "encoder_q.stem.bn.running_var", r"not finite, of encoder_q\.stem"),
    ("fire", remove, "lit.templates_init", r"fire: it lacks lit\.templates_init\."),
    ("fire", remove, "dim_reduction.weight", r"fire: it lacks dim_reduction\.weight\."),
    ("fire", add, "features.6.9.bn1.bias", r"fire: it has the unknown features\.6\.9\.bn1\.bias\."),
    ("fire", add, "lit.gate.weight", r"fire: it has the unknown lit\.gate\.weight\."),
    ("fire", count, "lit.mlp.0.bias", r"lit\.mlp\.0\.bias of a type that weights do not have"),
    ("fire", mask, "lit.mlp.0.bias", r"lit\.mlp\.0\.bias of a type that weights do not have"),
    ("fire", compress, "lit.mlp.0.bias", r"has lit\.mlp\.0\.bias as no plain tensor"),
    ("fire", transpose, "lit.mlp.0.weight", r"\(16, 8\) instead of \(8, 16\)"),
  ],
)
def test_checkpoints_that_do_not_fit_are_refused(small, tmp_path, model, change, key, message):
  state = synthetic_state(architecture_of(model), 5)
  change(state, key)
  checkpoint = write_archive(tmp_path / "x.pth", checkpoint_of(model, state))
  with pytest.raises(InputError, match=message):
    checkpoints.convert(model, checkpoint, tmp_path / "x.safetensors")
  assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(("model", "other"), [("superglobal", "fire"), ("fire", "superglobal")])
def test_the_other_model_is_refused(small, tmp_path, model, other):
  state = synthetic_state(architecture_of(other), 6)
  checkpoint = write_archive(tmp_path / "x.pth", checkpoint_of(other, state))
  told = f"no checkpoint of {model}: it (holds no tensors under|lacks)"
  with pytest.raises(InputError, match=told):
    checkpoints.convert(model, checkpoint, tmp_path / "x.safetensors")
  checkpoint = write_archive(tmp_path / "x.pth", state)
  with pytest.raises(InputError, match=r"it lacks .* and \d+ more; it has the unknown .* more\."):
    checkpoints.convert(model, checkpoint, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ([1, 2], "no tensors by name"),
    (None, "no tensors by name"),
    ({}, "no tensors under state_dict, but nothing"),
    ({"state_dict": 3}, "no tensors under state_dict, but state_dict"),
    ({"state_dict": {4: np.zeros(2, np.float32)}}, "no tensors under state_dict, but state_dict"),
    ({"model_state": {}, 5: 6}, "no tensors under state_dict, but model_state, 5"),
  ],
)
def test_content_without_names_is_refused(tmp_path, content, message):
  checkpoint = write_archive(tmp_path / "x.pth", content)
  with pytest.raises(InputError, match=message):
    checkpoints.convert("fire", checkpoint, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
  ("name", "keys", "model"),
  [("superglobal", 321, "superglobal"), ("fire", 274, "fire"), ("ames", 97, "ames")],
)
def test_the_published_keys_are_those_that_are_wanted(name, keys, model):
  lines = (FOLDER / f"{name}_keys.txt").read_text().splitlines()
  listed = dict(line.split("\t") for line in lines)
  architecture = architecture_of(model)
  wanted = {
    architecture.prefix + key: str(shape)
    for layer in architecture.layers
    for key, shape in layer.shapes.items()
  }
  rest = {key for key in listed if not key.startswith(architecture.unused)} - wanted.keys()
  assert {key.rpartition(".")[2] for key in rest} <= {"num_batches_tracked"}
  assert len(wanted) + len(rest) == keys
  assert wanted == {key: listed[key] for key in wanted}


@functools.cache
def arrays():
  return {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(1, np.float32)}


def test_weights_are_checked_when_they_are_read(tmp_path):
  path = tmp_path / "x.safetensors"
  save_weights(path, arrays(), {"model": "fire"})
  assert is_weights(path)
  assert path.stat().st_mode & 0o777 == 0o644
  weights = load_weights(path, model="fire")
  np.testing.assert_array_equal(weights.params["a"]["kernel"], arrays()["a/kernel"], strict=True)
  with pytest.raises(InputError, match="holds weights of fire, not of superglobal"):
    load_weights(path, model="superglobal")
  content = path.read_bytes()
  for length in (0, 4, len(content) // 2, len(content) - 1):
    path.write_bytes(content[:length])
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
      load_weights(path, model="fire")
  path.write_bytes(content[:-1] + b"\x01")
  with pytest.raises(InputError, match="was altered"):
    load_weights(path, model="fire")
  path.write_bytes(content.replace(b'"fire"', b'"fine"'))
  with pytest.raises(InputError, match="was altered"):
    load_weights(path, model="fine")


@pytest.mark.parametrize(
  ("metadata", "message"),
  [
    (None, "no weights of l2g_jax"),
    ({"format": "other"}, "no weights of l2g_jax"),
    ({"format": "l2g_jax.weights", "version": "2"}, "another version"),
    ({"format": "l2g_jax.weights", "version": "1"}, "was altered"),
  ],
)
def test_other_safetensors_are_refused(tmp_path, metadata, message):
  path = tmp_path / "x.safetensors"
  safetensors.numpy.save_file(arrays(), path, metadata=metadata)
  with pytest.raises(InputError, match=message):
    load_weights(path, model="fire")


def test_missing_weights_are_named(tmp_path):
  with pytest.raises(InputError, match=r"no weights at .*x\.safetensors; `l2g convert`"):
    load_weights(tmp_path / "x.safetensors", model="fire")


def test_the_command_converts_a_whole_checkpoint_to_parity(tmp_path):
  architecture = superglobal_architecture(50)
  content = checkpoint_of("superglobal", synthetic_state(architecture, 150))
  write_archive(tmp_path / "cvnet.pyth", content)
  flags = ["--model=superglobal", "--checkpoint=cvnet.pyth", "--output=x.safetensors"]
  result = toy.run("convert", *flags, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert "x.safetensors: weights of superglobal" in result.stdout
  assert "no licence" in result.stdout
  params = load_weights(tmp_path / "x.safetensors", model="superglobal").params
  config = SuperGlobalConfig(depth=50, num_scales=1)
  features = superglobal.apply(params, load_image("superglobal"), config)
  np.testing.assert_allclose(features, load_golden("superglobal")["r50.desc.s1.aa0"], atol=1e-7)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--checkpoint=nothing.pth", "--output=x.safetensors"], "no checkpoint at nothing.pth"),
    (["--checkpoint=hostile.pth", "--output=x.safetensors"], "asks for os.mkdir"),
    (["--checkpoint=hostile.pth"], "--output is missing"),
    (["--checkpoint=hostile.pth", "--output=x.json"], "--output must name the file to write"),
  ],
)
def test_the_command_says_what_is_wrong(tmp_path, flags, message):
  hostile = {"state_dict": Called(Global("os", "mkdir"), ("made",))}
  write_archive(tmp_path / "hostile.pth", hostile)
  toy.check_refused(toy.run("convert", "--model=fire", *flags, cwd=tmp_path), message)
  assert [path.name for path in tmp_path.iterdir()] == ["hostile.pth"]


def test_layers_convert_as_documented(small):
  architecture = fire_architecture()
  state = synthetic_state(architecture, 8)
  arrays = convert_tensors(architecture, state.__getitem__)
  np.testing.assert_array_equal(arrays["lit/key/kernel"], state["lit.project_k.weight"].T)
  np.testing.assert_array_equal(
    arrays["reduction/kernel"], state["dim_reduction.weight"][:, :, 0, 0].T
  )
  np.testing.assert_array_equal(arrays["lit/templates"], state["lit.templates_init"][0])
  assert synthetic_weight(8, "lit.project_k.weight", (16, 16)).dtype == np.float32

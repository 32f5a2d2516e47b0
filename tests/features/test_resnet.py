import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.synthetic import synthetic_state
from l2g_jax.features import superglobal
from l2g_jax.features.resnet import ResNet, Stage
from l2g_jax.interop.checkpoints.architectures import superglobal_architecture
from tests.features.synthetic import run, synthetic_params


def convolve(values, weight, stride):
  """A convolution `[height, width, in]` by PyTorch's weight `[out, in, size, size]`."""
  margin = weight.shape[2] // 2
  values = np.pad(values, ((margin, margin), (margin, margin), (0, 0)))
  windows = sliding_window_view(values, weight.shape[2:], axis=(0, 1))[::stride, ::stride]
  return np.tensordot(windows, weight, ([2, 3, 4], [1, 2, 3]))


def normalize_batch(values, state, key):
  scale = state[f"{key}.weight"] / np.sqrt(state[f"{key}.running_var"] + 1e-5)
  return (values - state[f"{key}.running_mean"]) * scale + state[f"{key}.bias"]


def trunk_by_hand(image, state, stages):
  """The trunk in NumPy, in double precision, with batch norms that are not folded."""
  state = {key.removeprefix("encoder_q."): value.astype(np.float64) for key, value in state.items()}
  values = normalize_batch(convolve(image, state["stem.conv.weight"], 2), state, "stem.bn")
  values = np.pad(np.maximum(values, 0), ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
  values = sliding_window_view(values, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(3, 4))
  maps = [values]
  for number, stage in enumerate(stages, start=1):
    for block in range(1, stage.num_blocks + 1):
      key, shortcut = f"s{number}.b{block}", values
      for part, floor in (("a", stage.inner_floor), ("b", stage.inner_floor), ("c", -np.inf)):
        stride = 2 if (part, block) == ("b", 1) and number > 1 else 1
        values = convolve(values, state[f"{key}.f.{part}.weight"], stride)
        values = np.maximum(normalize_batch(values, state, f"{key}.f.{part}_bn"), floor)
      if block == 1:
        shortcut = convolve(shortcut, state[f"{key}.proj.weight"], 2 if number > 1 else 1)
        shortcut = normalize_batch(shortcut, state, f"{key}.bn")
      values = np.maximum(values + shortcut, stage.outer_floor)
    maps.append(values)
  return maps


def test_equals_numpy(monkeypatch):
  # One stage of a block, and those that have another after it.
  monkeypatch.setattr(superglobal, "BLOCKS", {50: (2, 1, 2, 1)})
  architecture = superglobal_architecture(50)
  floors = (0.014, 0.014, 0.014, 0.0)
  stages = tuple(map(Stage, superglobal.BLOCKS[50], (0.014, 0.0, 0.02, 0.0), floors))
  image = np.random.default_rng(0).standard_normal((33, 70, 3), dtype=np.float32)
  expected = trunk_by_hand(image, synthetic_state(architecture, 7), stages)
  maps = run(ResNet(stages), synthetic_params(architecture, 7)["trunk"], image[None])
  assert [values.shape[1:3] for values in maps] == [(9, 18), (9, 18), (5, 9), (3, 5), (2, 3)]
  for ours, theirs, floor in zip(maps, expected, (0.0, *floors), strict=True):
    np.testing.assert_allclose(ours[0], theirs, atol=1e-5 * theirs.max())
    assert np.float32(floor) <= ours.min() < 0.03


def test_a_batch_equals_single_images():
  module = ResNet((Stage(1), Stage(1)))
  params = synthetic_params(superglobal_architecture(50), 1)["trunk"]
  images = np.random.default_rng(1).standard_normal((2, 24, 16, 3), dtype=np.float32)
  singles = jax.vmap(lambda image: [values[0] for values in run(module, params, image[None])])
  for ours, theirs in zip(run(module, params, images), singles(images), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_half_precision_is_near():
  stages = (Stage(1, 0.014, 0.014), Stage(1))
  params = synthetic_params(superglobal_architecture(50), 2)["trunk"]
  images = np.random.default_rng(2).standard_normal((1, 32, 32, 3), dtype=np.float32)
  single = run(ResNet(stages), params, images)[-1]
  half = run(ResNet(stages, jnp.dtype("bfloat16")), params, images)[-1]
  assert half.dtype == jnp.bfloat16
  error = np.abs(single - half.astype(np.float32)).max() / np.abs(single).max()
  assert 0 < error < 0.05

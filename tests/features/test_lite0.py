import functools
import pickle
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2g_jax.errors import InputError, SettingError
from l2g_jax.features import lite0, preprocess
from l2g_jax.features.extractors import lite0_extractor
from l2g_jax.features.protocol import as_local, stack_inputs
from l2g_jax.features.weights import Weights
from l2g_jax.interop.pretrained import read_pretrained
from tests.features.synthetic import run
from tests.golden.files import load_golden

# Outputs that the golden file has, with the pixels of the picture to one of theirs.
MAPS = {
  "stem": 2,
  "block0": 2,
  "block2": 4,
  "block4": 8,
  "block7": 16,
  "block10": 16,
  "block14": 32,
  "block15": 32,
  "features": 32,
}


@functools.cache
def weights():
  return read_pretrained("lite0")


def picture(height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def describe(images, **options):
  """The features of images whose canvases have one size."""
  canvases, layouts = stack_inputs([lite0.place(image) for image in images])
  return np.asarray(lite0.apply(weights().params, canvases, layouts, **options))


def test_features_and_classes_equal_the_public_implementation():
  golden = load_golden("lite0")
  canvas, layout = lite0.place(golden["image"])
  np.testing.assert_allclose(describe([golden["image"]])[0], golden["gem"], atol=1e-6)
  logits = np.asarray(lite0.classify(weights().params, canvas[None], layout[None])[0])
  best = np.argsort(-logits)[:5]
  np.testing.assert_array_equal(best, golden["top5"])
  np.testing.assert_allclose(logits[best], golden["top5_logits"], atol=1e-4)


def test_maps_equal_the_public_implementation():
  golden = load_golden("lite0")
  canvas, layout = lite0.place(golden["image"])
  maps = run(lite0.Lite0(), weights().params, canvas[None], layout[None])
  for (name, stride), values in zip(MAPS.items(), maps, strict=True):
    mask = np.asarray(lite0.inside(layout[None], stride, values.shape))[0, :, :, 0]
    # The picture is higher than wide.
    found = np.asarray(values)[0][np.ix_(mask.any(axis=1), mask.any(axis=0))].transpose(1, 0, 2)
    # Every eighth channel; of the last map fewer. Of large maps every fourth row and column.
    found = found[..., :: 32 if name == "features" else 8]
    found = found[::4, ::4] if len(found) > 20 else found
    expected = golden[name][0].transpose(1, 2, 0)
    np.testing.assert_allclose(
      found, expected, atol=1e-5 * np.abs(expected).max(), err_msg=name, strict=True
    )


@jax.jit
def padded_by_xla(params, image):
  """The feature of one picture as it is, with XLA's own convolutions and SAME padding."""

  def convolve(values, part, stride=1, groups=1):
    kernel = part["kernel"]
    kernel = kernel[None, None] if kernel.ndim == 2 else kernel
    kernel = kernel[:, :, None] if kernel.ndim == 3 else kernel
    made = jax.lax.conv_general_dilated(
      values,
      kernel,
      (stride, stride),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
      precision="highest",
    )
    return made + part["bias"][None, None, None]

  values = (image[None].astype(jnp.float32) - 127) / 128
  values = jnp.clip(convolve(values, params["stem"], 2), 0, 6)
  number = 0
  for count, _, stride, *_ in lite0.STAGES:
    for step in range(count):
      block = params[f"block{number}"]
      inner = jnp.clip(convolve(values, block["expand"]), 0, 6) if number else values
      steps = stride if step == 0 else 1
      inner = jnp.clip(convolve(inner, block["spatial"], steps, inner.shape[3]), 0, 6)
      inner = convolve(inner, block["project"])
      values = values + inner if step else inner
      number += 1
  values = jnp.clip(convolve(values, params["head"]), 0, 6)
  pooled = jnp.mean(jnp.maximum(values, 1e-6) ** 3, axis=(1, 2)) ** (1 / 3)
  return (pooled / jnp.linalg.norm(pooled))[0]


# Odd and even, at every one of the five strides.
@pytest.mark.parametrize("size", [(1, 1), (33, 62), (79, 46)])
def test_padding_is_that_of_the_actual_size(size):
  image = picture(*size)
  expected = padded_by_xla(weights().params, image)
  np.testing.assert_allclose(describe([image])[0], expected, atol=1e-6)


def test_pictures_of_many_sizes_pass_one_canvas_together():
  images = [picture(*size, seed) for seed, size in enumerate([(1, 128), (64, 31), (97, 127)])]
  batch = describe(images)
  np.testing.assert_allclose(np.linalg.norm(batch, axis=1), 1.0, atol=1e-6)
  for image, feature in zip(images, batch, strict=True):
    np.testing.assert_allclose(describe([image])[0], feature, atol=1e-6)


@settings(max_examples=10)
@given(st.integers(1, 300), st.integers(1, 300))
def test_a_canvas_holds_its_picture_where_a_multiple_of_32_ends(height, width):
  image = np.zeros((height, width, 3), np.uint8)
  canvas, layout = lite0.place(image)
  size = layout[:2]
  assert layout.dtype == np.int32
  assert layout.tolist() == [min(height, width), max(height, width), height > width]
  for axis, side in enumerate(size):
    assert canvas.shape[axis] % 128 == 0
    assert side <= canvas.shape[axis] < side + 128
  black = np.argwhere(canvas[:, :, 0] == 0)
  assert len(black) == height * width
  assert ((black.max(axis=0) + 1) % 32 == 0).all()
  assert (black.max(axis=0) - black.min(axis=0) + 1 == size).all()
  mask = np.asarray(lite0.inside(layout[None], 1, (1, *canvas.shape)))
  np.testing.assert_array_equal(mask[0, :, :, 0], canvas[:, :, 0] == 0)


def test_the_price_of_half_precision_is_small():
  images = [load_golden("lite0")["image"][:128, :128]]
  exact, half = describe(images), describe(images, dtype="bfloat16")
  assert half.dtype == np.float32
  assert 0.995 < np.sum(exact * half) < 1.0 - 1e-7


def test_an_image_is_described_at_several_sides():
  image = load_golden("lite0")["image"]
  small = preprocess.reduce_by_area(image, max_side=101)
  assert small.shape == (101, 70, 3)
  extractor = lite0_extractor(weights(), sides=(400, 101))
  expected = describe([image])[0] + describe([small])[0]
  feature = extractor.extract(image)
  np.testing.assert_allclose(feature, expected / np.linalg.norm(expected), atol=1e-6)
  assert feature.shape == (extractor.dimension,) == (1280,)
  one = lite0_extractor(weights(), sides=(101,))
  np.testing.assert_allclose(one.extract(image), describe([small])[0], atol=1e-6)
  # The feature alone may serve as a local one, after a trip to another process.
  travelled = pickle.loads(pickle.dumps(as_local(one)))
  np.testing.assert_array_equal(travelled.extract(image).descriptors[0], one.extract(image))


def test_batches_hold_images_of_one_canvas(monkeypatch):
  apply = mock.Mock(wraps=lite0.apply)
  monkeypatch.setattr(lite0, "apply", apply)
  network = lite0_extractor(weights(), sides=(120, 60), batch_size=2).network
  assert network is not None
  images = [picture(100, 90), picture(61, 128)]
  inputs = [network.prepare(image, image.shape[:2]) for image in images]
  features = network.describe(stack_inputs(inputs))
  assert [call.args[1].shape for call in apply.call_args_list] == [(2, 128, 128, 3)] * 2
  for image, feature in zip(images, features, strict=True):
    single = lite0_extractor(weights(), sides=(120, 60)).extract(image)
    np.testing.assert_allclose(feature, single, atol=1e-6)


def test_settings_tell_recipes_apart_and_are_checked():
  recipes = [
    lite0_extractor(weights()),
    lite0_extractor(weights(), sides=(640,)),
    lite0_extractor(weights(), sides=(1024, 640)),
    lite0_extractor(weights(), dtype="bfloat16"),
  ]
  assert len({str(dict(recipe.settings)) for recipe in recipes}) == len(recipes)
  assert recipes[0].settings["weights"] == weights().metadata["checksum"]
  wrong: list[Any] = [(), (0,), (640, 1.5)]
  for sides in wrong:
    with pytest.raises(SettingError, match="sides must be"):
      lite0_extractor(weights(), sides=sides)
  with pytest.raises(InputError, match=r"The weights are of fire, not of lite0\."):
    lite0_extractor(Weights(weights().params, {**weights().metadata, "model": "fire"}))


def test_images_are_reduced_and_never_enlarged():
  image = picture(60, 90)
  assert preprocess.reduce_by_area(image, max_side=90) is image
  assert preprocess.reduce_by_area(image, max_side=45).shape == (30, 45, 3)
  assert preprocess.reduce_by_area(picture(1, 90), max_side=30).shape == (1, 30, 3)
  halves = image.reshape(30, 2, 45, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(preprocess.reduce_by_area(image, max_side=45), halves, atol=0.51)

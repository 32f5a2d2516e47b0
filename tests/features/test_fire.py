import functools

import jax
import numpy as np
import pytest

from l2g_jax.features import fire
from l2g_jax.features.fire import FireConfig
from l2g_jax.features.interpolation import rescale
from l2g_jax.features.resnet import ResNet, Stage
from l2g_jax.interop.checkpoints.architectures import fire_architecture
from tests.features.synthetic import run, shallow, synthetic_params
from tests.golden.files import load_golden, load_image


@functools.cache
def params():
  return synthetic_params(fire_architecture(), 300)


@pytest.fixture
def shallow_params(monkeypatch):
  params_of_the_whole = params()  # Its architecture follows BLOCKS: before the next line.
  monkeypatch.setattr(fire, "BLOCKS", (1, 1, 1))
  return shallow(params_of_the_whole)


@functools.cache
def features_of_the_image():
  return jax.device_get(fire.apply(params(), load_image("fire"), FireConfig()))


def test_the_same_features_are_kept_as_by_the_public_implementation():
  golden, features = load_golden("fire"), features_of_the_image()
  ours = [
    (np.float16(scale), template)
    for scale, template in zip(features.scales[0], features.templates[0], strict=True)
  ]
  theirs = list(zip(golden["local.scale"], golden["local.loc"][:, 1], strict=True))
  assert len(ours) == len(set(ours)) == 1000
  assert set(ours) == set(theirs)
  places = [ours.index(key) for key in theirs]
  np.testing.assert_allclose(features.strengths[0][places], golden["local.att"], atol=1e-4)
  descriptors = features.descriptors[0][places[::10]]
  np.testing.assert_allclose(descriptors, golden["local.desc"], atol=1e-4)
  assert np.all(np.diff(features.strengths[0]) <= 0)


@pytest.mark.parametrize("scale", [2.0, 0.353])
def test_single_scales_equal_the_public_implementation(scale):
  golden, features = load_golden("fire"), features_of_the_image()
  expected = golden[f"ms.feats.{scale}"][0], golden[f"ms.strength.{scale}"][0]
  kept = features.scales[0] == np.float32(scale)
  templates = features.templates[0][kept]
  assert len(templates) > 50
  np.testing.assert_allclose(features.strengths[0][kept], expected[1][templates], atol=1e-4)
  # The golden file has every eighth template.
  some = templates % 8 == 0
  np.testing.assert_allclose(
    features.descriptors[0][kept][some], expected[0][templates[some] // 8], atol=1e-4
  )


def test_stages_equal_the_public_implementation():
  golden = load_golden("fire")

  @jax.jit
  def describe(images):
    stem, *_, last = run(ResNet((Stage(3), Stage(4), Stage(6))), params()["trunk"], images)
    tokens = last.reshape(1, -1, fire.WIDTH)
    refined, attention = run(fire.LocalTemplates(), params()["lit"], tokens)
    first, _ = run(fire.LocalTemplates(num_iterations=1), params()["lit"], tokens)
    reduced, strengths = run(fire.Fire(), params(), images)
    return {
      "maxpool": stem[..., ::16],
      "layer3": last[..., ::32],
      "lit.T1": first[:, ::16, ::8],
      "lit": refined[:, ::16, ::8],
      "attn": attention[:, :, ::16],
      "strength": strengths,
      "reduced": reduced[:, ::8],
    }

  for name, values in describe(load_image("fire")).items():
    expected = golden[f"stage.{name}"]
    np.testing.assert_allclose(values, expected, atol=3e-6 * np.abs(expected).max(), err_msg=name)


def test_attention_spreads_every_template_over_the_places():
  tokens = np.random.default_rng(0).standard_normal((2, 35, fire.WIDTH), dtype=np.float32)
  _, attention = run(fire.LocalTemplates(num_iterations=2), params()["lit"], tokens)
  assert attention.shape == (2, 35, fire.NUM_TEMPLATES)
  np.testing.assert_allclose(np.sum(attention, axis=1), 1.0, atol=1e-5)


def test_few_scales_give_all_their_features_and_ties_keep_their_order(shallow_params):
  # A scale given twice ties with itself.
  config = FireConfig(scales=(1.0, 1.0))
  image = np.random.default_rng(1).standard_normal((1, 48, 64, 3), dtype=np.float32)
  features = jax.device_get(fire.apply(shallow_params, image, config))
  assert features.descriptors.shape == (1, 512, fire.DIMENSION)
  np.testing.assert_array_equal(features.strengths[0, ::2], features.strengths[0, 1::2])
  np.testing.assert_array_equal(features.templates[0, ::2], features.templates[0, 1::2])
  single = jax.device_get(
    fire.apply(shallow_params, image, FireConfig(scales=(1.0,), num_features=7))
  )
  np.testing.assert_array_equal(single.templates[0], features.templates[0, :14:2])


def test_a_batch_equals_single_images_which_may_be_tiny(shallow_params):
  images = np.random.default_rng(2).standard_normal((2, 9, 33, 3), dtype=np.float32)
  config = FireConfig(scales=(0.25,), num_features=100)
  batch = jax.device_get(fire.apply(shallow_params, images, config))
  singles = jax.vmap(lambda image: fire.apply(shallow_params, image[None], config))(images)
  for field, values in vars(batch).items():
    np.testing.assert_allclose(values, getattr(singles, field)[:, 0], atol=1e-3, err_msg=field)


def test_reading_a_scale_is_rescaling(shallow_params):
  image = load_image("fire")[:, :50, :60]
  config = FireConfig(scales=(0.707,))
  features = jax.device_get(fire.apply(shallow_params, image, config))
  whole = FireConfig(scales=(1.0,))
  again = jax.device_get(fire.apply(shallow_params, rescale(image, 0.707), whole))
  np.testing.assert_allclose(features.descriptors, again.descriptors, atol=1e-4)
  assert np.all(features.scales == np.float32(0.707))

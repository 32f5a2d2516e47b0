import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.features import superglobal
from l2g_jax.features.interpolation import resize
from l2g_jax.features.resnet import ResNet, Stage
from l2g_jax.features.superglobal import SuperGlobalConfig
from l2g_jax.interop.checkpoints.architectures import superglobal_architecture
from tests.features.synthetic import run, shallow, synthetic_params
from tests.golden.files import load_golden, load_image
from tests.variants import VariantTestCase, jit_variants

FLAGS_OFF = {"regional": False, "generalized": False, "scale_gem": False}


@functools.cache
def params():
  return synthetic_params(superglobal_architecture(50), 150)


@pytest.fixture
def shallow_params(monkeypatch):
  params_of_the_whole = params()  # Its architecture follows BLOCKS: before the next line.
  monkeypatch.setattr(superglobal, "BLOCKS", {50: (1, 1, 1, 1)})
  return shallow(params_of_the_whole)


def unit(values):
  return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.mark.parametrize(
  ("name", "config"),
  [
    ("desc.s1.aa0", {"num_scales": 1}),
    ("desc.s3.aa0", {}),
    ("desc.s3.aa1", {"antialias": True}),
    ("raw.s3.aa0.gemp0.rgem0.sgem0", FLAGS_OFF),
    ("relup_false.raw.s3.aa0", {"relup": False}),
  ],
)
def test_descriptors_equal_the_public_implementation(name, config):
  expected = load_golden("superglobal")[f"r50.{name}"]
  config = SuperGlobalConfig(**{"depth": 50, **config})
  features = superglobal.apply(params(), load_image("superglobal"), config)
  # Raw ones are those before the last normalisation.
  np.testing.assert_allclose(features, unit(expected), atol=1e-7)


def test_stages_equal_the_public_implementation():
  golden = load_golden("superglobal")
  stages = tuple(map(Stage, (3, 4, 6, 3), (0.014, 0.0, 0.0, 0.0), (0.014, 0.014, 0.014, 0.0)))

  @jax.jit
  def describe(images):
    stem, first, *_, last = run(ResNet(stages), params()["trunk"], images)
    regional = superglobal.regional_gem(last)
    pooled = superglobal.generalized_gem(regional, power=4.6, least=1e-8)
    config = SuperGlobalConfig(depth=50)
    whitened = run(superglobal.SuperGlobal(config), params(), images)
    return {
      "stem": stem[..., ::16],
      "s1": first[..., ::64],
      "s4": last[..., ::32],
      "rgem": regional[..., ::32],
      "gemp": pooled,
      "fc": whitened,
    }

  for name, values in describe(load_image("superglobal")).items():
    expected = golden[f"r50.stage.{name}"]
    np.testing.assert_allclose(values, expected, atol=2e-6 * np.abs(expected).max(), err_msg=name)


def test_five_scales_are_the_maximum_of_five_sizes(shallow_params):
  image = np.random.default_rng(0).standard_normal((1, 70, 45, 3), dtype=np.float32)
  config = SuperGlobalConfig(depth=50, num_scales=5)
  single = dataclasses.replace(config, num_scales=1)
  scales = (0.5, 0.7071, 1.0, 1.4142, 2.0)
  vectors = [
    superglobal.apply(shallow_params, resize(jnp.asarray(image), s), single) for s in scales
  ]
  expected = unit(np.max(vectors, axis=0))
  np.testing.assert_allclose(superglobal.apply(shallow_params, image, config), expected, atol=1e-6)


def test_a_batch_equals_single_images_which_may_be_tiny(shallow_params):
  images = np.random.default_rng(1).standard_normal((2, 20, 33, 3), dtype=np.float32)
  config = SuperGlobalConfig(depth=50, num_scales=1)
  batch = superglobal.apply(shallow_params, images, config)
  singles = jax.vmap(lambda image: superglobal.apply(shallow_params, image[None], config)[0])(
    images
  )
  np.testing.assert_allclose(batch, singles, atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(batch, axis=1), 1.0, atol=1e-6)


def test_the_price_of_half_precision_is_small(shallow_params):
  config = SuperGlobalConfig(depth=50, num_scales=1)
  image = load_image("superglobal")[:, :64, :64]
  exact = superglobal.apply(shallow_params, image, config)
  half = superglobal.apply(shallow_params, image, dataclasses.replace(config, dtype="bfloat16"))
  assert half.dtype == np.float32
  assert 0.99 < np.sum(exact * half) < 1.0 - 1e-7


class PoolingVariantsTest(VariantTestCase):
  @jit_variants
  def test_regional_gem_equals_the_public_implementation(self):
    golden = load_golden("superglobal")
    pooled = self.variant(superglobal.regional_gem)(golden["mod.rgem.in"])
    np.testing.assert_allclose(pooled, golden["mod.rgem.out"], atol=1e-6)

  @jit_variants
  @parameterized.parameters(("inf", math.inf), ("p10", 10.0))
  def test_scale_gem_equals_the_public_implementation(self, name, power):
    golden = load_golden("superglobal")
    pool = self.variant(functools.partial(superglobal.scale_gem, power=power))
    pooled = pool(golden["mod.sgem.in"])
    np.testing.assert_allclose(pooled, golden[f"mod.sgem.{name}"], atol=1e-6)

  @jit_variants
  @parameterized.parameters((1, 1), (2, 5), (9, 4))
  def test_regional_gem_equals_a_loop(self, height, width):
    values = np.random.default_rng(2).uniform(0, 3, (2, height, width, 4)).astype(np.float32)
    mode = "reflect" if min(height, width) > 1 else "edge"
    padded = np.pad(values.astype(np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    expected = np.empty_like(values)
    for row, column in np.ndindex(height, width):
      window = padded[:, row : row + 5, column : column + 5]
      mean = np.mean(window**2.5, axis=(1, 2)) ** (1 / 2.5)
      expected[:, row, column] = (mean + values[:, row, column]) / 2
    pooled = self.variant(superglobal.regional_gem)(values)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


@given(st.integers(0, 10_000), st.floats(1.0, 8.0))
def test_gem_lies_between_mean_and_maximum(seed, power):
  values = np.random.default_rng(seed).uniform(0.01, 2, (2, 3, 4, 5)).astype(np.float32)
  pooled = superglobal.generalized_gem(values, power=power, least=1e-6)
  assert np.all(pooled >= values.mean(axis=(1, 2)) - 1e-5)
  assert np.all(pooled <= values.max(axis=(1, 2)) + 1e-5)


def test_pooling_keeps_what_is_constant():
  values = np.full((1, 4, 6, 3), 0.7, np.float32)
  np.testing.assert_allclose(superglobal.regional_gem(values), values, rtol=1e-5)
  pooled = superglobal.generalized_gem(values, power=4.6, least=1e-8)
  np.testing.assert_allclose(pooled, values[:, 0, 0], rtol=1e-5)
  # The least power is above the smallest normal number.
  nothing = superglobal.generalized_gem(0 * values, power=4.6, least=1e-8)
  np.testing.assert_allclose(nothing, 1e-8, rtol=1e-4)


def test_sizes_are_described_one_after_another(shallow_params):
  def bytes_of(num_scales):
    config = SuperGlobalConfig(depth=50, num_scales=num_scales)
    image = jax.ShapeDtypeStruct((1, 192, 256, 3), np.float32)
    memory = superglobal.apply.lower(shallow_params, image, config).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes

  # The largest of five has four times the pixels; all at once would need nearly six.
  assert bytes_of(5) < 5 * bytes_of(1)

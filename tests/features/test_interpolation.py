import jax
import numpy as np
import pytest
from absl.testing import parameterized

from l2g_jax.features.interpolation import rescale, resize
from tests.golden.files import load_golden, load_image
from tests.variants import VariantTestCase, jit_variants

JITTED_RESIZE = jax.jit(resize, static_argnames=("scale", "antialias"))
JITTED_RESCALE = jax.jit(rescale, static_argnames="scale")


def interpolate_by_hand(image, scale, steps):
  """A loop over the pixels, in double precision; steps are source pixels per target pixel."""
  height, width = image.shape[:2]
  target = np.empty((int(height * scale), int(width * scale), image.shape[2]))
  for row, column in np.ndindex(*target.shape[:2]):
    y = np.clip((row + 0.5) * steps[0] - 0.5, 0, height - 1)
    x = np.clip((column + 0.5) * steps[1] - 0.5, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = (left + 1 - x) * image[top, left] + (x - left) * image[top, right]
    lower = (left + 1 - x) * image[bottom, left] + (x - left) * image[bottom, right]
    target[row, column] = (top + 1 - y) * upper + (y - top) * lower
  return target


class InterpolationVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.product(scale=[0.3, 0.7071, 1.0, 1.4142, 2.0], size=[(13, 17), (5, 4)])
  def test_both_equal_a_loop(self, scale, size):
    image = np.random.default_rng(0).standard_normal((1, *size, 3), dtype=np.float32)
    resized = self.variant(lambda images: resize(images, scale))(image)
    steps = [side / int(side * scale) for side in size]
    np.testing.assert_allclose(resized[0], interpolate_by_hand(image[0], scale, steps), atol=1e-5)
    rescaled = self.variant(lambda images: rescale(images, scale))(image)
    expected = interpolate_by_hand(image[0], scale, [1 / scale] * 2)
    np.testing.assert_allclose(rescaled[0], expected, atol=1e-5)


@pytest.mark.parametrize(("antialias", "tolerance"), [(False, 1e-6), (True, 2e-5)])
def test_resize_equals_torchvision(antialias, tolerance):
  golden, image = load_golden("superglobal"), load_image("superglobal")
  resized = JITTED_RESIZE(image, 0.7071, antialias=antialias)
  assert resized.shape == (1, 113, 158, 3)
  expected = golden[f"r50.resized.0.7071.aa{int(antialias)}"]
  np.testing.assert_allclose(resized[:, ::5, ::5], expected, atol=tolerance)


@pytest.mark.parametrize("scale", [1.414, 0.707, 0.25])
def test_rescale_equals_pytorch_at_the_last_pixels(scale):
  golden, image = load_golden("fire"), load_image("fire")
  rescaled = JITTED_RESCALE(image, scale)
  assert rescaled.shape == (1, int(163 * scale), int(229 * scale), 3)
  expected = golden[f"scaled.{scale}"]
  np.testing.assert_allclose(rescaled[:, -12:, -12:], expected, atol=1e-6)


@pytest.mark.parametrize("function", [JITTED_RESIZE, JITTED_RESCALE])
def test_a_side_keeps_a_pixel(function):
  images = np.arange(6, dtype=np.float32).reshape(2, 1, 3, 1)
  assert function(images, 0.25).shape == (2, 1, 1, 1)
  assert np.all(np.isfinite(function(images, 0.25)))


@pytest.mark.parametrize("function", [resize, rescale])
@pytest.mark.parametrize("scale", [0.5, 1.4142])
def test_a_batch_equals_single_images(function, scale):
  images = np.random.default_rng(1).standard_normal((3, 9, 11, 3), dtype=np.float32)
  batch = jax.vmap(lambda image: function(image[None], scale)[0])(images)
  np.testing.assert_allclose(function(images, scale), batch, atol=1e-6)

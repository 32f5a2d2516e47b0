"""Parts of ALIKED: layers, deformable convolution, upsampling, detection, inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2g_jax.features.aliked import detection, layers, padding, prepare, strips, upsampling
from l2g_jax.features.aliked.deformable import deformable_convolution
from tests.golden.files import load_golden


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def channels_last(values):
  return np.moveaxis(values, 1, 3)


@pytest.mark.parametrize("width", [24, 22, 7])
@pytest.mark.parametrize(("channels", "width_out"), [(3, 16), (4, 1), (16, 32), (40, 2)])
def test_convolutions_of_groups_equal_plain_ones(width, channels, width_out):
  values = jnp.asarray(normal(2, 5, width, channels))
  kernel = jnp.asarray(normal(3, 3, channels, width_out, seed=1))
  expected = jax.lax.conv_general_dilated(
    values, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  convolve = layers.convolution(kernel, width)
  groups = layers.grouped(values, width, convolve.group)
  for pads_rows, rows in ((True, slice(None)), (False, slice(1, -1))):
    found = layers.grouped(convolve(groups, pads_rows=pads_rows), width, 1)
    np.testing.assert_allclose(found, expected[:, rows], atol=1e-4)


@pytest.mark.parametrize("case", ["deform", "deform_half"])
def test_deformable_convolution_equals_the_public_implementation(case):
  golden = load_golden("aliked")
  parts = {name: golden[f"{case}.{name}"] for name in ("input", "offset", "weight", "output")}
  found = jax.jit(deformable_convolution)(
    channels_last(parts["input"]),
    channels_last(parts["offset"]),
    parts["weight"].transpose(2, 3, 1, 0),
  )
  expected = channels_last(parts["output"])
  np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def loop_convolution(values, offsets, kernel):
  """A deformable convolution, pixel by pixel."""
  batch, height, width, _ = values.shape
  result = np.zeros((batch, height, width, kernel.shape[3]))
  for b, y, x, tap in np.ndindex(batch, height, width, 9):
    i, j = divmod(tap, 3)
    row = y - 1 + i + float(offsets[b, y, x, 2 * tap])
    column = x - 1 + j + float(offsets[b, y, x, 2 * tap + 1])
    top, left = int(np.floor(row)), int(np.floor(column))
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
      if 0 <= r < height and 0 <= c < width:
        weight = (1 - abs(row - r)) * (1 - abs(column - c))
        result[b, y, x] += weight * values[b, r, c] @ kernel[i, j]
  return result


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 1, 1), (1, 1, 6)])
def test_deformable_convolution_equals_a_loop(shape):
  values, kernel = normal(*shape, 3), normal(3, 3, 3, 2, seed=1)
  # Some reads lie far beyond the edge, some on pixels.
  offsets = 3 * normal(*shape, 18, seed=2)
  offsets[..., ::4] = np.round(offsets[..., ::4])
  offsets[:, 0, 0] *= 100
  found = jax.jit(deformable_convolution)(values, offsets, kernel)
  np.testing.assert_allclose(found, loop_convolution(values, offsets, kernel), atol=1e-4)


@pytest.mark.parametrize("case", ["upsample8", "upsample32"])
def test_upsampling_equals_the_public_implementation(case):
  golden = load_golden("aliked")
  values, expected = (channels_last(golden[f"{case}.{name}"]) for name in ("input", "output"))
  heights, widths = (jnp.array([side], jnp.int32) for side in expected.shape[1:3])

  @jax.jit
  def upsample_all(values):
    wide = upsampling.upsample_columns(values, widths, expected.shape[2])
    return upsampling.upsample_rows(wide, heights, expected.shape[1], 0, expected.shape[1])

  found = upsample_all(jnp.asarray(values))
  np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@functools.partial(jax.jit, static_argnames="factor")
def upsample(values, true_size, first, *, factor):
  """Upsamples both axes, of the rows all but eight."""
  height, width = (factor * side for side in values.shape[1:3])
  wide = upsampling.upsample_columns(values, true_size[1:], width)
  return upsampling.upsample_rows(wide, true_size[:1], height, first, height - 8)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(-2, 8))
def test_upsampling_does_not_see_beyond_the_true_size(height, width, first):
  factor, most = 8, 5
  values = normal(1, height, width, 2)
  true = factor * height, factor * width
  expected = values[0]
  for axis, side in ((0, true[0]), (1, true[1])):
    places = np.linspace(0, expected.shape[axis] - 1, side)
    known = np.arange(expected.shape[axis])
    interpolate = functools.partial(np.interp, places, known)
    expected = np.apply_along_axis(interpolate, axis, expected)
  # One shape for all sizes is compiled once.
  padded = np.full((1, most, most, 2), np.nan, np.float32)
  padded[:, :height, :width] = values
  found = upsample(padded, np.array(true, np.int32), np.int32(first), factor=factor)
  rows = np.arange(max(0, first), min(true[0], first + factor * most - 8))
  np.testing.assert_allclose(found[0, rows - first, : true[1]], expected[rows], atol=1e-5)


@pytest.mark.parametrize("num_rows", [4, 64, 96, 68, 37 * 4])
def test_strips_equal_the_whole(num_rows):
  values = jnp.asarray(normal(2, num_rows + 2, 3))

  def compute(row, count):
    near = strips.rows_of(values, row, count + 2)
    sums = near[:, :-2] + near[:, 1:-1] + near[:, 2:]
    return sums, sums.reshape(2, count // 4, 4, 3).sum(axis=2)

  whole = compute(0, num_rows)
  found = jax.jit(lambda: strips.in_strips(compute, num_rows, (2, 0)))()
  np.testing.assert_allclose(found[0], np.pad(whole[0], ((0, 0), (2, 2), (0, 0))), atol=1e-6)
  np.testing.assert_allclose(found[1], whole[1], atol=1e-5)


def loop_maxima(scores):
  """The maxima that the network's authors seek, pixel by pixel."""
  radius = detection.RADIUS

  def largest(values):
    padded = np.pad(values, radius, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return windows.max(axis=(2, 3))

  found = scores == largest(scores)
  for _ in range(2):
    near = largest(found.astype(np.float32)) > 0
    rest = np.where(near, 0, scores)
    found |= (rest == largest(rest)) & ~near
  return found


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_maxima_equal_a_loop_and_ties_are_all_found(levels):
  scores = np.random.default_rng(levels).integers(1, levels + 1, (23, 31)).astype(np.float32)
  np.testing.assert_array_equal(jax.jit(detection.is_maximum)(scores), loop_maxima(scores))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_the_largest_values_are_found_and_ties_keep_their_order(size, levels):
  values = np.random.default_rng(size).integers(0, levels + 1, size).astype(np.float32)
  found, indices = jax.jit(detection.top_k, static_argnums=1)(values, 100)
  order = np.argsort(-values, kind="stable")[:100]
  np.testing.assert_array_equal(found[: len(order)], values[order])
  np.testing.assert_array_equal(indices[: len(order)], order)
  assert np.all(found[len(order) :] == 0)


def detect(scores, k, origin=(0, 0), size=None):
  size = jnp.array(scores.shape if size is None else size, jnp.int32)[None]
  origin = jnp.array(origin, jnp.int32)[None]
  inside, inner = (
    padding.inside((1, *scores.shape), origin + margin, origin + size - margin)[0]
    for margin in (0, detection.RADIUS)
  )
  find = jax.jit(functools.partial(detection.detect, k=k))
  return jax.device_get(find(scores, inside, inner))


def test_key_points_lie_between_pixels_and_fewer_maxima_give_fewer():
  scores = np.zeros((12, 14), np.float32)
  scores[5, 6], scores[5, 7], scores[4, 6] = 0.8, 0.7, 0.75
  found = detect(scores, 10)
  assert found.valid.sum() == 1
  np.testing.assert_array_equal(found.pixels[0], [5, 6])
  assert found.strengths[0] == np.float32(0.8)
  window = np.exp((scores[3:8, 4:9].astype(np.float64) - 0.8) / 0.1)
  steps = np.arange(-2, 3)
  moves = [(window * steps[:, None]).sum(), (window * steps).sum()] / window.sum()
  np.testing.assert_allclose(found.positions[0], np.add([5, 6], moves), atol=1e-5)


def test_the_edge_has_no_key_points_and_the_rest_of_the_array_neither():
  scores = np.random.default_rng(3).random((30, 40), dtype=np.float32)
  alone = detect(scores[4:24, 6:30].copy(), 50)
  # Beyond the image scores are larger.
  around = np.ones_like(scores)
  around[4:24, 6:30] = scores[4:24, 6:30]
  found = detect(around, 50, origin=(4, 6), size=(20, 24))
  assert 5 < alone.valid.sum() < 50
  np.testing.assert_array_equal(found.valid, alone.valid)
  kept = alone.valid
  np.testing.assert_array_equal(found.pixels[kept], alone.pixels[kept] + [4, 6])
  np.testing.assert_allclose(found.positions[kept] - [4, 6], alone.positions[kept], atol=1e-5)
  pixels = alone.pixels[kept]
  assert np.all(pixels >= 2)
  assert np.all(pixels < [18, 22])


def test_a_flat_image_has_key_points_in_reading_order():
  found = detect(np.full((9, 8), 0.5, np.float32), 10)
  assert found.valid.all()
  expected = [(row, column) for row in range(2, 7) for column in range(2, 6)][:10]
  np.testing.assert_array_equal(found.pixels, expected)
  np.testing.assert_allclose(found.positions, expected, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 200))
def test_padding_repeats_the_edge_up_to_multiples_of_32_and_is_zero_beyond(height, width):
  image = np.random.default_rng(height).integers(1, 256, (height, width, 3), np.uint8)
  shape = prepare.padded_side(height), prepare.padded_side(width)
  padded = prepare.pad(image, shape)
  true = -(-height // 32) * 32, -(-width // 32) * 32
  assert padded.shape == (*shape, 3)
  assert all(side % 32 == 0 for side in shape)
  assert np.all(padded[: true[0], : true[1]] > 0)
  assert not padded[true[0] :].any()
  assert not padded[:, true[1] :].any()
  top, left = (true[0] - height) // 2, (true[1] - width) // 2
  np.testing.assert_array_equal(padded[top : top + height, left : left + width], image)
  np.testing.assert_array_equal(padded[0, 0], image[0, 0])
  np.testing.assert_array_equal(padded[true[0] - 1, true[1] - 1], image[-1, -1])
  sizes = jnp.array([[height, width]], jnp.int32)
  np.testing.assert_array_equal(padding.true_sizes(sizes), [true])
  np.testing.assert_array_equal(padding.origins(sizes), [[top, left]])


def test_sides_of_arrays_are_few_and_hardly_larger_than_needed():
  sides = [prepare.padded_side(side) for side in range(1, 1025)]
  assert len(set(sides)) == 10
  assert all(padded >= side for side, padded in enumerate(sides, start=1))
  # Of larger photographs, common shapes fit.
  for common in (1024, 768, 683, 576, 640, 480, 427, 360):
    assert prepare.padded_side(common) <= 1.15 * -(-common // 32) * 32

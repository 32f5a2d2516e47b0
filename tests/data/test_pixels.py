import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from l2g_jax.data import pixels
from l2g_jax.data.images import read_photograph
from l2g_jax.data.pixels import OUTLIERS, TRANSPARENT, WIDE, to_rgb

pytestmark = pytest.mark.fast


def one(mode, colour, **info):
  image = Image.new(mode, (1, 1), colour)
  image.info.update(info)
  return image


def palette(colours, transparency):
  image = Image.fromarray(np.arange(len(colours), dtype=np.uint8)[None], "P")
  image.putpalette(np.ravel(colours).tolist())
  if transparency is not None:
    image.info["transparency"] = transparency
  return image


def with_alpha(image, alpha):
  image.putalpha(alpha)
  assert image.mode == "PA"
  return image


@pytest.mark.parametrize(
  ("image", "expected"),
  [
    (one("1", 255), (255, 255, 255)),
    (one("L", 77), (77, 77, 77)),
    (one("RGB", (1, 2, 3)), (1, 2, 3)),
    (one("RGBX", (1, 2, 3, 0)), (1, 2, 3)),
    # The complement of each ink, times the complement of black.
    (one("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
    (one("CMYK", (0, 0, 0, 255)), (0, 0, 0)),
    (one("YCbCr", (90, 128, 128)), (90, 90, 90)),
    (one("HSV", (0, 255, 200)), (200, 0, 0)),
  ],
)
def test_eight_bit_colours_stay_as_they_are(image, expected):
  rgb, notes = to_rgb(image)
  np.testing.assert_array_equal(rgb, np.array(expected, np.uint8)[None, None], strict=True)
  assert not notes


def test_lab_is_converted_by_its_definition():
  # L* 50 is a luminance of 0.184, by sRGB's curve 0.466 or 119.
  rgb, _ = to_rgb(one("LAB", (round(0.5 * 255), 128, 128)))
  np.testing.assert_allclose(rgb[0, 0].astype(int), (119, 119, 119), atol=2)


@pytest.mark.parametrize(
  ("image", "expected"),
  [
    # c * a / 255 + 255 - a, rounded.
    (one("LA", (100, 51)), 224),
    (one("RGBA", (100, 100, 100, 51)), 224),
    (one("RGBA", (0, 0, 0, 0)), 255),
    (one("RGBA", (0, 0, 0, 254)), 1),
    # Values of these are multiplied by alpha already: 20 stands for 100.
    (one("La", (20, 51)), 224),
    (one("RGBa", (20, 20, 20, 51)), 224),
    (with_alpha(palette([(100, 100, 100)], None), 51), 224),
    (one("L", 9, transparency=9), 255),
    (one("1", 0, transparency=0), 255),
    (one("RGB", (9, 8, 7), transparency=(9, 8, 7)), 255),
    (one("I;16", 9, transparency=9), None),
  ],
)
def test_what_is_transparent_is_seen_on_white(image, expected):
  if expected is None:
    with pytest.raises(ValueError, match="no finite value"):
      to_rgb(image)
    return
  rgb, notes = to_rgb(image)
  np.testing.assert_array_equal(rgb, np.full((1, 1, 3), expected, np.uint8), strict=True)
  assert notes == {TRANSPARENT}


def test_a_colour_that_is_not_the_transparent_one_stays():
  rgb, notes = to_rgb(one("RGB", (9, 8, 6), transparency=(9, 8, 7)))
  np.testing.assert_array_equal(rgb[0, 0], (9, 8, 6))
  assert not notes


@pytest.mark.parametrize("transparency", [b"\x00\x33\xff", 0])
def test_palettes_may_be_transparent(transparency):
  rgb, notes = to_rgb(palette([(0, 0, 0), (100, 0, 50), (1, 2, 3)], transparency))
  mixed = (224, 204, 214) if isinstance(transparency, bytes) else (100, 0, 50)
  np.testing.assert_array_equal(rgb[0], [(255, 255, 255), mixed, (1, 2, 3)])
  assert notes == {TRANSPARENT}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "gif"])
def test_a_drawing_on_transparency_is_black_on_white(tmp_path, suffix):
  drawing = np.zeros((8, 8, 4), np.uint8)
  drawing[2:4, :, 3] = 255
  options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
  Image.fromarray(drawing).save(tmp_path / f"a.{suffix}", **options)
  photograph = read_photograph(tmp_path / f"a.{suffix}")
  np.testing.assert_array_equal(photograph.pixels, np.where(drawing[:, :, 3:], 0, 255).repeat(3, 2))
  assert photograph.notes == (TRANSPARENT,)


def test_erased_pixels_do_not_come_back(tmp_path):
  rng = np.random.default_rng(0)
  erased = rng.integers(0, 255, (8, 8, 4), np.uint8)
  erased[:, :, 3] = 0
  Image.fromarray(erased).save(tmp_path / "a.png")
  assert np.all(read_photograph(tmp_path / "a.png").pixels == 255)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16L", "I;16B"])
@pytest.mark.parametrize("high", [4095, 1023, 30000])
def test_integers_are_scaled_by_their_range(mode, high):
  low = 100 if high == 30000 else 0
  values = np.array([low, low + (high - low) // 3, high])
  image = Image.new(mode, (3, 1))
  for place, value in enumerate(values.tolist()):
    image.putpixel((place, 0), value)
  rgb, notes = to_rgb(image)
  np.testing.assert_array_equal(rgb[0, :, 0], [0, 255 * (values[1] - low) // (high - low), 255])
  assert notes == {WIDE}


@pytest.mark.parametrize(
  "values",
  [
    np.array([[0, 2048, 4095]], np.uint16),
    np.array([[-3000, 0, 3000]], np.int16),
    np.array([[0, 1_000_000, 2_000_000]], np.int32),
    np.array([[-7, 1, 9]], np.int32),
    np.array([[-1.0, 0.0, 1.0]], np.float32),
    np.array([[1e-20, 1.5e-20, 2e-20]], np.float32),
    np.array([[-3e38, 0.0, 3e38]], np.float32),
  ],
)
def test_wide_values_of_a_file_become_black_grey_and_white(tmp_path, values):
  Image.fromarray(values).save(tmp_path / "a.tif")
  rgb = read_photograph(tmp_path / "a.tif").pixels
  np.testing.assert_array_equal(rgb[0, [0, 2]], [[0] * 3, [255] * 3])
  assert 126 <= rgb[0, 1, 0] <= 128


def test_unsigned_values_of_32_bits_are_not_taken_for_negative_ones(tmp_path):
  values = np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32)
  image = Image.fromarray(values.view(np.int32))
  image.save(tmp_path / "a.tif")
  # Pillow writes signed values only: the tag of the sample format becomes 1.
  content = (tmp_path / "a.tif").read_bytes()
  entry = struct.pack("<HHIHH", 339, 3, 1, 2, 0)
  assert entry in content
  (tmp_path / "a.tif").write_bytes(content.replace(entry, struct.pack("<HHIHH", 339, 3, 1, 1, 0)))
  np.testing.assert_array_equal(read_photograph(tmp_path / "a.tif").pixels[0, :, 0], [0, 127, 255])


def test_what_is_not_finite_does_not_count():
  values = np.array([[np.nan, -np.inf, np.inf, 10.0, 30.0, 15.0]], np.float32)
  rgb, notes = to_rgb(Image.fromarray(values))
  np.testing.assert_array_equal(rgb[0, :, 1], [255, 0, 255, 0, 255, 63])
  assert notes == {WIDE, TRANSPARENT}
  with pytest.raises(ValueError, match="no finite value"):
    to_rgb(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


@pytest.mark.parametrize(
  ("values", "expected"),
  [
    (np.full((2, 2), 0, np.uint16), 0),
    (np.full((2, 2), 32768, np.uint16), 127),
    (np.full((2, 2), 65535, np.uint16), 255),
    (np.full((2, 2), 1 << 20, np.int32), 255),
    (np.full((2, 2), -5, np.int32), 0),
    (np.full((2, 2), 0.5, np.float32), 127),
    (np.full((2, 2), 7.0, np.float32), 255),
  ],
)
def test_constant_values_keep_their_place_in_the_range_of_their_type(values, expected):
  rgb, _ = to_rgb(Image.fromarray(values))
  assert np.all(rgb == expected)


def test_every_grey_of_8_bits_survives_16():
  greys = np.arange(256, dtype=np.uint16)[None]
  rgb, _ = to_rgb(Image.fromarray(greys * 257))
  np.testing.assert_array_equal(rgb[0, :, 0], greys[0])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I", "I;16", "I;16B", "F", "LA", "1"])
def test_parts_make_the_same_pixels_as_the_whole(monkeypatch, mode):
  rng = np.random.default_rng(0)
  grey = Image.fromarray(rng.integers(0, 256, (13, 7), np.uint8))
  image = grey.convert("I").convert("I;16").convert(mode) if mode == "I;16B" else grey.convert(mode)
  whole, notes = to_rgb(image)
  monkeypatch.setattr(pixels, "BAND_PIXELS", 21)
  rgb, part_notes = to_rgb(image)
  np.testing.assert_array_equal(rgb, whole)
  assert part_notes == notes
  reduced, _ = to_rgb(image, reduction=2)
  assert reduced.shape == (7, 4, 3)
  blocks = whole[:12, :6].reshape(6, 2, 3, 2, 3).astype(float).mean(axis=(1, 3))
  np.testing.assert_allclose(reduced[:6, :3], blocks, atol=0.51)


def test_adobes_inverted_inks_are_turned_round(tmp_path):
  paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
  paper.save(tmp_path / "a.jpg", quality=95)
  assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
  assert read_photograph(tmp_path / "a.jpg").pixels.min() >= 250


# Four greys of 12 bits, the third twice as red as the others.
_COLOURS = np.array([[[0, 0, 0], [1365, 1365, 1365], [4095, 2730, 2730], [2730, 0, 0]]], np.uint16)
_SHOWN = [[[0, 0, 0], [85, 85, 85], [255, 170, 170], [170, 0, 0]]]


@pytest.mark.parametrize("ending", [".png", ".tif", ".ppm"])
def test_colours_of_12_bits_in_16_are_scaled_by_their_range(tmp_path, ending):
  path = tmp_path / f"wide{ending}"
  cv2.imwrite(str(path), _COLOURS[:, :, ::-1])
  read = read_photograph(path)
  np.testing.assert_array_equal(read.pixels, _SHOWN)
  assert read.notes == (WIDE,)


def test_transparent_parts_of_wide_colours_are_white_and_of_no_account(tmp_path):
  alpha = np.array([[65535, 65535, 65535, 32768]], np.uint16)
  hidden = np.full((1, 1, 4), [65535, 65535, 65535, 0], np.uint16)
  values = np.concatenate([np.dstack([_COLOURS[:, :, ::-1], alpha]), hidden], axis=1)
  cv2.imwrite(str(tmp_path / "wide.png"), values)
  read = read_photograph(tmp_path / "wide.png")
  np.testing.assert_array_equal(read.pixels[:, :3], np.array(_SHOWN)[:, :3])
  # 127 of 255 of (170, 0, 0), the rest white.
  np.testing.assert_array_equal(read.pixels[0, 3:], [[213, 128, 128], [255, 255, 255]])
  assert read.notes == (TRANSPARENT, WIDE)


def test_wide_colours_of_the_whole_range_are_nearly_their_upper_8_bits(tmp_path):
  values = np.random.default_rng(0).integers(0, 65536, (40, 30, 3)).astype(np.uint16)
  values[0, 0], values[0, 1] = 0, 65535
  cv2.imwrite(str(tmp_path / "wide.png"), values[:, :, ::-1])
  pixels = read_photograph(tmp_path / "wide.png").pixels
  np.testing.assert_allclose(pixels, values >> 8, atol=1)
  np.testing.assert_array_equal(pixels[0, :2], [[0, 0, 0], [255, 255, 255]])


def ramp(low: float, high: float, dtype: type, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
  return np.linspace(low, high, shape[0] * shape[1]).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
  ("dtype", "low", "high", "hot", "dead"),
  [
    (np.uint16, 20000, 20500, 65535, 0),
    (np.int32, -300, 800, 1 << 30, -(1 << 30)),
    (np.float32, 0.0, 1.0, 1e9, -3e38),
  ],
)
@pytest.mark.parametrize("shape", [(40, 50), (10, 10)])
def test_hot_and_dead_pixels_do_not_change_the_others(tmp_path, dtype, low, high, hot, dead, shape):
  clean = ramp(low, high, dtype, shape)
  expected, _ = to_rgb(Image.fromarray(clean))
  spoilt = clean.copy()
  spoilt[3, 4], spoilt[5, 6] = hot, dead
  expected[3, 4], expected[5, 6] = 255, 0
  Image.fromarray(spoilt).save(tmp_path / "a.tif")
  photograph = read_photograph(tmp_path / "a.tif")
  np.testing.assert_array_equal(photograph.pixels, expected)
  assert photograph.notes == tuple(sorted([OUTLIERS, WIDE]))


@pytest.mark.parametrize("shape", [(40, 50), (10, 10)])
def test_a_hot_pixel_does_not_darken_wide_colours(tmp_path, shape):
  clean = np.dstack([ramp(100, 1100, np.uint16, shape)] * 3)
  spoilt = clean.copy()
  spoilt[3, 4] = 65535
  for name, values in (("clean", clean), ("spoilt", spoilt)):
    cv2.imwrite(str(tmp_path / f"{name}.png"), values)
  expected = read_photograph(tmp_path / "clean.png").pixels.copy()
  expected[3, 4] = 255
  photograph = read_photograph(tmp_path / "spoilt.png")
  np.testing.assert_array_equal(photograph.pixels, expected)
  assert photograph.notes == tuple(sorted([OUTLIERS, WIDE]))


def _with(values: np.ndarray, changes: dict[tuple[int, int], float]) -> np.ndarray:
  for position, value in changes.items():
    values[position] = value
  return values


@pytest.mark.parametrize(
  "values",
  [
    # Less than ten times the range of the others is no outlier.
    _with(ramp(0, 1000, np.uint16), {(0, 1): 9900}),
    # Three of 2000 pixels are more than one in a thousand.
    _with(ramp(0, 100, np.uint16), {(0, i): 60000 for i in range(3)}),
    # A single pixel of few may be what the image shows.
    _with(ramp(0, 10, np.uint16, (9, 11)), {(4, 4): 60000}),
    # The others have no range of their own.
    _with(np.zeros((40, 50), np.uint16), {(4, 4): 60000}),
  ],
)
def test_values_that_are_no_outliers_keep_the_whole_range(values):
  low, high = int(values.min()), int(values.max())
  rgb, notes = to_rgb(Image.fromarray(values))
  np.testing.assert_array_equal(rgb[:, :, 0], (values.astype(int) - low) * 255 // (high - low))
  assert notes == {WIDE}


def test_outliers_are_found_across_the_parts_of_an_image(monkeypatch):
  values = ramp(0, 1000, np.uint16)
  values[[2, 39], [2, 2]] = 60000
  whole, notes = to_rgb(Image.fromarray(values))
  assert OUTLIERS in notes
  monkeypatch.setattr(pixels, "BAND_PIXELS", 150)
  rgb, part_notes = to_rgb(Image.fromarray(values))
  np.testing.assert_array_equal(rgb, whole)
  assert part_notes == notes


def test_outliers_are_counted_among_pixels_that_have_a_value():
  values = np.full((100, 100), np.nan, np.float32)
  values[0, :3] = 0.0, 1.0, 1000.0
  rgb, notes = to_rgb(Image.fromarray(values))
  np.testing.assert_array_equal(rgb[0, :4, 0], [0, 0, 255, 255])
  assert notes == {WIDE, TRANSPARENT}

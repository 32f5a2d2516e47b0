import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from l2g_jax.data import decoding, images
from l2g_jax.data.images import CUT_SHORT, REDUCED, crop_photograph, read_image, read_photograph
from l2g_jax.errors import InputError

ORIENTATION = 0x0112


def smooth(height=64, width=96):
  rows, columns = np.mgrid[:height, :width]
  return np.stack([3 * rows, 2 * columns, rows + columns], axis=2).astype(np.uint8)


def noise(height=64, width=96):
  return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image, format, **options):
  file = io.BytesIO()
  Image.fromarray(image).save(file, format, **options)
  return file.getvalue()


def chunk(kind, data, checksum=None):
  checksum = zlib.crc32(kind + data) if checksum is None else checksum
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


@pytest.fixture
def small_limits(monkeypatch):
  """Limits at which tests need no large images: whole up to 1000 pixels, 96 x 64 for JPEGs only."""
  monkeypatch.setattr(decoding, "MAX_WHOLE_PIXELS", 1000)
  monkeypatch.setattr(decoding, "MAX_PIXELS", 6143)
  monkeypatch.setattr(decoding, "MAX_PIXELS_OF_JPEGS", 6144)


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_without_its_last_bytes_is_read(tmp_path, missing, options):
  content = encoded(smooth(), "JPEG", quality=90, **options)
  (tmp_path / "whole.jpg").write_bytes(content)
  (tmp_path / "cut.jpg").write_bytes(content[:-missing])
  whole, cut = (read_photograph(tmp_path / f"{name}.jpg") for name in ("whole", "cut"))
  if missing < 3:
    np.testing.assert_array_equal(cut.pixels, whole.pixels)
  assert cut.pixels.shape == whole.pixels.shape
  assert (whole.notes, cut.notes) == ((), (CUT_SHORT,))


@pytest.mark.parametrize(
  ("format", "options"),
  [("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("BMP", {}), ("PPM", {}), ("GIF", {}), ("TGA", {})],
)
def test_nine_tenths_of_the_pixels_are_needed(tmp_path, format, options):
  ending = {"JPEG": "jpg", "TIFF": "tif"}.get(format, format.lower())
  path = tmp_path / f"a.{ending}"
  content = encoded(noise(640, 96), format, **options)
  path.write_bytes(content)
  whole = read_image(path)
  path.write_bytes(content[: int(0.96 * len(content))])
  photograph = read_photograph(path)
  assert photograph.notes == (CUT_SHORT,)
  rows = slice(70, None) if format in ("BMP", "TGA") else slice(0, 570)
  np.testing.assert_array_equal(photograph.pixels[rows], whole[rows])
  path.write_bytes(content[: int(0.85 * len(content))])
  with pytest.raises(InputError, match=r"8\d% of its pixels can be decoded, 90% are needed"):
    read_image(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_progressive_jpeg_needs_all_its_scans(tmp_path, share):
  content = encoded(noise(), "JPEG", progressive=True)
  (tmp_path / "a.jpg").write_bytes(content[: int(share * len(content))])
  with pytest.raises(InputError, match=r"a\.jpg is truncated or damaged: (it lacks its last|\d+%)"):
    read_image(tmp_path / "a.jpg")


def test_a_grey_end_of_a_jpeg_is_no_missing_one(tmp_path):
  image = smooth()
  image[20:] = 128
  (tmp_path / "a.jpg").write_bytes(encoded(image, "JPEG")[:-2])
  assert read_photograph(tmp_path / "a.jpg").notes == (CUT_SHORT,)


def test_a_damaged_chunk_that_is_not_needed_does_not_cost_a_png(tmp_path):
  content = encoded(noise(), "PNG")
  damaged = content[:33] + chunk(b"tEXt", b"Title\0x", checksum=0) + content[33:]
  (tmp_path / "a.png").write_bytes(damaged)
  photograph = read_photograph(tmp_path / "a.png")
  np.testing.assert_array_equal(photograph.pixels, noise())
  assert photograph.notes == (CUT_SHORT,)


def test_a_wrong_checksum_of_the_pixels_does_not_cost_a_png(tmp_path):
  raw = b"".join(b"\0" + row.tobytes() for row in noise())
  header = struct.pack(">IIBBBBB", 96, 64, 8, 2, 0, 0, 0)
  data = zlib.compress(raw)[:-4] + b"\0\0\0\0"
  content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)
  (tmp_path / "a.png").write_bytes(content + chunk(b"IEND", b""))
  photograph = read_photograph(tmp_path / "a.png")
  assert photograph.notes == (CUT_SHORT,)
  # Pillow holds back the row at whose end the checksum fails.
  np.testing.assert_array_equal(photograph.pixels[:-1], noise()[:-1])
  # The header is needed.
  broken = bytearray(content + chunk(b"IEND", b""))
  broken[29] ^= 1
  (tmp_path / "a.png").write_bytes(broken)
  with pytest.raises(InputError, match="not an image that can be read"):
    read_image(tmp_path / "a.png")


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_large_jpegs_are_read_at_a_reduced_size(tmp_path, orientation):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  content = encoded(smooth(), "JPEG", quality=95, subsampling=0, exif=exif)
  (tmp_path / "a.jpg").write_bytes(content)
  photograph = read_photograph(tmp_path / "a.jpg")
  turned = Image.open(tmp_path / "a.jpg")
  turns = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
  }
  whole = np.asarray(turned.transpose(turns[orientation]) if orientation > 1 else turned)
  # 64 x 96 / 4 / 4 = 384 pixels; half of each side would leave 1536.
  assert photograph.reduction == 4
  assert photograph.notes == (REDUCED,)
  assert photograph.size == whole.shape[:2]
  assert photograph.pixels.shape[:2] == tuple(side // 4 for side in photograph.size)
  left, top, right, bottom = 16, 24, 48, 60
  crop = crop_photograph(photograph, (left, top, right, bottom))
  expected = whole[top:bottom, left:right].reshape(9, 4, 8, 4, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(crop, expected, atol=4)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_other_large_images_are_averaged(tmp_path, suffix):
  image = smooth(63, 90)
  options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
  Image.fromarray(image).save(tmp_path / f"a.{suffix}", **options)
  photograph = read_photograph(tmp_path / f"a.{suffix}")
  # Of 63 x 90 / 3 / 3 = 630 pixels.
  assert photograph.reduction == 3
  expected = image.reshape(21, 3, 30, 3, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(photograph.pixels, expected, atol=0.51)


@pytest.mark.usefixtures("small_limits")
def test_a_large_jpeg_that_is_cut_short_is_read_too(tmp_path):
  (tmp_path / "a.jpg").write_bytes(encoded(smooth(), "JPEG")[:-2])
  photograph = read_photograph(tmp_path / "a.jpg")
  assert photograph.notes == tuple(sorted((CUT_SHORT, REDUCED)))
  assert photograph.pixels.shape == (16, 24, 3)


@pytest.mark.usefixtures("small_limits")
def test_beyond_the_limits_a_sentence_says_what_to_do(tmp_path):
  sizes = {"a.png": (64, 96), "a.jpg": (65, 96)}
  for name, (height, width) in sizes.items():
    Image.fromarray(smooth(height, width)).save(tmp_path / name)
    with pytest.raises(
      InputError, match=rf"too large .* {width} x {height} pixels, at most 0 mega"
    ):
      read_image(tmp_path / name)
  # A progressive one is held as a whole.
  Image.fromarray(smooth()).save(tmp_path / "a.jpg", progressive=True)
  with pytest.raises(InputError, match="too large to be decoded safely"):
    read_image(tmp_path / "a.jpg")


def test_an_image_of_100_megapixels_is_read_as_it_is_on_phones(tmp_path):
  # 12000 x 9000, as quick to decode as possible.
  Image.new("L", (12000, 9000), 77).save(tmp_path / "a.jpg")
  photograph = read_photograph(tmp_path / "a.jpg")
  assert photograph.size == (9000, 12000)
  assert photograph.pixels.shape == (4500, 6000, 3)
  assert np.all(photograph.pixels == 77)


@pytest.mark.parametrize(
  ("box", "part"),
  [
    ((0.0, 0.0, 10.0, 7.0), np.s_[0:4, 0:5]),
    # Every pixel that shows some of the box.
    ((3.0, 3.0, 4.0, 4.0), np.s_[1:2, 1:2]),
    ((1.0, 2.0, 6.0, 5.0), np.s_[1:3, 0:3]),
    ((8.0, 6.0, 99.0, 99.0), np.s_[3:4, 4:5]),
  ],
)
def test_boxes_count_in_pixels_of_the_file(box, part):
  pixels = noise(4, 5)
  photograph = images.Photograph(pixels, (7, 9), 2, ())
  np.testing.assert_array_equal(crop_photograph(photograph, box), pixels[part])
  with pytest.raises(InputError, match="outside its image of 9 x 7 pixels"):
    crop_photograph(photograph, (9.0, 0.0, 20.0, 5.0))


def test_no_more_is_asked_of_a_file_than_it_has(tmp_path):
  path = tmp_path / "a.png"
  path.write_bytes(b"0123456789")
  with decoding.SizedFile(path) as file:
    assert [file.read(4), file.read(1 << 62), file.read(1 << 62)] == [b"0123", b"456789", b""]
    file.seek(100)
    assert file.read(1 << 62) == file.read() == b""
    file.seek(8)
    assert file.read() == b"89"


def test_a_chunk_that_claims_more_than_the_file_has_costs_no_memory(tmp_path):
  content = encoded(smooth(), "PNG")
  length = content.index(b"IDAT") - 4
  # The longest that Python could be asked for: not even virtual memory would do.
  path = tmp_path / "a.png"
  path.write_bytes(content[:length] + b"\xff\xff\xff\xff" + content[length + 4 :])
  tracemalloc.start()
  try:
    photograph = read_photograph(path)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  np.testing.assert_array_equal(photograph.pixels, smooth())
  assert peak < 1 << 24


def test_a_damaged_file_of_far_more_pixels_than_bytes_is_refused_before_it_is_decoded(tmp_path):
  header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
  content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\x78\x9c\x63")
  (tmp_path / "a.png").write_bytes(content)
  with pytest.raises(InputError, match=r"9000 x 9000 pixels in \d\d bytes are no photograph"):
    read_image(tmp_path / "a.png")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no decoder of AVIF")
@pytest.mark.parametrize("part", [b"iloc", b"mdat"])
def test_a_damaged_avif_is_refused_in_a_sentence(tmp_path, part):
  path = tmp_path / "a.avif"
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
  content = bytearray(path.read_bytes())
  start = content.index(part)
  # The name of the box that says where the picture is; the first bytes of the picture.
  damaged = slice(start, start + 4) if part == b"iloc" else slice(start + 4, start + 300)
  content[damaged] = b"x" * (damaged.stop - damaged.start)
  path.write_bytes(content)
  with pytest.raises(InputError, match=r"a\.avif is truncated or damaged"):
    read_image(path)

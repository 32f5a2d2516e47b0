import pathlib
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from l2g_jax.data.images import (
  CUT_SHORT,
  FIRST_OF_SEVERAL,
  count_notes,
  crop_to_box,
  list_images,
  read_image,
  read_photograph,
  read_size,
)
from l2g_jax.errors import InputError
from tests.golden.files import load_golden, load_image

ORIENTATION = 0x0112


def noise(height=24, width=32, *, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height=24, width=32):
  rows, columns = np.mgrid[:height, :width]
  return np.stack([4 * rows, 4 * columns, rows + columns], axis=2).astype(np.uint8)


def save(path, image, mode=None, **options):
  picture = Image.fromarray(image)
  (picture if mode is None else picture.convert(mode)).save(path, **options)
  return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_pixels_of_lossless_formats_are_exact(tmp_path, suffix):
  options = {"lossless": True} if suffix == "webp" else {}
  path = save(tmp_path / f"a.{suffix}", noise(), **options)
  np.testing.assert_array_equal(read_image(path), noise(), strict=True)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_jpegs_are_close_and_red_comes_first(tmp_path, mode):
  path = save(tmp_path / "a.jpg", smooth(), mode, quality=95, subsampling=0)
  image = read_image(path)
  assert image.dtype == np.uint8
  np.testing.assert_allclose(image.astype(int), smooth(), atol=8)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_grey_becomes_three_equal_channels(tmp_path, suffix):
  grey = smooth()[:, :, 0]
  image = read_image(save(tmp_path / f"a.{suffix}", grey))
  assert image.shape == (24, 32, 3)
  np.testing.assert_allclose(image.astype(int), grey[:, :, None].repeat(3, axis=2), atol=4)


def test_one_bit_becomes_black_and_white(tmp_path):
  path = save(tmp_path / "a.png", np.array([[0, 255], [255, 0]], np.uint8), "1")
  np.testing.assert_array_equal(read_image(path)[:, :, 0], [[0, 255], [255, 0]])


def test_palettes_give_their_colours(tmp_path):
  picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
  colours = [255, 0, 0, 0, 128, 0, 1, 2, 3]
  picture.putpalette(colours)
  for name in ("a.png", "a.gif"):
    picture.save(tmp_path / name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image, np.reshape(colours, (3, 3))[[[0, 1], [2, 1]]])


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
  values = np.array([[0, 256, 32768], [257, 65280, 65535]], np.uint16)
  for name in ("a.png", "a.tif"):
    image = read_image(save(tmp_path / name, values))
    np.testing.assert_array_equal(image[:, :, 1], [[0, 0, 127], [1, 254, 255]])


def test_floats_are_scaled_by_their_range(tmp_path):
  share = np.array([[0.0, 0.5, 1.0]], np.float32)
  for factor in (1, 200):
    image = read_image(save(tmp_path / "a.tif", factor * share))
    np.testing.assert_array_equal(image[:, :, 2], [[0, 127, 255]])


def stored(image, orientation):
  """What a camera stores of an image, by the EXIF standard's table of first row and column."""
  return {
    1: image,
    2: image[:, ::-1],
    3: image[::-1, ::-1],
    4: image[::-1],
    5: image.swapaxes(0, 1),
    6: image[:, ::-1].swapaxes(0, 1),
    7: image[::-1, ::-1].swapaxes(0, 1),
    8: image[::-1].swapaxes(0, 1),
  }[orientation]


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(tmp_path, orientation, suffix):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  pixels = np.ascontiguousarray(stored(noise(), orientation))
  options = {"lossless": True} if suffix == "webp" else {}
  path = save(tmp_path / f"a.{suffix}", pixels, exif=exif, **options)
  np.testing.assert_array_equal(read_image(path), noise())
  np.testing.assert_array_equal(read_image(path, apply_exif=False), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_turned_pixels(tmp_path, orientation, suffix):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  path = save(tmp_path / f"a.{suffix}", noise(20, 60), exif=exif)
  assert read_size(path) == read_photograph(path).size


def test_sizes_of_what_is_no_image_are_refused(tmp_path):
  (tmp_path / "a.jpg").write_bytes(b"no image")
  for name in ("a.jpg", "none.jpg"):
    with pytest.raises(InputError, match=name):
      read_size(tmp_path / name)


def test_jpegs_of_cameras_are_turned(tmp_path):
  exif = Image.Exif()
  exif[ORIENTATION] = 6
  path = save(tmp_path / "a.jpg", smooth(20, 60), quality=95, exif=exif)
  image = read_image(path)
  assert image.shape == (60, 20, 3)
  np.testing.assert_allclose(image[0, :, 0].astype(int), 4 * np.arange(20)[::-1], atol=8)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
  "exif",
  [
    b"Exif\0\0no exif at all",
    b"Exif\0\0MM\0*\0\0\0\x08\0\x04\x01",
    b"Exif\0\0MM\0*\0\0\0",
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
  ],
)
def test_damaged_exif_does_not_cost_the_pixels(tmp_path, suffix, exif):
  options = {"quality": 95} if suffix == "jpg" else {"lossless": True}
  path = save(tmp_path / f"a.{suffix}", smooth(), exif=exif, **options)
  np.testing.assert_allclose(read_image(path).astype(int), smooth(), atol=8)


def test_missing_and_empty_files_are_named(tmp_path):
  with pytest.raises(InputError, match=r"no image at .*a\.jpg"):
    read_image(tmp_path / "a.jpg")
  (tmp_path / "a.jpg").touch()
  with pytest.raises(InputError, match=r"a\.jpg is an empty file"):
    read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("content", [b"\0", b"hello, world", b"%PDF-1.7\n", bytes(5000)])
def test_other_files_are_no_images(tmp_path, content):
  (tmp_path / "a.jpg").write_bytes(content)
  with pytest.raises(InputError, match=r"a\.jpg is not an image that can be read"):
    read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_images_are_refused(tmp_path, suffix, share):
  path = save(tmp_path / f"a.{suffix}", noise(64, 64))
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  with pytest.raises(InputError, match=rf"a\.{suffix} is (truncated or damaged|not an image)"):
    read_image(path)


@given(st.integers(0, 10_000), st.sampled_from(["jpg", "png", "tif", "webp", "bmp"]))
def test_damage_is_refused_or_harmless(tmp_path_factory, seed, suffix):
  exif = Image.Exif()
  exif[ORIENTATION] = 6
  options = {} if suffix == "bmp" else {"exif": exif}
  path = save(tmp_path_factory.mktemp("damage") / f"a.{suffix}", noise(), **options)
  rng = np.random.default_rng(seed)
  content = bytearray(path.read_bytes())
  for place in rng.integers(0, min(250, len(content)), 3):
    content[place] = rng.integers(0, 256)
  path.write_bytes(content)
  try:
    image = read_image(path)
  except InputError:
    return
  assert image.ndim == 3
  assert image.dtype == np.uint8


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused(tmp_path, side):
  def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

  header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
  content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
  (tmp_path / "a.png").write_bytes(content + chunk(b"IEND", b""))
  with pytest.raises(InputError, match=r"a\.png is too large to be decoded safely"):
    read_image(tmp_path / "a.png")


def test_folders_and_files_without_permission_are_told_as_such(tmp_path, monkeypatch):
  (tmp_path / "folder.jpg").mkdir()
  with pytest.raises(InputError, match=r"folder\.jpg is a folder or a device, not an image"):
    read_image(tmp_path / "folder.jpg")
  save(tmp_path / "a.png", noise())

  def refuse(*args, **kwargs):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("builtins.open", refuse)
  with pytest.raises(InputError, match=r"a\.png can't be read: Permission denied\.$"):
    read_image(tmp_path / "a.png")


def test_a_disk_that_fails_is_no_damaged_image(tmp_path, monkeypatch):
  save(tmp_path / "a.png", noise())

  def fail(*args, **kwargs):
    raise OSError(5, "Input/output error")

  monkeypatch.setattr("l2g_jax.data.decoding.open_image", fail)
  with pytest.raises(InputError, match=r"a\.png can't be read: Input/output error\.$"):
    read_image(tmp_path / "a.png")


def test_a_file_that_vanished_is_missing(tmp_path, monkeypatch):
  path = save(tmp_path / "a.png", noise())
  stat = pathlib.Path.stat

  def vanish(self, **options):
    status = stat(self, **options)
    path.unlink(missing_ok=True)
    return status

  monkeypatch.setattr(pathlib.Path, "stat", vanish)
  with pytest.raises(InputError, match=r"There is no image at .*a\.png\.$"):
    read_image(path)


def test_the_first_of_several_pictures_is_read(tmp_path):
  first, second = (Image.fromarray(noise(seed=seed)) for seed in (0, 1))
  cases: list[tuple[str, dict[str, Any]]] = [
    ("a.tif", {}),
    ("a.png", {}),
    ("a.webp", {"lossless": True}),
  ]
  for name, options in cases:
    first.save(tmp_path / name, save_all=True, append_images=[second], **options)
    photograph = read_photograph(tmp_path / name)
    np.testing.assert_array_equal(photograph.pixels, noise())
    assert photograph.notes == (FIRST_OF_SEVERAL,)


def test_notes_are_counted_and_name_the_first_images():
  notes = {f"image {i}": (CUT_SHORT,) for i in range(4)} | {"b\n": (FIRST_OF_SEVERAL,)}
  assert count_notes(notes) == [
    f"4 images: {CUT_SHORT} (image 0, image 1, image 2, ...).",
    f"1 image: {FIRST_OF_SEVERAL} (b\\n).",
  ]


@pytest.mark.parametrize(
  ("policy", "left", "top", "right", "bottom"),
  [
    ("truncate", 2, 1, 7, 5),
    ("round", 2, 2, 8, 6),
    # One-based 4 .. 9 and 3 .. 7, both included.
    ("inclusive", 3, 2, 9, 7),
    ("none", 0, 0, 32, 24),
  ],
)
def test_boxes_by_hand(policy, left, top, right, bottom):
  image = noise()
  crop = crop_to_box(image, (2.5, 1.6, 7.6, 5.9), policy=policy)
  np.testing.assert_array_equal(crop, noise()[top:bottom, left:right])
  assert np.shares_memory(crop, image)


@pytest.mark.parametrize(
  ("policy", "box", "part"),
  [
    ("truncate", (-5.0, -0.9, 4.0, 3.0), np.s_[:3, :4]),
    ("truncate", (30.2, 20.0, 99.0, 99.0), np.s_[20:, 30:]),
    ("round", (-5.0, -0.9, 4.0, 3.0), np.s_[:3, :4]),
    ("inclusive", (-5.0, -0.9, 4.0, 3.0), np.s_[:4, :5]),
    ("inclusive", (0.0, 0.0, 31.0, 23.0), np.s_[:, :]),
    ("truncate", (0.0, 0.0, 32.0, 24.0), np.s_[:, :]),
  ],
)
def test_boxes_are_cut_at_the_border(policy, box, part):
  np.testing.assert_array_equal(crop_to_box(noise(), box, policy=policy), noise()[part])


@pytest.mark.parametrize("policy", ["truncate", "round", "inclusive"])
@pytest.mark.parametrize("box", [(40, 0, 50, 9), (-9, -9, -4, -4), (0, 24, 9, 30), (9, 5, 3, 8)])
def test_boxes_outside_their_image_are_refused(policy, box):
  with pytest.raises(InputError, match=r"lies outside its image of 32 x 24 pixels"):
    crop_to_box(noise(), box, policy=policy)


def test_boxes_and_policies_that_make_no_sense_are_refused():
  with pytest.raises(InputError, match=r"Box \[0, nan, 9, inf\] is not finite"):
    crop_to_box(noise(), (0, np.nan, 9, np.inf))
  with pytest.raises(InputError, match=r"policy must be .*inclusive.*, not 'exclusive'"):
    crop_to_box(noise(), (0, 0, 9, 9), policy="exclusive")  # pyright: ignore[reportArgumentType]


def test_crops_equal_the_public_implementations():
  image, golden = load_image("preproc"), load_golden("preproc")
  box = tuple(golden["bbx"])
  rounded, truncated = (crop_to_box(image, box, policy=name) for name in ("round", "truncate"))
  # The golden file has every ninth row and column.
  np.testing.assert_array_equal(rounded.shape, golden["cirtorch.imsize1024.query.shape"])
  np.testing.assert_array_equal(rounded[::9, ::9], golden["cirtorch.imsize1024.query"])
  np.testing.assert_array_equal(truncated.shape, golden["superglobal.query.shape"])
  # SuperGlobal's input is BGR, normalised.
  mean, deviation = np.array([0.406, 0.456, 0.485]), np.array([0.225, 0.224, 0.229])
  pixels = golden["superglobal.query"] * deviation + mean
  np.testing.assert_allclose(truncated[::9, ::9], 255 * pixels[:, :, ::-1], atol=1e-3)


def test_images_of_a_folder_are_listed_by_name(tmp_path):
  for name in ("b.JPG", "a.c.png", "sub/z.tiff", "B.webp", "notes.txt", ".hidden.png", ".x/a.png"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  (tmp_path / "folder.png").mkdir()
  # Whoever reads it says that it leads nowhere.
  (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
  names, paths = list_images(tmp_path)
  assert names == ("B", "a.c", "b", "link", "sub/z")
  assert [path.name for path in paths] == ["B.webp", "a.c.png", "b.JPG", "link.png", "z.tiff"]


def test_folders_that_can_not_be_listed_are_refused(tmp_path):
  with pytest.raises(InputError, match="no folder"):
    list_images(tmp_path / "absent")
  with pytest.raises(InputError, match="holds no image that can be read"):
    list_images(tmp_path)


def test_a_kind_that_can_not_be_read_is_named_with_what_to_do(tmp_path):
  (tmp_path / "a.NEF").write_bytes(b"camera")
  told = r"a\.NEF is not .* read: it is in a camera's raw format \(export them as JPEG\)\.$"
  with pytest.raises(InputError, match=told):
    read_image(tmp_path / "a.NEF")

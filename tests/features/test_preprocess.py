import cv2
import numpy as np
import pytest
from PIL import Image

from l2g_jax.data.images import crop_to_box, read_image
from l2g_jax.features import preprocess
from l2g_jax.features.preprocess import FIRE_READING, SUPERGLOBAL_READING
from tests.golden.files import load_golden, load_image

pytestmark = pytest.mark.fast

MEAN = np.array([0.485, 0.456, 0.406])
DEVIATION = np.array([0.229, 0.224, 0.225])


def query(reading):
  return crop_to_box(
    load_image("preproc"), tuple(load_golden("preproc")["bbx"]), policy=reading.crop_policy
  )


def check_equal(values, name):
  """The golden file has every ninth row and column."""
  golden = load_golden("preproc")
  np.testing.assert_array_equal(values.shape, golden[f"{name}.shape"])
  np.testing.assert_array_equal(values[::9, ::9], golden[name], strict=True)


def test_superglobal_is_given_the_same_as_by_the_public_implementation():
  check_equal(preprocess.superglobal_input(load_image("preproc")), "superglobal.db")
  check_equal(preprocess.superglobal_input(query(SUPERGLOBAL_READING)), "superglobal.query")


@pytest.mark.parametrize("side", [1024, 200])
def test_fire_is_given_the_same_as_by_the_public_implementation(side):
  image, crop = load_image("preproc"), query(FIRE_READING)
  check_equal(preprocess.fire_thumbnail(image, max_side=side), f"cirtorch.imsize{side}.db")
  limit = preprocess.fire_query_side(crop.shape[:2], image.shape[:2], max_side=side)
  check_equal(preprocess.fire_thumbnail(crop, max_side=limit), f"cirtorch.imsize{side}.query")


@pytest.mark.parametrize(("number", "scale"), [(0, 0.7071), (1, 1.0), (2, 1.4142)])
def test_ames_is_given_the_same_as_by_the_public_implementation(number, scale):
  values = preprocess.ames_cvnet_input(load_image("preproc"), scale=scale)
  check_equal(values, f"ames.cvnet.{number}")
  check_equal(preprocess.ames_dinov2_input(load_image("preproc")), "ames.dinov2.0")


def test_colours_have_their_own_statistics():
  image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
  expected = (image / 255 - MEAN) / DEVIATION
  np.testing.assert_allclose(preprocess.fire_input(image), expected, atol=1e-6)
  np.testing.assert_allclose(preprocess.superglobal_input(image), expected[..., ::-1], atol=1e-6)
  for values in (preprocess.fire_input(image), preprocess.superglobal_input(image)):
    assert values.dtype == np.float32
    assert values.flags.c_contiguous


def test_readings_turn_and_crop_as_their_references(tmp_path):
  pixels = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
  exif = Image.Exif()
  exif[274] = 6
  path = tmp_path / "turned.png"
  Image.fromarray(pixels).save(path, exif=exif)
  as_opencv = cv2.imread(str(path))
  assert as_opencv is not None
  as_opencv = as_opencv[:, :, ::-1]
  assert as_opencv.shape == (9, 6, 3)
  for reading, expected in ((SUPERGLOBAL_READING, as_opencv), (FIRE_READING, pixels)):
    np.testing.assert_array_equal(read_image(path, apply_exif=reading.apply_exif), expected)
  box = (0.6, 1.5, 4.7, 5.2)
  as_pillow = Image.fromarray(pixels).crop(box)
  crop = crop_to_box(pixels, box, policy=FIRE_READING.crop_policy)
  np.testing.assert_array_equal(crop, as_pillow)
  crop = crop_to_box(pixels, box, policy=SUPERGLOBAL_READING.crop_policy)
  np.testing.assert_array_equal(crop, pixels[1:5, 0:4])


@pytest.mark.parametrize(
  ("shape", "side", "expected"),
  [
    ((40, 60), 30.0, (20, 30)),
    ((60, 40), 30.9, (30, 20)),
    ((40, 60), 60.0, (40, 60)),
    ((1, 500), 50.0, (1, 50)),
    ((3, 4), 1024.0, (3, 4)),
    ((3, 4), 0.4, (1, 1)),
  ],
)
def test_images_are_reduced_and_never_enlarged(shape, side, expected):
  image = np.zeros((*shape, 3), np.uint8)
  assert preprocess.fire_thumbnail(image, max_side=side).shape == (*expected, 3)


def test_a_query_is_reduced_as_its_whole_image():
  assert preprocess.fire_query_side((400, 300), (2048, 1000)) == 200.0
  assert preprocess.fire_query_side((400, 300), (512, 512), max_side=256) == 200.0

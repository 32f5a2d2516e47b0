import functools
import pickle
from typing import Any, cast

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.errors import InputError, SettingError
from l2g_jax.features.aliked import VARIANTS, AlikedConfig, aliked_extractor, apply
from l2g_jax.features.aliked import model as aliked_model
from l2g_jax.features.aliked.description import read_features
from l2g_jax.features.aliked.model import Aliked
from l2g_jax.features.aliked.network import MARGIN, compute_maps, first_level
from l2g_jax.features.aliked.prepare import Input, make_input, pad
from l2g_jax.features.batches import describe_part
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.weights import Weights
from l2g_jax.interop import checkpoints
from l2g_jax.interop.pretrained import find_pretrained
from tests.golden.files import load_golden

# Tests that can share a program do: a variant is compiled for a shape and a number of key points.
COUNT = 40


@functools.cache
def weights(variant):
  return checkpoints.read_weights("aliked", find_pretrained(f"aliked-{variant}"))


def picture(height, width, seed=0):
  """Blurred noise, with key points of many strengths."""
  noise = np.random.default_rng(seed).standard_normal((height, width, 3), dtype=np.float32)
  return np.clip(127 + 400 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)


def describe(images, shape, *, variant="t16", **options):
  """The features of images in one padded shape."""
  options = {"max_descriptors": COUNT, **options}
  sizes = np.array([image.shape[:2] for image in images], np.int32)
  padded = np.stack([pad(image, shape) for image in images])
  config = AlikedConfig(VARIANTS[variant], **options)
  return jax.device_get(apply(weights(variant).params, padded, sizes, config))


def single(features, number=0):
  """The valid features of one image of a batch."""
  kept = features.valid[number]
  names = ("descriptors", "positions", "strengths", "offsets")
  return {name: getattr(features, name)[number][kept] for name in names}


def assert_close(found, expected):
  for name, tolerance in (
    ("strengths", 1e-5),
    ("positions", 1e-3),
    ("offsets", 1e-3),
    ("descriptors", 2e-5),
  ):
    np.testing.assert_allclose(found[name], expected[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("variant", "shape"), [("n16", (64, 96)), ("t16", (128, 128))])
def test_features_equal_the_public_implementation(variant, shape):
  golden = load_golden("aliked")
  features = describe([golden["b.image"]], shape, variant=variant, max_descriptors=60)
  found = single(features)
  wanted = {name: golden[f"{variant}.b.{name}"] for name in ("descriptors", "offsets")}
  wanted |= {
    "positions": golden[f"{variant}.b.keypoints"],
    "strengths": golden[f"{variant}.b.pixel_scores"],
  }
  assert_close(found, wanted)
  left, _, top, _ = golden[f"{variant}.b.pad"]
  scores = features.scores[0, top : top + 40, left : left + 90]
  np.testing.assert_allclose(scores, golden[f"{variant}.b.score_map"], atol=1e-5)


@pytest.mark.parametrize("variant", ["n16", "t16"])
def test_maps_equal_the_public_implementation(variant):
  golden = {
    name.removeprefix(f"{variant}.b."): values for name, values in load_golden("aliked").items()
  }
  params = weights(variant).params["layers"]
  images = jnp.asarray(pad(golden["b.image"], (96, 160))[None])
  sizes = jnp.array([[64, 96]], jnp.int32)
  left, _, top, _ = golden["pad"]

  @jax.jit
  def compute():
    maps = compute_maps(params, images, sizes, jnp.float32)
    level1 = first_level(params, maps.finest[:, MARGIN:-MARGIN])
    rows, columns = jnp.meshgrid(jnp.arange(0, 40, 4), jnp.arange(0, 90, 4), indexing="ij")
    one = jax.tree.map(lambda values: values[0], maps)
    features = read_features(params, one, rows + top, columns + left, sizes[0])
    return (level1, *maps.levels), features[None], maps.finest[:, MARGIN:-MARGIN]

  levels, features, finest = compute()
  found = {"feature_map": features, "block1": finest[:, :64:4, :96:4]}
  for number, (values, stride) in enumerate(zip(levels, (1, 2, 8, 32), strict=True), start=1):
    step = 4 if number < 3 else 1
    found[f"level{number}"] = values[:, : 64 // stride : step, : 96 // stride : step]
  for name, values in found.items():
    expected = np.moveaxis(golden[name], 1, 3)
    np.testing.assert_allclose(
      values[..., ::8], expected, atol=1e-5 * max(1, np.abs(expected).max()), err_msg=name
    )


def test_images_of_a_batch_do_not_see_each_other_nor_their_padding():
  images = [picture(33, 64), picture(64, 40, 1), picture(40, 40, 2), picture(64, 64, 3)]
  together = describe(images, (64, 96))
  reordered = describe(images[::-1], (64, 96))
  for number, image in enumerate(images):
    true = tuple(-(-side // 32) * 32 for side in image.shape[:2])
    expected = single(describe([image], true))
    assert len(expected["strengths"]) > 5
    assert_close(single(together, number), expected)
    assert_close(single(reordered, len(images) - 1 - number), expected)


def test_a_tall_image_in_strips_equals_the_same_in_one(monkeypatch):
  image = picture(192, 40)
  strips = single(describe([image], (192, 64)))
  monkeypatch.setattr("l2g_jax.features.aliked.strips._MOST_ROWS", 192)
  cast(Any, apply).clear_cache()
  assert_close(single(describe([image], (192, 64))), strips)
  cast(Any, apply).clear_cache()


@pytest.mark.parametrize(
  ("size", "variant", "least", "most"),
  [
    ((1, 1), "t16", 0, 0),
    ((1, 40), "t16", 0, 0),
    ((4, 90), "t16", 0, 0),
    ((5, 5), "t16", 0, 1),
    ((9, 96), "t16", 3, 40),
    ((33, 40), "n32", 3, 40),
  ],
)
def test_tiny_images_have_key_points_where_there_is_room(size, variant, least, most):
  found = single(describe([picture(*size)], (64, 96), variant=variant))
  count = len(found["strengths"])
  assert least <= count <= most
  assert found["descriptors"].shape == (count, VARIANTS[variant].dimension)
  assert found["offsets"].shape == (count, VARIANTS[variant].num_samples, 2)
  np.testing.assert_allclose(np.linalg.norm(found["descriptors"], axis=1), 1.0, atol=1e-5)
  assert np.all(found["positions"] >= 0)
  assert np.all(found["positions"] <= np.array(size)[::-1] - 1)


def test_a_dark_flat_image_has_finite_features_in_order():
  features = describe([np.zeros((50, 70, 3), np.uint8)], (64, 96))
  assert all(np.isfinite(values).all() for values in vars(features).values())
  found = single(features)
  assert np.all(np.diff(found["strengths"]) <= 0)
  np.testing.assert_array_equal(features.descriptors[0][~features.valid[0]], 0)


def test_more_descriptors_begin_with_the_fewer():
  image = picture(64, 96)
  few, many = (single(describe([image], (64, 96), max_descriptors=k)) for k in (COUNT, 2000))
  assert len(few["strengths"]) == COUNT
  assert 100 < len(many["strengths"]) < 2000
  assert_close(few, {name: values[:COUNT] for name, values in many.items()})


def test_bfloat16_stays_near():
  image = picture(64, 96)
  exact = single(describe([image], (64, 96)))
  rough = single(describe([image], (64, 96), dtype="bfloat16"))
  distances = np.linalg.norm(rough["positions"][:, None] - exact["positions"], axis=2)
  pairs = [(i, j) for i, j in enumerate(distances.argmin(axis=1)) if distances[i, j] < 0.5]
  assert len(pairs) >= 32
  cosines = [rough["descriptors"][i] @ exact["descriptors"][j] for i, j in pairs]
  assert np.median(cosines) > 0.99
  assert np.abs(rough["descriptors"][0] - exact["descriptors"]).min() > 0


def test_the_module_makes_parameters_like_the_published_ones():
  images, sizes = np.zeros((1, 32, 32, 3), np.uint8), np.array([[32, 32]], np.int32)
  for variant in ("t16", "n32"):
    module = Aliked(AlikedConfig(VARIANTS[variant]))
    made = jax.eval_shape(module.init, jax.random.key(0), images, sizes)["params"]
    published = jax.tree.map(lambda array: array.shape, weights(variant).params)
    assert jax.tree.map(lambda array: array.shape, made) == published


def test_locations_are_those_of_the_photograph():
  photograph = picture(90, 120)
  extractor = aliked_extractor(weights("t16"), max_descriptors=COUNT, max_side=61)
  values = make_input(photograph, max_side=61)
  assert values.size.tolist() == [46, 61]
  assert values.whole.tolist() == [90, 120]
  features = extractor.extract(photograph)
  reduced = cv2.resize(photograph, (61, 46), interpolation=cv2.INTER_AREA)
  expected = single(describe([reduced], (64, 64)))
  steps = np.array([120 / 61, 90 / 46], np.float32)
  np.testing.assert_allclose(
    features.locations, (expected["positions"] + 0.5) * steps - 0.5, atol=1e-3
  )
  np.testing.assert_allclose(features.descriptors, expected["descriptors"], atol=2e-5)
  np.testing.assert_allclose(features.strengths, expected["strengths"], atol=1e-5)
  assert np.all(np.diff(features.strengths) <= 0)
  np.testing.assert_array_equal(features.scales, np.ones(COUNT))


def test_small_photographs_are_not_enlarged():
  values = make_input(picture(40, 50), max_side=1024)
  np.testing.assert_array_equal(values.pixels, pad(picture(40, 50), (64, 64)))


def test_photographs_of_several_sizes_are_described_in_batches():
  extractor = aliked_extractor(weights("t16"), max_descriptors=COUNT, batch_size=2)
  images = [picture(40, 60), picture(60, 64, 1), picture(40, 90, 2), picture(64, 33, 3)]
  assert extractor.network is not None
  inputs = [extractor.network.prepare(image, image.shape[:2]) for image in images]
  inputs = [values for values in inputs if isinstance(values, Input)]
  parts = list(describe_part(extractor.network, inputs))
  # Three of them share a shape.
  assert sorted(len(part) for part in parts) == [1, 1, 2]
  found = dict(pair for part in parts for pair in part)
  for number, image in enumerate(images):
    features = found[number]
    assert isinstance(features, LocalFeatures)
    expected = single(describe([image], inputs[number].pixels.shape[:2]))
    assert len(expected["strengths"]) > 5
    np.testing.assert_allclose(features.descriptors, expected["descriptors"], atol=2e-5)
    np.testing.assert_allclose(features.locations, expected["positions"], atol=1e-3)


def test_the_extractor_travels_to_workers_and_is_known_by_all_that_shapes_its_results():
  extractor = aliked_extractor(weights("n16rot"), max_descriptors=5, max_side=64, batch_size=1)
  assert extractor.name == "aliked"
  assert extractor.dimension == 128
  checksum = weights("n16rot").metadata["checksum"]
  assert checksum != weights("n16").metadata["checksum"]
  assert extractor.settings == {
    "weights": checksum,
    "variant": "n16",
    "max_descriptors": 5,
    "max_side": 64,
    "dtype": "float32",
  }
  image = picture(64, 64)
  again = pickle.loads(pickle.dumps(extractor)).extract(image)
  np.testing.assert_array_equal(again.descriptors, extractor.extract(image).descriptors)


def test_programs_do_not_pile_up(monkeypatch):
  seen = []
  monkeypatch.setattr(
    "l2g_jax.features.compiled.limit_shapes", lambda apply, shape: seen.append((apply, shape))
  )
  aliked_extractor(weights("t16"), max_descriptors=COUNT, batch_size=1).extract(picture(33, 64))
  assert seen == [(aliked_model.apply, (1, 64, 64, 3))]


def test_wrong_weights_and_settings_are_refused():
  other = Weights({}, {"model": "lite0", "checksum": "x"})
  with pytest.raises(InputError, match=r"^The weights are of lite0, not of aliked\.$"):
    aliked_extractor(other)
  for name in ("max_descriptors", "max_side", "batch_size"):
    limits: Any = {name: 0}
    with pytest.raises(SettingError, match=name):
      aliked_extractor(weights("t16"), **limits)
  with pytest.raises(SettingError, match="dtype"):
    AlikedConfig(dtype="float16")  # pyright: ignore[reportArgumentType]

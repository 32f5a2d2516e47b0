import functools
import pickle
from typing import Any
from unittest import mock

import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from l2g_jax.errors import InputError
from l2g_jax.features import compiled, fire, preprocess, superglobal
from l2g_jax.features.extraction import ImageJob, extract_local
from l2g_jax.features.extractors import fire_extractor, superglobal_extractor
from l2g_jax.features.fire import FireConfig
from l2g_jax.features.superglobal import SuperGlobalConfig
from l2g_jax.features.weights import load_weights, save_weights
from l2g_jax.interop.checkpoints.architectures import fire_architecture, superglobal_architecture
from tests.features.synthetic import shallow, synthetic_params

IMAGE = np.random.default_rng(0).integers(0, 256, (41, 60, 3), np.uint8)


def save(path, model, architecture, seed):
  arrays: Any = traverse_util.flatten_dict(shallow(synthetic_params(architecture, seed)), sep="/")
  save_weights(path, arrays, {"model": model, **architecture.settings})
  return path


@pytest.fixture(scope="module")
def superglobal_weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "superglobal.safetensors"
  return save(path, "superglobal", superglobal_architecture(50), 11)


@pytest.fixture(scope="module")
def fire_weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "fire.safetensors"
  return save(path, "fire", fire_architecture(), 12)


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
  monkeypatch.setattr(superglobal, "BLOCKS", {50: (1, 1, 1, 1)})
  monkeypatch.setattr(fire, "BLOCKS", (1, 1, 1))


def test_superglobal_describes_a_photograph(superglobal_weights):
  extractor = superglobal_extractor(superglobal_weights, num_scales=1)
  feature = extractor.extract(IMAGE)
  assert feature.shape == (extractor.dimension,) == (2048,)
  assert feature.dtype == np.float32
  weights = load_weights(superglobal_weights, model="superglobal")
  images = preprocess.superglobal_input(IMAGE)[None]
  config = SuperGlobalConfig(depth=50, num_scales=1)
  expected = superglobal.apply(weights.params, images, config)[0]
  np.testing.assert_allclose(feature, expected, atol=1e-7)
  assert extractor.settings["weights"] == weights.metadata["checksum"]
  assert extractor.settings["depth"] == 50


def test_fire_describes_a_photograph(fire_weights):
  extractor = fire_extractor(fire_weights, max_descriptors=50, max_side=40)
  features = extractor.extract(IMAGE)
  images = preprocess.fire_input(IMAGE, max_side=40)[None]
  assert images.shape[1:3] == (27, 40)
  params = load_weights(fire_weights, model="fire").params
  expected = fire.apply(params, images, FireConfig(num_features=50))
  np.testing.assert_allclose(features.descriptors, expected.descriptors[0], atol=1e-4)
  np.testing.assert_array_equal(features.locations[:, 1], expected.templates[0])
  assert np.all(features.locations[:, 0] == 0)
  assert np.all(np.isin(features.scales, np.array(fire.SCALES, np.float32)))
  assert extractor.settings["scales"] == [*fire.SCALES]
  assert features.descriptors.shape == (50, extractor.dimension) == (50, 128)
  assert np.all(np.diff(features.strengths) <= 0)
  assert all(value.dtype == np.float32 for value in vars(features).values())


def test_settings_tell_recipes_apart(superglobal_weights, fire_weights, tmp_path):
  other = save(tmp_path / "x.safetensors", "fire", fire_architecture(), 13)
  recipes = [
    superglobal_extractor(superglobal_weights),
    superglobal_extractor(superglobal_weights, num_scales=5),
    superglobal_extractor(superglobal_weights, antialias=True),
    superglobal_extractor(superglobal_weights, max_side=512),
    superglobal_extractor(superglobal_weights, dtype="bfloat16"),
    fire_extractor(fire_weights),
    fire_extractor(fire_weights, max_descriptors=600),
    fire_extractor(fire_weights, max_side=512),
    fire_extractor(fire_weights, dtype="bfloat16"),
    fire_extractor(other),
  ]
  assert len({str(dict(recipe.settings)) for recipe in recipes}) == len(recipes)


def test_extractors_fill_a_store_and_travel_to_workers(fire_weights, tmp_path, monkeypatch):
  Image.fromarray(np.pad(IMAGE, ((2, 1), (3, 5), (0, 0)))).save(tmp_path / "a.png")
  # Each scale is a network to compile; a photograph is described at all of them above.
  with monkeypatch.context() as patch:
    patch.setattr(fire, "FireConfig", functools.partial(FireConfig, scales=(1.0, 0.5)))
    recipe = fire_extractor(fire_weights, max_descriptors=50, max_side=40)
  extractor = pickle.loads(pickle.dumps(recipe))
  store = extract_local(
    [ImageJob("a", tmp_path / "a.png", (2.6, 1.7, 62.8, 42.9))],
    extractor,
    tmp_path / "store",
    crop_policy=preprocess.FIRE_READING.crop_policy,
    apply_exif=preprocess.FIRE_READING.apply_exif,
    precision="float32",
    show_progress=False,
  )
  (name, descriptors) = next(iter(store))
  assert name == "a"
  side = preprocess.fire_query_side((41, 60), (44, 68), max_side=40)
  inputs = preprocess.fire_input(IMAGE, max_side=side)[None]
  assert inputs.shape[1:3] == (24, 35)
  assert recipe.network is not None
  expected = recipe.network.describe(inputs)[0].descriptors
  np.testing.assert_allclose(descriptors, expected, atol=1e-5)


def test_many_sizes_do_not_pile_up(superglobal_weights, monkeypatch):
  cleared = []
  monkeypatch.setattr(compiled, "MOST_SHAPES", 2)
  apply = mock.Mock(wraps=superglobal.apply)
  apply.clear_cache = lambda: cleared.append(apply.call_count)
  monkeypatch.setattr(superglobal, "apply", apply)
  extractor = superglobal_extractor(superglobal_weights, num_scales=1)
  for width in (30, 40, 30, 40, 50, 50, 40):
    assert extractor.extract(IMAGE[:, :width]).shape == (2048,)
  # Before the first of 50, the third size.
  assert cleared == [4]


def test_weights_of_another_model_are_refused(superglobal_weights, fire_weights, tmp_path):
  with pytest.raises(InputError, match="holds weights of fire, not of superglobal"):
    superglobal_extractor(fire_weights)
  with pytest.raises(InputError, match="holds weights of superglobal, not of fire"):
    fire_extractor(superglobal_weights)
  with pytest.raises(InputError, match="There are no weights at"):
    fire_extractor(tmp_path / "nothing.safetensors")

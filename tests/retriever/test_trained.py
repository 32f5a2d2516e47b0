import dataclasses

import jax
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.features import weights
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.ranking.ames import Ames, AmesConfig, similarities
from l2g_jax.retriever.similarities import learned_similarity
from l2g_jax.retriever.trained import default_path, load_trained, save_trained

CONFIG = AmesConfig(8, model_dim=8, num_heads=2, num_layers=1, hidden_dim=8)
SIZES = {"config": dataclasses.asdict(CONFIG), "counts": [5, 3]}


@pytest.fixture(scope="module")
def params():
  blank, mask = np.zeros((1, 2, 8), np.float32), np.ones((1, 2), bool)
  made = Ames(CONFIG).init(jax.random.key(0), blank, blank, mask, mask)["params"]
  return jax.tree.map(np.asarray, made)


@pytest.fixture
def path(params, tmp_path):
  path = default_path(tmp_path, "learned")
  path.parent.mkdir()
  save_trained(path, "learned", params, SIZES)
  return path


def test_weights_come_back_as_they_were(path, params):
  made = load_trained(path, "learned")
  assert made.sizes == SIZES
  jax.tree.map(np.testing.assert_array_equal, dict(made.params), params)
  assert made.checksum == load_trained(path, "learned").checksum


def test_what_can_not_be_used_is_refused(path, params, tmp_path):
  with pytest.raises(InputError, match=r"no weights at .*train_lists` makes them"):
    load_trained(tmp_path / "none.safetensors", "bilstm")
  with pytest.raises(InputError, match="holds weights of learned, not of bilstm"):
    load_trained(path, "bilstm")
  for sizes in ({"config": {"local_dim": 0}, "counts": [5, 3]}, {"counts": [5, 3]}):
    save_trained(path, "learned", params, sizes)
    with pytest.raises(InputError, match=r"local_dim must be at least 1|of unknown sizes"):
      learned_similarity(path)
  weights.save_weights(path, {"x": np.zeros(1, np.float32)}, {"model": "learned"})
  with pytest.raises(InputError, match="does not say which network"):
    load_trained(path, "learned")


def test_the_strongest_descriptors_are_compared_by_the_network(path, params):
  rng = np.random.default_rng(1)

  def features(count):
    one = np.ones(count, np.float32)
    locations = np.zeros((count, 2), np.float32)
    return (LocalFeatures(rng.standard_normal((count, 8), np.float32), locations, one, one),)

  query, image = features(9), features(7)
  similarity = learned_similarity(path, depth=9, list_depth=4)
  assert (similarity.scale, similarity.depth, similarity.list_depth) == ("logit", 9, 4)
  made = np.asarray(similarity.compare(query, [image]))
  own, other = query[0].descriptors[:5], image[0].descriptors[None, :3]
  np.testing.assert_allclose(made, similarities(params, own, other, config=CONFIG), rtol=1e-6)

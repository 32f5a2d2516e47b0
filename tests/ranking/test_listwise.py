from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from l2g_jax.errors import InputError, SettingError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.listwise import (
  BiLstm,
  ListwiseConfig,
  list_inputs,
  rank_by_network,
  score_lists,
)

SMALL = ListwiseConfig(length=4, hidden_dim=5, num_layers=2)
# Four images; the first two know each other in both directions, the third knows the first.
LISTS = Ranked(
  np.array([[1, 3], [0, 2], [0, -1], [1, 2]], np.int32),
  np.array([[0.8, 0.1], [0.6, 0.2], [0.5, 0.0], [0.4, 0.3]], np.float32),
)
FOUND = Ranked(np.array([[2, 0, -1]], np.int32), np.array([[0.9, 0.3, 0.0]], np.float32))


@pytest.fixture
def features():
  rng = np.random.default_rng(0)
  return GlobalFeatures(
    rng.standard_normal((1, 6), dtype=np.float32), rng.standard_normal((4, 6), dtype=np.float32)
  )


@pytest.fixture(scope="module")
def params():
  values = np.zeros((1, 5, 6), np.float32)
  return BiLstm(SMALL).init(jax.random.key(0), values, np.array([5], np.int32))["params"]


def test_inputs_are_known_affinities_the_similarity_and_the_cosine(features):
  made = list_inputs(FOUND, LISTS, features, length=4)
  np.testing.assert_array_equal(made.counts, [3])
  query = features.queries[0] / np.linalg.norm(features.queries[0])
  rows = features.database / np.linalg.norm(features.database, axis=1, keepdims=True)
  cosines = rows @ query
  # Columns: image 2, image 0, two of padding, the query, the cosine.
  expected = np.zeros((5, 6))
  expected[0] = [0.9, 0.3, 0.0, 0.0, 0.9, 1.0]
  expected[1] = [0.9, 0.5, 0.0, 0.0, 0.9, cosines[2]]
  expected[2] = [0.5, 0.9, 0.0, 0.0, 0.3, cosines[0]]
  np.testing.assert_allclose(made.values[0], expected, atol=1e-6)


def test_the_network_is_that_of_flax(params):
  rng = np.random.default_rng(1)
  values = rng.standard_normal((2, 5, 6), dtype=np.float32)
  counts = np.array([5, 3], np.int32)
  states: Any = values
  for number in range(2):
    layer = params[f"layer{number}"]
    directions = {f"{name}_rnn": _as_flax(layer[name]) for name in ("forward", "backward")}
    states = nn.Bidirectional(nn.RNN(_cell()), nn.RNN(_cell())).apply(
      {"params": directions},
      states,
      seq_lengths=counts,
    )
  logits, own = apply({"params": params}, values, counts)
  for row, count in enumerate(counts):
    np.testing.assert_allclose(own[row, :count], states[row, :count], atol=2e-6)
  assert logits.shape == (2, 5)


def apply(variables, values, counts) -> Any:
  return BiLstm(SMALL).apply(variables, values, counts)


def _cell():
  return nn.OptimizedLSTMCell(SMALL.hidden_dim)


def _as_flax(layer):
  """The parameters of a direction by the names of Flax's cell, which are no module of ours."""
  gates = dict(zip("ifgo", np.split(np.asarray(layer["recurrent"]), 4, axis=1), strict=True))
  biases = dict(zip("ifgo", np.split(np.asarray(layer["bias"]), 4), strict=True))
  inputs = dict(
    zip("ifgo", np.split(np.asarray(layer["inputs"]["kernel"]), 4, axis=1), strict=True)
  )
  cell = {f"h{gate}": {"kernel": gates[gate], "bias": biases[gate]} for gate in "ifgo"}
  cell |= {f"i{gate}": {"kernel": inputs[gate]} for gate in "ifgo"}
  return {"cell": cell}


def test_padding_changes_nothing(params):
  rng = np.random.default_rng(2)
  values = rng.standard_normal((1, 5, 6), dtype=np.float32)
  other = values.copy()
  other[:, 3:] = 7.0
  first, second = (apply({"params": params}, given, np.array([3]))[0] for given in (values, other))
  np.testing.assert_array_equal(first[:, :3], second[:, :3])


def test_rankings_are_the_head_by_logits_then_the_search_then_the_rest(params, features):
  config = ListwiseConfig(length=4, hidden_dim=5)
  found = Ranked(np.array([[2, 0, 3, -1]]), np.array([[0.9, 0.3, 0.2, 0.0]], np.float32))
  inputs = list_inputs(found, LISTS, features, length=4)
  logits = np.asarray(score_lists(params, inputs, config))[0, 1:4]
  expected = [*np.array([2, 0, 3])[np.argsort(-logits, kind="stable")], 1]
  made = rank_by_network(params, found, LISTS, features, config=config)
  np.testing.assert_array_equal(made, [expected])


def test_what_can_not_be_ranked_is_refused(params, features):
  twice = Ranked(np.array([[2, 2]]), np.array([[0.9, 0.9]], np.float32))
  with pytest.raises(InputError, match="hold an image twice"):
    rank_by_network(params, twice, LISTS, features, config=SMALL)
  with pytest.raises(SettingError, match="length must be at least 1"):
    ListwiseConfig(length=0)

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training import losses, similarity
from experiments.training.loop import Schedule, train
from experiments.training.pairs import PairBatch
from l2g_jax.errors import InputError, SettingError
from l2g_jax.ranking.ames import AmesConfig
from l2g_jax.ranking.listwise import BiLstm, ListwiseConfig

CONFIG = AmesConfig(12, model_dim=8, num_heads=2, num_layers=2, hidden_dim=16)


def no_figures(_):
  return {}


def squares(params, batch):
  return jnp.sum((params["x"] - batch) ** 2)


def drawn(step):
  return np.random.default_rng(step).standard_normal(3).astype(np.float32)


def run(folder, schedule, batch=drawn, key="key"):
  lines = []
  params = train(
    {"x": np.ones(3, np.float32)},
    squares,
    batch,
    schedule,
    folder=folder,
    key=key,
    validate=no_figures,
    report=lines.append,
  )
  return params["x"], lines


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
  schedule = Schedule(12, report_every=4)
  whole, lines = run(tmp_path / "whole", schedule)
  assert len(lines) == 3

  def interrupted(step):
    if step == 9:
      raise KeyboardInterrupt
    return drawn(step)

  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / "parts", schedule, interrupted)
  resumed, lines = run(tmp_path / "parts", schedule)
  assert lines[0] == "goes on after step 8"
  np.testing.assert_array_equal(resumed, whole)


def test_a_state_of_another_training_is_not_used(tmp_path):
  schedule = Schedule(4, report_every=4)
  run(tmp_path, schedule)
  _, lines = run(tmp_path, schedule, key="another")
  assert lines[0].startswith("step      4")


def test_a_damaged_state_begins_anew(tmp_path):
  schedule = Schedule(4, report_every=4)
  expected, _ = run(tmp_path, schedule)
  path = next((tmp_path / "state").glob("*.npy"))
  path.write_bytes(path.read_bytes()[:-1])
  made, lines = run(tmp_path, schedule)
  assert not lines[0].startswith("goes on")
  np.testing.assert_array_equal(made, expected)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
  with pytest.raises(InputError, match="not finite before step 2; train with a lower"):
    run(tmp_path, Schedule(4, report_every=2), lambda step: np.full(3, np.nan, np.float32))
  with pytest.raises(SettingError, match="num_steps must be at least 1"):
    Schedule(0)


def scenes(seed, size):
  """Pairs of which the first half share most descriptors up to noise."""
  rng = np.random.default_rng(seed)
  query = rng.standard_normal((size, 6, 12))
  images = rng.standard_normal((size, 5, 12))
  images[: size // 2] = query[: size // 2, :5] + 0.3 * rng.standard_normal((size // 2, 5, 12))
  return PairBatch(
    query.astype(np.float32),
    images.astype(np.float32),
    np.ones((size, 6), bool),
    np.ones((size, 5), bool),
    np.arange(size) < size // 2,
  )


def test_a_similarity_is_learned(tmp_path):
  pairs = scenes(0, 32)
  sample = pairs.query.reshape(-1, 12)
  # One layer learns it too, and compiles in half the time.
  config = dataclasses.replace(CONFIG, num_layers=1)
  start = similarity.start(config, sample / np.linalg.norm(sample, axis=1, keepdims=True), 0)

  @jax.jit
  def logits(params, batch):
    return similarity.logits_of(params, batch, config)

  def right(params):
    """Returns the share of pairs of a positive and a negative that are in order."""
    values = np.asarray(logits(params, pairs))
    return np.mean(values[pairs.labels][:, None] > values[~pairs.labels][None])

  params = train(
    start,
    lambda params, batch: losses.pair_loss(logits(params, batch), batch.labels),
    lambda step: pairs,
    Schedule(80, 1e-2, report_every=80),
    folder=tmp_path,
    key="key",
    validate=no_figures,
    report=lambda line: None,
  )
  assert right(start) < 0.9
  assert right(params) > 0.99


def test_keys_begin_equal_to_queries_and_the_first_layer_whitens():
  rng = np.random.default_rng(3)
  sample = rng.standard_normal((500, 12)).astype(np.float32) @ rng.standard_normal((12, 12))
  sample /= np.linalg.norm(sample, axis=1, keepdims=True)
  params = similarity.start(CONFIG, sample.astype(np.float32), 0)
  for number in range(2):
    between = params[f"layer{number}"]["other"]
    np.testing.assert_array_equal(between["query"]["kernel"], between["key"]["kernel"])
  linear = params["remap"]["linear"]
  made = sample @ linear["kernel"] + linear["bias"]
  np.testing.assert_allclose(np.cov(made, rowvar=False), np.eye(8), atol=0.05)


def lists(rng):
  labels = np.array([[-1, 1, 0, 0, 1], [-1, 0, 0, -1, -1], [-1, 1, 1, -1, 0]], np.int8)
  values = rng.standard_normal((3, 5, 6)).astype(np.float32)
  values[..., 0] += 2.0 * labels
  return values, np.array([5, 3, 5], np.int32), labels


def test_gradients_are_finite_where_a_list_has_no_positive():
  values, counts, labels = lists(np.random.default_rng(4))
  network = BiLstm(ListwiseConfig(length=4, hidden_dim=3, num_layers=1))
  params = network.init(jax.random.key(0), values, counts)["params"]

  @jax.jit
  def loss(params, rows):
    made: Any = network.apply(
      {"params": params}, jnp.asarray(values)[rows], jnp.asarray(counts)[rows]
    )
    logits, states = made
    return losses.list_loss(logits, states, jnp.asarray(labels)[rows], contrastive=0.1)

  value, gradient = jax.jit(jax.value_and_grad(loss))(params, np.arange(3))
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradient)))
  assert any(np.any(leaf != 0.0) for leaf in jax.tree.leaves(gradient))
  # The list without a positive says nothing.
  first, third = (loss(params, np.full(3, row)) for row in (0, 2))
  np.testing.assert_allclose(value, (first + third) / 2.0, rtol=1e-5)
  assert loss(params, np.array([1, 1, 1])) == 0.0


def test_the_list_loss_is_entropy_of_both_sides_and_the_contrast():
  logits = np.array([[9.0, 0.5, -1.0, 2.0]], np.float32)
  states = np.array([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]], np.float32)
  labels = np.array([[1, 1, 0, -1]], np.int8)
  entropy = 0.5 * (np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0)))
  apart = -np.log(np.exp(6.0) / (np.exp(6.0) + np.exp(0.0)))
  made = losses.list_loss(jnp.asarray(logits), jnp.asarray(states), labels, contrastive=0.5)
  np.testing.assert_allclose(made, entropy + 0.5 * apart, rtol=1e-5)


def test_settings_of_a_schedule_are_checked():
  for name, value in (("learning_rate", 0.0), ("weight_decay", -1.0), ("report_every", 0)):
    with pytest.raises(SettingError, match=name):
      dataclasses.replace(Schedule(1), **{name: value})

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.synthetic import synthetic_state
from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.ames import ames_architecture, published_architecture
from l2g_jax.ranking.ames import VARIANTS, Ames, AmesConfig, similarities
from tests.features.synthetic import synthetic_params
from tests.golden.files import load_golden

SMALL = AmesConfig(12, model_dim=8, num_heads=2, num_layers=2, hidden_dim=16)
SHALLOW = dataclasses.replace(SMALL, num_layers=1)
BINARY = dataclasses.replace(SHALLOW, binarized=True)
CONFIGS = pytest.mark.parametrize("config", [SMALL, BINARY], ids=["fp", "dist"])


@functools.cache
def params_of(config, seed=3):
  return synthetic_params(ames_architecture(config), seed)


def problem(seed=0, num_images=4):
  """A query and images whose padding holds numbers; one image has no descriptor, one a zero."""
  rng = np.random.default_rng(seed)
  query = rng.standard_normal((7, 12), dtype=np.float32)
  images = rng.standard_normal((num_images, 6, 12), dtype=np.float32)
  images[0, 0] = 0.0
  query_mask = np.arange(7) < 5
  image_mask = np.arange(6) < np.array([4, 0, 6, 1] * num_images)[:num_images, None]
  return query, images, query_mask, image_mask


def unit(vector):
  return vector / max(np.sqrt(np.sum(vector**2)), 1e-12)


def logit_by_hand(config, seed, query, image, *, rounded=True):
  """One pair, token by token in float64, by the tensors as PyTorch names them."""
  weights = synthetic_state(ames_architecture(config), seed)
  state = {key: values.astype(np.float64) for key, values in weights.items()}

  def linear(key, vector):
    return state[f"{key}.weight"] @ vector + state[f"{key}.bias"]

  def norm(key, vector):
    centred = vector - np.mean(vector)
    scale = state[f"{key}.weight"] / np.sqrt(np.mean(centred**2) + 1e-5)
    return scale * centred + state[f"{key}.bias"]

  def remap(vector):
    vector = unit(vector.astype(np.float64))
    if not config.binarized:
      return norm("remap_local.1", linear("remap_local.0", vector))
    bits = np.sign(unit(vector) @ state["remap_local.0.W"])
    return norm("remap_local.2", linear("remap_local.1", bits))

  def attend(key, row, seen):
    size = config.model_dim // config.num_heads
    pairs = zip(
      np.split(state[f"{key}.in_proj_weight"], 3),
      np.split(state[f"{key}.in_proj_bias"], 3),
      strict=True,
    )
    (query_layer, key_layer, value_layer) = pairs
    read = np.zeros(config.model_dim)
    for head in range(config.num_heads):
      part = slice(head * size, (head + 1) * size)
      asked = (query_layer[0] @ row + query_layer[1])[part] / np.sqrt(size)
      logits = [asked @ (key_layer[0] @ other + key_layer[1])[part] for other in seen]
      worth = np.exp(logits - np.max(logits))
      for weight, other in zip(worth / np.sum(worth), seen, strict=True):
        read[part] += weight * (value_layer[0] @ other + value_layer[1])[part]
    return linear(f"{key}.out_proj", read)

  targets = [remap(vector) for vector in image]
  if rounded and not config.binarized:
    targets = [vector.astype(np.float16).astype(np.float64) for vector in targets]
  rows = [state["mtc_token"], *(remap(vector) for vector in query), *targets]
  sides = [0] + [1] * len(query) + [2] * len(image)
  for number in range(config.num_layers):
    there = f"decoder.layers.{number}"
    for key, place, same in (("self_attn", 1, True), ("cross_attn", 2, False)):
      read = [
        attend(
          f"{there}.{key}",
          row,
          [
            other
            for other, one in zip(rows, sides, strict=True)
            if 0 in (side, one) or (side == one) == same
          ],
        )
        for row, side in zip(rows, sides, strict=True)
      ]
      rows = [
        norm(f"{there}.norm{place}", row + added) for row, added in zip(rows, read, strict=True)
      ]
    rows = [
      norm(
        f"{there}.norm3",
        row + linear(f"{there}.linear2", np.maximum(linear(f"{there}.linear1", row), 0.0)),
      )
      for row in rows
    ]
  return linear("classifier", rows[0])[0]


def test_published_logits_are_equalled():
  golden = load_golden("ames")
  params = synthetic_params(published_architecture("dinov2_fp"), 500)
  for pair, expected in enumerate(golden["sim"]):
    logits = similarities(
      params,
      golden["src"][pair],
      golden["tgt"][pair][None],
      config=VARIANTS["dinov2_fp"],
      query_mask=~golden["src_mask"][pair],
      image_mask=~golden["tgt_mask"][pair][None],
    )
    np.testing.assert_allclose(logits, [expected], atol=5e-6)


@pytest.mark.fast
@CONFIGS
def test_equals_a_loop(config):
  query, images, query_mask, image_mask = problem()
  logits = similarities(
    params_of(config),
    query,
    images,
    config=config,
    query_mask=query_mask,
    image_mask=image_mask,
    batch_size=3,
  )
  expected = [
    logit_by_hand(config, 3, query[query_mask], image[mask])
    for image, mask in zip(images, image_mask, strict=True)
  ]
  assert logits.dtype == np.float32
  assert np.std(expected) > 1e-2
  np.testing.assert_allclose(logits, expected, atol=3e-6)


@CONFIGS
def test_order_norms_and_padding_do_not_matter(config):
  query, images, query_mask, image_mask = problem(1, num_images=6)
  compare = functools.partial(similarities, params_of(config), config=config, batch_size=3)
  logits = compare(query, images, query_mask=query_mask, image_mask=image_mask)
  rng = np.random.default_rng(2)
  order, rows, columns = rng.permutation(6), rng.permutation(7), rng.permutation(6)
  images[~image_mask] = 1e3
  lengths = (10.0 ** rng.uniform(-8, 8, (7, 1))).astype(np.float32)
  moved = compare(
    (lengths * query)[rows],
    images[order][:, columns],
    query_mask=query_mask[rows],
    image_mask=image_mask[order][:, columns],
  )
  np.testing.assert_allclose(moved, logits[order], atol=5e-6)
  # One more image fills no batch of its own.
  some = compare(query, images[:4], query_mask=query_mask, image_mask=image_mask[:4])
  np.testing.assert_allclose(some, logits[:4], atol=1e-6)


def test_training_rounds_nothing_and_may_have_a_query_for_each_image():
  query, images, query_mask, image_mask = problem()
  queries = np.stack([query, query[::-1], -query, query])
  masks = np.stack([query_mask, query_mask[::-1], query_mask, np.ones(7, bool)])
  apply = jax.jit(Ames(SHALLOW).apply, static_argnames="rounds_images")
  arrays = (queries, images, masks, image_mask)
  logits = np.asarray(apply({"params": params_of(SHALLOW)}, *arrays, rounds_images=False))
  difference = {
    rounded: np.abs(
      logits
      - [
        logit_by_hand(SHALLOW, 3, query[query_mask], image[mask], rounded=rounded)
        for query, query_mask, image, mask in zip(queries, masks, images, image_mask, strict=True)
      ]
    )
    for rounded in (False, True)
  }
  assert np.all(difference[False] < 3e-6)
  assert np.max(difference[True]) > 2e-5


def test_gradients_are_those_of_the_logits():
  query, images, query_mask, image_mask = problem()
  images[~image_mask] = 0.0
  params = params_of(SHALLOW)

  @jax.jit
  @jax.value_and_grad
  def loss(given):
    params, images = given
    arrays = (query[None], images, query_mask[None], image_mask)
    logits: Any = Ames(SHALLOW).apply({"params": params}, *arrays, rounds_images=False)
    return jax.numpy.sum(logits * np.array([1.0, -2.0, 3.0, -4.0], np.float32))

  _, (of_params, of_images) = loss((params, images))
  assert np.all(np.isfinite(of_images))
  assert np.all(np.asarray(of_images)[~image_mask] == 0.0)
  for path, values in jax.tree.leaves_with_path(of_params):
    name = jax.tree_util.keystr(path)
    # A bias of the keys moves all logits of an attention alike.
    reaches = "'key']['bias'" not in name
    assert (np.max(np.abs(values)) > 1e-4) == reaches, name
  step = np.random.default_rng(1).standard_normal(8, dtype=np.float32)
  ends = [
    loss(({**params, "token": params["token"] + sign * 3e-3 * step}, images))[0]
    for sign in (1.0, -1.0)
  ]
  slope = float(ends[0] - ends[1]) / 6e-3
  np.testing.assert_allclose(np.sum(of_params["token"] * step), slope, rtol=1e-2, atol=1e-3)


def test_settings_of_the_published_variants():
  assert {name: (each.local_dim, each.binarized) for name, each in VARIANTS.items()} == {
    "dinov2_fp": (768, False),
    "dinov2_dist": (768, True),
    "cvnet_fp": (1024, False),
    "cvnet_dist": (1024, True),
  }
  sizes = {
    (each.model_dim, each.num_heads, each.num_layers, each.hidden_dim) for each in VARIANTS.values()
  }
  assert sizes == {(128, 2, 5, 1024)}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"local_dim": 0}, "local_dim must be at least 1"),
    ({"num_layers": 0}, "num_layers must be at least 1"),
    ({"model_dim": 9}, "model_dim must be a multiple of num_heads, not 9 for 2"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(InputError, match=message):
    AmesConfig(**{"local_dim": 12, "num_heads": 2, **changes})


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"query": np.ones((3, 11))}, r"query must be descriptors \[q, 12\], not \[3, 11\]"),
    ({"query": np.ones((0, 12))}, r"query must be descriptors \[q, 12\], not \[0, 12\]"),
    ({"images": np.ones((3, 12))}, r"images must be descriptors \[B, t, 12\], not \[3, 12\]"),
    ({"images": np.ones((0, 6, 12))}, r"images must be .*, not \[0, 6, 12\]"),
    ({"images": np.full((4, 6, 12), np.nan)}, "images hold a descriptor that is not finite"),
    ({"query_mask": np.ones(6, bool)}, r"mask of the query must be bool \[7\], not bool \[6\]"),
    ({"image_mask": np.ones((4, 6))}, r"images must be bool \[4, 6\], not float64 \[4, 6\]"),
    ({"batch_size": 0}, "batch_size must be at least 1"),
  ],
)
def test_input_that_does_not_fit_is_refused(changes, message):
  names = ("query", "images", "query_mask", "image_mask")
  given = {**dict(zip(names, problem(), strict=True)), **changes}
  with pytest.raises(InputError, match=message):
    similarities(params_of(SMALL), config=SMALL, **given)


@pytest.mark.parametrize(
  "changes",
  [
    {"local_dim": 11},
    {"binarized": True},
    {"model_dim": 16},
    {"num_layers": 1},
    {"num_layers": 3},
    {"hidden_dim": 15},
  ],
)
def test_parameters_of_another_network_are_refused(changes):
  config = dataclasses.replace(SMALL, **changes)
  query, images, _, _ = problem()
  with pytest.raises(InputError, match=r"parameters are those of AmesConfig\(local_dim=12, bin"):
    similarities(params_of(SMALL), query, images, config=config)

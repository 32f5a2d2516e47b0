"""Compilations are counted by JAX's own events: what was compiled once serves every later query."""

import dataclasses

import jax
import numpy as np
import pytest

from l2g_jax.embedding import mds
from l2g_jax.pipeline.collection import place_collection
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_search import rank_by_global, rerank_by_global
from l2g_jax.runtime import sharding
from tests.pipeline.problems import (
  CONFIG,
  SIZE,
  WEIGHTS,
  only,
  rank,
  ranked,
  some_collection,
)
from tests.problems import clustered, counted_compilations


def test_a_new_program_is_counted():
  with counted_compilations() as compilations:
    jax.jit(lambda values: values + 1.5)(np.ones(3, np.float32))
  assert len(compilations) == 1


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("num_devices", [1, 8])
def test_blocks_after_the_first_compile_nothing(num_devices, resident):
  mesh = sharding.make_mesh(num_devices)

  def rank(seed, rows, weights=WEIGHTS):
    candidates, lists, features = only(some_collection(seed), rows)
    # One query a device and block: 17 make several blocks, of which the last is padded.
    placed = place_collection(lists, features.database, resident=resident, mesh=mesh)
    l2g = L2G(config=CONFIG, block_bytes=1)
    return l2g.rank(placed, candidates, features.queries, weights=weights)

  rank(0, np.zeros(num_devices, int))
  with counted_compilations() as compilations:
    rank(0, np.arange(17) % 3)
    rank(1, np.arange(5) % 3)
    rank(2, np.arange(2), weights=(0.3, 0.5, 0.9))
  assert not compilations


def a_larger_collection(num_images):
  """A collection of which smaller ones of the same seed are the first images."""
  rng = np.random.default_rng(0)
  similarities = rng.uniform(0.1, 1.0, (200, 200))[:num_images, :num_images]
  queries = rng.uniform(0.1, 1.0, (2, 200))[:, :num_images]
  features = rng.standard_normal((202, 8)).astype(np.float32)
  lists = ranked(similarities - 9.0 * np.eye(num_images), min(70, num_images - 1))
  return ranked(queries, SIZE), lists, features[:2], features[2 : num_images + 2]


@pytest.mark.parametrize("resident", [True, False])
def test_a_collection_that_gains_images_compiles_nothing(resident):
  mesh = sharding.make_mesh(2)
  l2g = L2G(config=CONFIG)

  def rank(num_images):
    candidates, lists, queries, database = a_larger_collection(num_images)
    placed = place_collection(lists, database, resident=resident, mesh=mesh)
    return l2g.rank(placed, candidates, queries)

  rank(140)
  with counted_compilations() as compilations:
    results = {num_images: rank(num_images) for num_images in (141, 150, 191, 139)}
  assert not compilations
  for num_images, (result,) in results.items():
    expected = np.tile(np.arange(num_images), (2, 1))
    np.testing.assert_array_equal(np.sort(result.rankings, axis=1), expected)


@pytest.mark.parametrize("resident", [True, False])
def test_a_small_collection_whose_lists_grow_with_it_compiles_nothing(resident):
  mesh = sharding.make_mesh(1)
  l2g = L2G(config=CONFIG)

  def rank(num_images):
    candidates, lists, queries, database = a_larger_collection(num_images)
    assert lists.ids.shape == (num_images, num_images - 1)
    placed = place_collection(lists, database, resident=resident, mesh=mesh)
    return l2g.rank(placed, candidates, queries)

  rank(40)
  with counted_compilations() as compilations:
    rank(41)
    rank(38)
  assert not compilations


@pytest.mark.parametrize("resident", [True, False])
def test_a_collection_that_is_padded_more_gives_the_same_bits(resident):
  """Images that no candidate's list holds change the padding, and must change no number."""
  mesh = sharding.make_mesh(1)
  candidates, lists, features = some_collection(8)
  l2g = L2G(config=CONFIG)
  few = place_collection(lists, features.database, resident=resident, mesh=mesh)
  more = 200
  longer = Ranked(
    np.pad(lists.ids, ((0, more), (0, 80)), constant_values=-1),
    np.pad(lists.similarities, ((0, more), (0, 80))),
  )
  database = np.pad(features.database, ((0, more), (0, 0)), constant_values=1.0)
  many = place_collection(longer, database, resident=resident, mesh=mesh)
  assert many.id_bound > few.id_bound
  assert many.list_length > few.list_length
  results = [l2g.rank(each, candidates, features.queries, weights=WEIGHTS) for each in (few, many)]
  for one, other in zip(*results, strict=True):
    np.testing.assert_array_equal(one.scores, other.scores)
    size = len(features.database)
    np.testing.assert_array_equal(one.rankings, other.rankings[:, :size])


NUMBERS = {
  "num_known": 2,
  "num_query_known": 1,
  "power": 0.7,
  "max_iterations": 7,
  "rtol": 0.03,
  "beta": 0.2,
  "certainty_ratio": np.inf,
  "seed": 5,
}


def test_no_number_of_the_method_is_compiled_for():
  assert set(NUMBERS) == set(CONFIG.numbers()._fields)
  arguments = some_collection(3)
  reference = rank(*arguments)
  with counted_compilations() as compilations:
    results = {
      name: rank(*arguments, config=dataclasses.replace(CONFIG, **{name: value}))
      for name, value in NUMBERS.items()
    }
    # More than there are candidates is as many.
    longer = dataclasses.replace(CONFIG, num_embedded=10 * SIZE, num_reranked=20 * SIZE)
    rank(*arguments, config=longer)
  assert not compilations
  # Each of them says something.
  for name, result in results.items():
    # The start of so few points is exact, whatever the seed.
    assert np.array_equal(result[1].scores, reference[1].scores) == (name == "seed")


def test_no_weight_of_the_neighbours_is_compiled_for_in_global_search():
  features = some_collection(4)[2]
  rankings = rank_by_global(features)
  rerank_by_global(features, rankings, beta=0.15)
  with counted_compilations() as compilations:
    for beta in (0.0, 0.3, 1.0):
      rerank_by_global(features, rankings, beta=beta)
  assert not compilations


def test_problems_of_one_shape_compile_once():
  mds.smacof(clustered(0), num_dimensions=3, rtol=1e-3)
  with counted_compilations() as compilations:
    for seed in range(1, 4):
      mds.smacof(
        clustered(seed), num_dimensions=3, max_iterations=seed, rtol=10.0 ** (-seed), seed=seed
      )
  assert not compilations

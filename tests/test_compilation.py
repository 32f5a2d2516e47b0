"""Compilations are counted by JAX's own events: what was compiled once serves every later query."""

import contextlib

import jax
import numpy as np
import pytest

from l2g_jax import mds, sharding
from l2g_jax.collection import place_collection
from l2g_jax.pipeline import rank_collection
from tests.test_mds import clustered
from tests.test_pipeline import CONFIG, WEIGHTS, collection, only

COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted_compilations():
  events = []

  def listen(event, duration_secs, **kwargs):
    if event == COMPILED:
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield events
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_new_program_is_counted():
  with counted_compilations() as compilations:
    jax.jit(lambda values: values + 1.5)(np.ones(3, np.float32))
  assert len(compilations) == 1


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("num_devices", [1, 8])
def test_blocks_after_the_first_compile_nothing(num_devices, resident):
  mesh = sharding.make_mesh(num_devices)

  def rank(seed, rows, weights=WEIGHTS):
    candidates, lists, features = only(collection(seed), rows)
    # One query a device and block: 17 make several blocks, of which the last is padded.
    placed = place_collection(lists, features.database, resident=resident, mesh=mesh)
    return rank_collection(
      placed, candidates, features.queries, weights=weights, config=CONFIG, block_bytes=1
    )

  rank(0, np.zeros(num_devices, int))
  with counted_compilations() as compilations:
    rank(0, np.arange(17) % 3)
    rank(1, np.arange(5) % 3)
    rank(2, np.arange(2), weights=(0.3, 0.5, 0.9))
  assert not compilations


def test_problems_of_one_shape_compile_once():
  mds.smacof(clustered(0), num_dimensions=3, rtol=1e-3)
  with counted_compilations() as compilations:
    for seed in range(1, 4):
      mds.smacof(clustered(seed), num_dimensions=3, max_iterations=seed, rtol=10.0 ** (-seed))
  assert not compilations

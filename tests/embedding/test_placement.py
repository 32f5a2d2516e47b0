import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from l2g_jax.embedding.placement import place, triangulate
from l2g_jax.errors import InputError


def problem(seed, *, anchors, dimensions, points=7, noise=0.0):
  rng = np.random.default_rng(seed)
  frame = rng.normal(size=(anchors, dimensions)).astype(np.float32)
  true = rng.normal(size=(points, dimensions)).astype(np.float32)
  delta = np.linalg.norm(true[:, None] - frame[None], axis=-1)
  delta = delta * np.exp(noise * rng.normal(size=delta.shape))
  return frame, true, delta.astype(np.float32)


def stress(point, frame, delta, weights):
  return np.sum(weights * (np.linalg.norm(frame - point[None], axis=1) - delta) ** 2)


@pytest.mark.fast
@pytest.mark.parametrize("dimensions", [1, 2, 5, 16])
def test_points_come_back_from_one_more_anchor_than_dimensions(dimensions):
  frame, true, delta = problem(dimensions, anchors=dimensions + 1, dimensions=dimensions)
  # Random simplices are at times nearly flat; this one is not.
  frame = np.concatenate([np.zeros((1, dimensions)), 2.0 * np.eye(dimensions)]).astype(np.float32)
  delta = np.linalg.norm(true[:, None] - frame[None], axis=-1)
  np.testing.assert_allclose(triangulate(frame, delta), true, atol=1e-4)
  placed = place(frame, delta)
  np.testing.assert_allclose(placed.points, true, atol=1e-4)
  assert np.all(placed.normalized_stress < 1e-4)
  assert np.all(placed.converged)


@pytest.mark.parametrize("weighted", [False, True])
def test_placement_is_as_good_as_scipys_minimum(weighted):
  frame, _, delta = problem(0, anchors=12, dimensions=3, noise=0.3)
  rng = np.random.default_rng(1)
  weights = rng.uniform(0.2, 2.0, delta.shape) if weighted else np.ones(delta.shape)
  start = triangulate(frame, delta)
  placed = place(
    frame, delta, weights=weights if weighted else None, init=start, max_iterations=2000, rtol=0.0
  )
  for point, first, row, weight in zip(placed.points, start, delta, weights, strict=True):
    best = scipy.optimize.minimize(stress, first, (frame, row, weight))
    assert stress(np.asarray(point), frame, row, weight) <= best.fun * (1 + 1e-3) + 1e-6


def test_the_stress_never_rises():
  frame, _, delta = problem(2, anchors=20, dimensions=4, noise=0.4)
  values = [np.asarray(place(frame, delta, max_iterations=n).stress) for n in range(8)]
  assert np.all(np.diff(values, axis=0) <= 1e-6)
  assert np.any(values[-1] < values[0])


def test_the_order_of_points_and_anchors_does_not_matter():
  frame, _, delta = problem(3, anchors=15, dimensions=4, noise=0.2)
  points = place(frame, delta).points
  np.testing.assert_array_equal(place(frame, delta[::-1].copy()).points, points[::-1])
  np.testing.assert_allclose(place(frame, delta[2:3]).points, points[2:3], atol=1e-6)
  turned = place(frame[::-1].copy(), delta[:, ::-1].copy()).points
  np.testing.assert_allclose(turned, points, atol=1e-3)


def test_masked_dissimilarities_count_for_nothing():
  frame, true, delta = problem(4, anchors=12, dimensions=3)
  mask = np.random.default_rng(0).random(delta.shape) < 0.7
  mask[:, :5] = True
  unknown = np.where(mask, delta, np.nan)
  np.testing.assert_allclose(triangulate(frame, unknown, weights=mask), true, atol=1e-3)
  placed = place(frame, unknown, weights=mask.astype(np.float32))
  np.testing.assert_allclose(placed.points, true, atol=1e-3)


def test_a_point_without_any_weight_stays_at_its_start():
  frame, _, delta = problem(5, anchors=6, dimensions=2)
  placed = place(frame, np.full_like(delta, np.nan), weights=np.zeros_like(delta))
  np.testing.assert_allclose(placed.points, np.tile(frame.mean(axis=0), (7, 1)), atol=1e-6)
  assert not np.any(placed.stress)
  assert np.all(placed.converged)


def test_anchors_of_each_point_give_the_same():
  frame, _, delta = problem(6, anchors=10, dimensions=3, noise=0.2)
  shared = place(frame, delta)
  own = place(np.tile(frame, (7, 1, 1)), delta, init=triangulate(frame, delta))
  np.testing.assert_allclose(own.points, shared.points, atol=1e-5)


def test_flat_anchors_place_within_their_span():
  frame, true, _ = problem(7, anchors=9, dimensions=3)
  frame[:, 2] = 0.0
  true[:, 2] = 0.0
  delta = np.linalg.norm(true[:, None] - frame[None], axis=-1)
  np.testing.assert_allclose(place(frame, delta).points, true, atol=1e-3)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_placement_scales_with_its_input(scale):
  frame, _, delta = problem(8, anchors=10, dimensions=3, noise=0.2)
  points = place(frame, delta).points
  scaled = place(np.float32(scale) * frame, np.float32(scale) * delta)
  np.testing.assert_array_equal(scaled.points, np.float32(scale) * points)


def test_placement_works_under_jit_and_vmap():
  frame, _, delta = problem(9, anchors=10, dimensions=3, noise=0.2)
  points = place(frame, delta).points
  compiled = jax.jit(lambda frame, delta: place(frame, delta).points)
  np.testing.assert_allclose(compiled(frame, delta), points, atol=1e-5)
  mapped = jax.vmap(lambda delta: place(frame, delta[None]).points[0])(jnp.asarray(delta))
  np.testing.assert_allclose(mapped, points, atol=1e-5)
  found = jax.vmap(lambda delta: triangulate(frame, delta[None])[0])(jnp.asarray(delta))
  np.testing.assert_allclose(found, triangulate(frame, delta), atol=1e-5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda f, d: (f, np.full_like(d, np.nan), None), "mask unknown"),
    (lambda f, d: (f, -d, None), "at least 0"),
    (lambda f, d: (f[:-1], d, None), r"anchors \[L, m\]"),
    (lambda f, d: (f, d, d[:, 1:]), "weights must be"),
    (lambda f, d: (f, d, -d), "weights of at least 0"),
    (lambda f, d: (f * np.float32(np.nan), d, None), "finite anchors"),
    (lambda f, d: (np.tile(f, (7, 1, 1)), d, None), "init"),
  ],
)
def test_what_cannot_be_placed_is_refused(change, message):
  frame, _, delta = problem(10, anchors=6, dimensions=2)
  anchors, delta, weights = change(frame, delta)
  with pytest.raises(InputError, match=message):
    place(anchors, delta, weights=weights)

"""The system of diffusion over the graph of mutual neighbours, and its solution on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from l2g_jax.ranking.graph import add_lists, power

# Images whose neighbours' lists are compared at a time.
_IMAGES_AT_A_TIME = 256
# Columns of lists that are added in one pass over the memory.
_UNROLLED = 10


class Links(NamedTuple):
  """S = D^-1/2 A D^-1/2 by columns of padded lists: `[n, N]` ids, and values, 0 where none is."""

  ids: jax.Array
  values: jax.Array


class _Solution(NamedTuple):
  """Carry of conjugate gradients for right-hand sides `[N, B]`; the others are `[B]`."""

  iteration: jax.Array
  solution: jax.Array
  residual: jax.Array
  direction: jax.Array
  squared: jax.Array
  num_iterations: jax.Array


@jax.jit
def link(ids, similarities, gamma) -> Links:
  """Makes the matrix of the mutual ones among neighbours `[N, n]`."""

  def returned(image_and_list):
    """Returns the similarities of the other direction `[n]`, 0 where there is none."""
    image, near = image_and_list
    back = ids[near] == image
    return jnp.max(jnp.where(back, similarities[near], 0.0), axis=1)

  images = jnp.arange(len(ids), dtype=jnp.int32)
  other = jax.lax.map(returned, (images, ids), batch_size=_IMAGES_AT_A_TIME)
  linked = (ids >= 0) & (ids != images[:, None])
  affinities = power(jnp.where(linked, jnp.minimum(similarities, other), 0.0), gamma)
  degrees = jnp.sum(affinities, axis=1)
  roots = jnp.where(degrees > 0.0, jax.lax.rsqrt(jnp.where(degrees > 0.0, degrees, 1.0)), 0.0)
  # The product of the roots comes first: it is the same for both directions, to the last bit.
  return Links(ids.T, (affinities * (roots[:, None] * roots[ids])).T)


@jax.jit
def solve(links: Links, ids, values, alpha, tolerance, max_iterations):
  """Solves for sparse right-hand sides `[B, count]`, each of which stops by itself.

  Returns:
    Solutions `[B, N]`, whether each has converged, and after how many iterations.
  """
  num_images = links.ids.shape[1]
  right = jax.vmap(add_lists)(
    jnp.zeros((len(ids), num_images), values.dtype),
    ids[:, None],
    values[:, None],
    jnp.ones((len(ids), 1), values.dtype),
  ).T

  def product(vectors):
    def add(total, link):
      ids, values = link
      return total + values[:, None] * vectors[ids], None

    spread, _ = jax.lax.scan(add, jnp.zeros_like(vectors), links, unroll=_UNROLLED)
    return vectors - alpha * spread

  def is_open(state: _Solution):
    return state.squared > bound

  def advance(state: _Solution) -> _Solution:
    active = is_open(state)
    image = product(state.direction)
    curvature = jnp.sum(state.direction * image, axis=0)
    step = jnp.where(active, state.squared / jnp.where(active, curvature, 1.0), 0.0)
    residual = state.residual - step[None] * image
    squared = jnp.where(active, jnp.sum(residual * residual, axis=0), state.squared)
    ratio = squared / jnp.where(active, state.squared, 1.0)
    return _Solution(
      iteration=state.iteration + 1,
      solution=state.solution + step[None] * state.direction,
      residual=residual,
      direction=residual + ratio[None] * state.direction,
      squared=squared,
      num_iterations=state.num_iterations + active.astype(jnp.int32),
    )

  norms = jnp.sum(right * right, axis=0)
  bound = tolerance**2 * norms
  start = _Solution(
    iteration=jnp.int32(0),
    solution=jnp.zeros_like(right),
    residual=right,
    direction=right,
    squared=norms,
    num_iterations=jnp.zeros(right.shape[1], jnp.int32),
  )
  state = jax.lax.while_loop(
    lambda state: jnp.any(is_open(state)) & (state.iteration < max_iterations), advance, start
  )
  return ((1.0 - alpha) * state.solution).T, ~is_open(state), state.num_iterations

"""Classical scaling (Torgerson, 1952) of one problem, by matrix products and Cholesky factors.

A GPU decomposes the matrices of a batch one after another, and a TPU is slow at it; products run
together. `eigh` is called only for matrices small enough for a batched Jacobi method.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from l2g_jax.embedding.lanczos import least_eigenvalue
from l2g_jax.embedding.stress import Problem, centre, distances_of, product

# Products with the centred matrix that turn a random subspace towards the leading one. It need not
# arrive there: the random remainder parts points that would coincide in the leading directions, and
# the stress then falls faster.
_PRODUCTS = 6
# The least rank of a subspace, also where fewer dimensions are wanted; and the largest matrix that
# `eigh` decomposes.
_LEAST_RANK = 32
# One pass orthonormalises columns whose norms differ by up to three digits in float32; the second
# makes up for the rest (Yamamoto and others, 2015).
_CHOLESKY_PASSES = 2
# The iteration for the sign of a matrix stops when all but this share of its eigenvalues are near
# -1 or 1. Eigenvalues that are 0 but for rounding never get there, hence the limit on the steps.
_UNSIGNED_SHARE = 0.02
_SIGN_STEPS = 40


class Scaled(NamedTuple):
  """Points `[n, m]`, scaled to the least stress, and their distances `[n, n]`."""

  points: jax.Array
  distances: jax.Array


def classical_start(problem: Problem, num_dimensions: int, seed: ArrayLike) -> Scaled:
  """Embeds a problem of n points by classical scaling, clipped and scaled to the least stress.

  The centred matrix C is shifted by its least eigenvalue, so that subspace iteration finds the
  greatest eigenvalues and not those far below 0. It finds an orthonormal basis Q `[n, r]`. The
  positive part of Q^T C Q is F F^T, and the points are Q F. Q is the identity where
  `num_dimensions` reaches n.

  Args:
    problem: of n points; pairs of weight 0 get the mean dissimilarity of the others.
    num_dimensions: m.
    seed: of the random subspace.

  Returns:
    The `Scaled` points, centred.

  Source: Torgerson (1952); Halko, Martinsson and Tropp (2011), randomised subspace iteration;
  Yamamoto and others (2015), Cholesky QR in two passes.
  """
  size = len(problem.delta)
  if size < 2:
    points = jnp.zeros((size, num_dimensions), problem.delta.dtype)
    return Scaled(points, jnp.zeros_like(problem.delta))
  # The subspace uses the key itself, Lanczos' method one of its own.
  key = jax.random.key(seed)
  centred = _centred_squares(problem)
  chance = jax.random.normal(jax.random.fold_in(key, 1), (size,), centred.dtype)
  shift = jnp.maximum(-least_eigenvalue(centred, chance), 0.0)
  rank = max(num_dimensions, _LEAST_RANK)
  basis = jnp.eye(size, dtype=centred.dtype)
  if rank < size:
    basis = _leading_basis(centred, shift, jax.random.normal(key, (size, rank), centred.dtype))
  inner = product(basis.T, product(centred, basis))
  inner = 0.5 * (inner + inner.T)
  if len(inner) <= _LEAST_RANK:
    factor = _leading_factor(inner, num_dimensions)
  else:
    factor = _positive_factor(inner)
  start = product(basis, factor)
  start = jnp.pad(start, ((0, 0), (0, num_dimensions - start.shape[1])))
  start = centre(problem, start)
  distances = distances_of(start)
  energy = jnp.sum(problem.weights * distances**2)
  scale = jnp.sum(problem.weights * problem.delta * distances) / jnp.where(energy > 0, energy, 1.0)
  return Scaled(scale * start, scale * distances)


def _centred_squares(problem: Problem) -> jax.Array:
  """Returns -1/2 J D^2 J `[n, n]`, whose eigenvectors are the axes of classical scaling."""
  total = jnp.sum(problem.weights)
  mean = jnp.sum(problem.weights * problem.delta) / jnp.where(total > 0.0, total, 1.0)
  squared = jnp.where(problem.weights > 0.0, problem.delta, mean) ** 2
  squared = jnp.where(jnp.eye(len(squared), dtype=bool), 0.0, squared)
  return -0.5 * centre(problem, centre(problem, squared).T)


def _leading_basis(matrix: jax.Array, shift: jax.Array, basis: jax.Array) -> jax.Array:
  """Turns random columns `[n, r]` into orthonormal ones near the leading eigenvectors."""

  def turn(_, basis: jax.Array) -> jax.Array:
    basis = product(matrix, basis) + shift * basis
    for _ in range(_CHOLESKY_PASSES):
      factor = _cholesky(product(basis.T, basis))
      basis = jax.lax.linalg.triangular_solve(
        factor, basis, left_side=False, lower=True, transpose_a=True
      )
    return basis

  return jax.lax.fori_loop(0, _PRODUCTS, turn, basis)


def _cholesky(gram: jax.Array) -> jax.Array:
  """Returns the Cholesky factor of a matrix whose least eigenvalues may be below 0 by rounding."""
  rounding = 10.0 * jnp.finfo(gram.dtype).eps * jnp.trace(gram)
  # A matrix of zeros has a factor too.
  rounding = jnp.maximum(rounding, jnp.finfo(gram.dtype).tiny)
  return jnp.linalg.cholesky(gram + rounding * jnp.eye(len(gram), dtype=gram.dtype))


def _leading_factor(inner: jax.Array, num_dimensions: int) -> jax.Array:
  """Returns F `[r, min(m, r)]`; F F^T is the part of the m greatest eigenvalues above 0."""
  values, vectors = jnp.linalg.eigh(inner)
  values, vectors = values[::-1][:num_dimensions], vectors[:, ::-1][:, :num_dimensions]
  return vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]


def _positive_factor(inner: jax.Array) -> jax.Array:
  """Returns F `[r, r]`; F F^T is the part of the positive eigenvalues.

  The sign S of the matrix A, by the iteration of Newton and Schulz, splits it: S A is the absolute
  value of A, and (I + S) / 2 projects on the eigenvectors of positive eigenvalues.
  """
  identity = jnp.eye(len(inner), dtype=inner.dtype)

  def improve(carry):
    sign, _, count = carry
    squared = product(sign, sign)
    return 1.5 * sign - 0.5 * product(sign, squared), jnp.trace(squared), count + 1

  # The iteration converges for eigenvalues below sqrt(3). After the division none is above 1 / 0.7,
  # since the Frobenius norm bounds them all.
  bound = 0.7 * jnp.linalg.norm(inner)
  start = inner / jnp.where(bound > 0.0, bound, 1.0)
  enough = (1.0 - _UNSIGNED_SHARE) * len(inner)
  sign, _, _ = jax.lax.while_loop(
    lambda carry: (carry[1] < enough) & (carry[2] < _SIGN_STEPS),
    improve,
    (start, jnp.zeros((), inner.dtype), jnp.zeros((), jnp.int32)),
  )
  projection = 0.5 * (identity + sign)
  positive = product(projection, product(product(sign, inner), projection))
  return _cholesky(0.5 * (positive + positive.T))

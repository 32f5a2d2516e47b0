"""The input of SMACOF and classical scaling: its conversion to floats, and its checks.

Traced arrays have no values yet, so that only their shapes are checked.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from l2g_jax.embedding import powers
from l2g_jax.errors import InputError

# Both directions of a pair may differ by rounding, by this share of the pair. Dissimilarities may
# also differ by a share of the greatest one, since a small one may be a difference of larger ones.
_SYMMETRY = 1e-4
_SYMMETRY_OF_GREATEST = 1e-6


def read_problem(
  dissimilarities: ArrayLike, weights: ArrayLike | None
) -> tuple[jax.Array, jax.Array | None]:
  """Returns both as floats `[n, n]` or `[B, n, n]`, weights in the type of the dissimilarities.

  Raises:
    InputError: they are not square matrices of one shape; or an array that is not traced holds a
      value of positive weight that is not finite, is below 0, or is not symmetric, or a positive
      weight that is 0 in the type.
  """
  delta = _read(dissimilarities, "dissimilarities")
  if delta.ndim == 1:
    raise InputError(
      "SMACOF takes a matrix [n, n] of dissimilarities; convert a condensed vector by "
      "scipy.spatial.distance.squareform."
    )
  if delta.ndim not in (2, 3) or delta.shape[-1] != delta.shape[-2]:
    raise InputError(f"SMACOF needs square dissimilarities [n, n] or [B, n, n], not {delta.shape}.")
  if weights is None:
    if not isinstance(delta, Tracer):
      _check_values(delta, None, "dissimilarities")
    return delta, None
  weights = _read(weights, "weights", delta.dtype)
  if weights.shape != delta.shape:
    raise InputError(
      f"SMACOF needs weights of the shape of the dissimilarities, {delta.shape}, "
      f"not {weights.shape}."
    )
  if not isinstance(weights, Tracer):
    _check_values(weights, None, "weights")
    if not isinstance(delta, Tracer):
      _check_values(delta, weights, "dissimilarities")
  return delta, weights


def read_init(init: ArrayLike, delta: jax.Array) -> jax.Array:
  """Returns a start `[..., n, m]` for dissimilarities `[..., n, n]`, in their type.

  Raises:
    InputError: it does not fit that shape, has no dimension, or holds a value that is not finite.
  """
  init = _read(init, "init", delta.dtype)
  if init.ndim != delta.ndim or init.shape[:-1] != delta.shape[:-1] or init.shape[-1] < 1:
    shape = ", ".join(str(size) for size in delta.shape[:-1])
    raise InputError(
      f"SMACOF needs an init of shape [{shape}, m] for dissimilarities of {delta.shape}, "
      f"not {init.shape}."
    )
  if not isinstance(init, Tracer) and not np.all(np.isfinite(init)):
    raise InputError(f"SMACOF needs a finite init{_within(init.dtype)}.")
  return init


def _read(array: ArrayLike, name: str, dtype: Any = None) -> jax.Array:
  """Returns floats of a type; None = its own, or float32 for half precision and integers."""
  if not isinstance(array, jax.Array):
    # On the host: the device's integers and floats may be too short for these.
    if np.ma.isMaskedArray(array):
      raise InputError(f"SMACOF takes no masked {name}; mask unknown pairs by a weight of 0.")
    try:
      array = np.asarray(array)
    except ValueError as error:
      raise InputError(f"SMACOF needs {name} whose rows are of one length.") from error
  if array.dtype != bool and not (
    jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating)
  ):
    raise InputError(f"SMACOF needs real numbers as {name}, not values of type {array.dtype}.")
  if dtype is None:
    own = array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else float
    own = jax.dtypes.canonicalize_dtype(own)
    dtype = own if own == jnp.float64 else jnp.dtype(jnp.float32)
  if isinstance(array, jax.Array):
    return array.astype(dtype)
  with np.errstate(over="ignore"):
    shortened = array.astype(dtype)
  if np.any(array) and not np.any(shortened):
    raise InputError(f"SMACOF needs {name}{_within(dtype)}: these are all 0 there; scale them.")
  if name == "weights" and np.any((array != 0) & (shortened == 0)):
    raise InputError(
      f"SMACOF needs weights{_within(dtype)}: the least above 0 is 0 there, which would make its "
      "pair unknown; scale the weights, or set it to 0."
    )
  return jnp.asarray(shortened)


def _within(dtype: Any) -> str:
  """Returns the range of a type, in words for a message."""
  return f" within the range of {jnp.dtype(dtype).name}, {jnp.finfo(dtype).max:.0e}"


def _check_values(array: jax.Array, weights: jax.Array | None, name: str) -> None:
  """Refuses values of positive weight that no embedding can answer."""
  tolerance = _SYMMETRY_OF_GREATEST if name == "dissimilarities" else 0.0
  if all(device.platform == "cpu" for device in array.devices()):
    # On the host, which compiles no program and makes no copy.
    stack = array.shape if array.ndim == 3 else (1, *array.shape)
    problems = np.asarray(array).reshape(stack)
    known = [None] * len(problems) if weights is None else np.asarray(weights).reshape(stack)
    with np.errstate(invalid="ignore"):
      properties = [
        _properties(np, problem, weight, tolerance)
        for problem, weight in zip(problems, known, strict=True)
      ]
    finite, positive, symmetric = np.all(np.reshape(properties, (-1, 3)), axis=0).tolist()
  else:
    found = _properties_on_devices(array, weights, tolerance=tolerance)
    finite, positive, symmetric = jax.device_get(found)
  if not finite:
    raise InputError(
      f"SMACOF needs finite {name}{_within(array.dtype)}; mask unknown pairs by a weight of 0."
    )
  if not positive:
    raise InputError(f"SMACOF needs {name} of at least 0.")
  if not symmetric:
    raise InputError(f"SMACOF needs symmetric {name}; average both directions first.")


@functools.partial(jax.jit, static_argnames="tolerance")
def _properties_on_devices(array: jax.Array, weights: jax.Array | None, *, tolerance: float):
  """Returns the properties of all problems `[..., n, n]`; only these leave the devices."""

  def of_one(array, weights):
    # Products must stay in the normal range: devices take numbers below it for 0.
    weights = None if weights is None else _near_one(weights)
    return _properties(jnp, array, weights, tolerance, _near_one)

  if array.ndim == 2:
    return of_one(array, weights)
  return jax.tree.map(jnp.all, jax.vmap(of_one)(array, weights))


def _properties(
  library: Any, array: Any, weights: Any, tolerance: float, scale: Callable = lambda array: array
):
  """Returns whether a matrix is finite, at least 0 and symmetric, by NumPy or by JAX.

  The diagonal and pairs of weight 0 are ignored.
  """
  counts = ~library.eye(len(array), dtype=bool)
  if weights is not None:
    counts &= weights > 0.0
  array = scale(library.where(counts, array, 0.0))
  greatest = library.max(library.abs(array), initial=0.0)
  allowed = _SYMMETRY * library.abs(array) + tolerance * greatest
  symmetric = library.all(library.abs(array - array.T) <= allowed)
  return library.all(library.isfinite(array)), library.all(array >= 0.0), symmetric


def _near_one(array: jax.Array) -> jax.Array:
  """Returns values in a unit in which no product or difference leaves the range of the type."""
  return powers.into_unit(array, powers.exponent_of(array))

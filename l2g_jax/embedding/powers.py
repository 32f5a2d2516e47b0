"""Scaling by powers of 2, which is exact, so that solvers work on numbers near 1.

Devices flush numbers below the normal range of a type (subnormal numbers) to 0, but their bits
remain. A subnormal number is a multiple of the least number of its type, and is handled as that
integer.
"""

import jax
import jax.numpy as jnp

_INTEGERS = {4: jnp.int32, 8: jnp.int64}


def exponent_of(array: jax.Array) -> jax.Array:
  """Returns the e of the greatest magnitude, which is in [2^e, 2^(e + 1)).

  Args:
    array: float32 or float64, of any shape.

  Returns:
    `[]` int32; 0 where all values are 0, or one is not finite.
  """
  # Without the sign, bits order numbers as their magnitudes do.
  return _exponent(jnp.max(_magnitude_bits(array), initial=0), array)


def span_of(array: jax.Array) -> jax.Array:
  """Returns the exponent of the greatest magnitude less that of the least one above 0.

  Args:
    array: float32 or float64, of any shape.

  Returns:
    `[]` int32; 0 where all values are 0.
  """
  bits = _magnitude_bits(array)
  greatest = jnp.max(bits, initial=0)
  least = jnp.min(jnp.where(bits > 0, bits, greatest), initial=greatest)
  return _exponent(greatest, array) - _exponent(least, array)


def into_unit(array: jax.Array, exponent: jax.Array) -> jax.Array:
  """Returns `array` in a unit of 2^exponent, in which it is not subnormal."""
  info = jnp.finfo(array.dtype)
  bits = _magnitude_bits(array)
  count = jnp.where(jnp.signbit(array), -bits, bits).astype(array.dtype)
  subnormal = (bits > 0) & (bits >> info.nmant == 0)
  shift = jnp.where(subnormal, _least_exponent(array), 0) - exponent
  return multiply(jnp.where(subnormal, count, array), shift)


def out_of_unit(array: jax.Array, exponent: jax.Array) -> jax.Array:
  """Returns `array` times 2^exponent, rounded once; infinite beyond the range of the type.

  Args:
    array: float32 or float64, of any shape, not subnormal; the result may be.
    exponent: `[]` int32.
  """
  info = jnp.finfo(array.dtype)
  integer = _INTEGERS[array.dtype.itemsize]
  count = jnp.round(multiply(jnp.abs(array), exponent - _least_exponent(array)))
  few = (count > 0.0) & (count <= 2.0**info.nmant)
  bits = jnp.where(few, count, 0.0).astype(integer)
  bits |= jnp.where(array < 0.0, jnp.iinfo(integer).min, 0).astype(integer)
  subnormal = jax.lax.bitcast_convert_type(bits, array.dtype)
  return jnp.where(few, subnormal, multiply(array, exponent))


def multiply(array: jax.Array, exponent: jax.Array) -> jax.Array:
  """Returns `array` times 2^exponent, where neither it nor the result is subnormal."""
  info = jnp.finfo(array.dtype)
  # Two steps, since the ratio of two numbers of a type may be beyond its range.
  exponent = jnp.clip(exponent, 2 * info.minexp, 2 * (info.maxexp - 1))
  half = exponent >> 1
  for part in (half, exponent - half):
    biased = (part + (info.maxexp - 1)).astype(_INTEGERS[array.dtype.itemsize])
    array = array * jax.lax.bitcast_convert_type(biased << info.nmant, array.dtype)
  return array


def _exponent(bits: jax.Array, array: jax.Array) -> jax.Array:
  """Returns the exponent `[]` int32 of a magnitude given by its bits, in the type of an array."""
  info = jnp.finfo(array.dtype)
  normal = (bits >> info.nmant) - (info.maxexp - 1)
  highest_bit = jnp.iinfo(bits.dtype).bits - 1 - jax.lax.clz(bits)
  subnormal = highest_bit + _least_exponent(array)
  exponent = jnp.where(bits >> info.nmant > 0, normal, subnormal)
  return jnp.where((bits > 0) & (exponent < info.maxexp), exponent, 0).astype(jnp.int32)


def _magnitude_bits(array: jax.Array) -> jax.Array:
  """Returns the bits of an array without the sign."""
  integer = _INTEGERS[array.dtype.itemsize]
  return jax.lax.bitcast_convert_type(array, integer) & jnp.iinfo(integer).max


def _least_exponent(array: jax.Array) -> int:
  """Returns the exponent of the least number above 0 in the type of an array."""
  info = jnp.finfo(array.dtype)
  return int(info.minexp - info.nmant)

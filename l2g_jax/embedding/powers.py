"""Scaling by powers of two, which is exact: solvers then work on numbers near 1.

Devices take numbers below the normal range of a type (subnormal) for 0. Their bits are still there:
a subnormal number is a count of the least one, and is handled as that.
"""

import jax
import jax.numpy as jnp

_INTEGERS = {4: jnp.int32, 8: jnp.int64}


def exponent_of(array: jax.Array) -> jax.Array:
  """Returns the e of the greatest magnitude, which is in [2^e, 2^(e + 1)).

  Args:
    array: float32 or float64, of any shape.

  Returns:
    `[]` int32; 0 where all is 0, or something is not finite.
  """
  info = jnp.finfo(array.dtype)
  # Without the sign, bits order numbers as their magnitudes do.
  greatest = jnp.max(_magnitude_bits(array), initial=0)
  normal = (greatest >> info.nmant) - (info.maxexp - 1)
  highest_bit = jnp.iinfo(greatest.dtype).bits - 1 - jax.lax.clz(greatest)
  subnormal = highest_bit + _least_exponent(array)
  exponent = jnp.where(greatest >> info.nmant > 0, normal, subnormal)
  return jnp.where((greatest > 0) & (exponent < info.maxexp), exponent, 0).astype(jnp.int32)


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
  """Returns `array` times 2^exponent, for numbers and results that are not subnormal."""
  info = jnp.finfo(array.dtype)
  # In two steps, since ratios of numbers of a type may be beyond its range.
  exponent = jnp.clip(exponent, 2 * info.minexp, 2 * (info.maxexp - 1))
  half = exponent >> 1
  for part in (half, exponent - half):
    biased = (part + (info.maxexp - 1)).astype(_INTEGERS[array.dtype.itemsize])
    array = array * jax.lax.bitcast_convert_type(biased << info.nmant, array.dtype)
  return array


def _magnitude_bits(array: jax.Array) -> jax.Array:
  """Returns the bits but for the sign."""
  integer = _INTEGERS[array.dtype.itemsize]
  return jax.lax.bitcast_convert_type(array, integer) & jnp.iinfo(integer).max


def _least_exponent(array: jax.Array) -> int:
  """Returns that of the least number above 0 of a type."""
  info = jnp.finfo(array.dtype)
  return int(info.minexp - info.nmant)

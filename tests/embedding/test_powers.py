import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.embedding import powers

pytestmark = pytest.mark.fast

exponent_of, span_of, into_unit, out_of_unit = map(
  jax.jit, (powers.exponent_of, powers.span_of, powers.into_unit, powers.out_of_unit)
)


@given(st.integers(0, 10_000), st.integers(-149, 127), st.integers(-300, 300))
def test_scaling_equals_that_of_numpy_to_the_last_bit(seed, size, exponent):
  values = np.random.default_rng(seed).uniform(-1.0, 1.0, 20).astype(np.float32)
  values = np.ldexp(np.append(values, [0.0, -0.0, 1.0]).astype(np.float32), size)
  own = exponent_of(values)
  assert own == np.frexp(np.max(np.abs(values)))[1] - 1
  with np.errstate(over="ignore", under="ignore"):
    expected = np.ldexp(values, exponent)
  result = np.asarray(out_of_unit(into_unit(values, own), own + exponent))
  np.testing.assert_array_equal(result.view(np.int32), expected.view(np.int32))


def test_what_has_no_size_has_exponent_zero():
  for values in ([0.0, 0.0], [np.nan, 4.0], [np.inf, 4.0], []):
    assert exponent_of(np.array(values, np.float32)) == 0


def test_scaling_has_its_derivative_at_zero_too():
  def scaled(values):
    return jnp.sum(out_of_unit(into_unit(values, jnp.int32(3)), jnp.int32(1)))

  np.testing.assert_array_equal(jax.grad(scaled)(np.array([0.0, 5.0], np.float32)), 0.25)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_the_span_is_the_difference_of_exponents(values):
  values = np.pad(np.array(values, np.float32), (0, 6 - len(values)))
  exponents = np.frexp(values[values != 0.0])[1]
  assert span_of(values) == (np.ptp(exponents) if len(exponents) else 0)

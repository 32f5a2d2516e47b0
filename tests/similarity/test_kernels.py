import fractions
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.similarity import kernels

pytestmark = pytest.mark.fast

ALL = [kernels.Chamfer(), kernels.Power(), kernels.Power(alpha=3.0, tau=0.2), kernels.Cann()]


@pytest.mark.parametrize("kernel", ALL, ids=str)
def test_kernel_is_monotone_and_ends_at_one(kernel):
  values = kernel(np.linspace(-1.0, 1.0, 201))
  assert np.all(np.diff(values) >= 0.0)
  assert values[0] >= 0.0
  np.testing.assert_allclose(values[-1], 1.0)


@pytest.mark.parametrize("kernel", ALL, ids=str)
def test_kernel_agrees_between_numpy_and_jax(kernel):
  cosines = np.linspace(-1.0, 1.0, 51, dtype=np.float32)
  np.testing.assert_allclose(kernel(jnp.asarray(cosines)), kernel(cosines), atol=1e-6)


@pytest.mark.parametrize("kernel", ALL, ids=str)
def test_text_of_a_kernel_is_read_back(kernel):
  assert kernels.parse(str(kernel)) == kernel


def test_power_by_hand():
  np.testing.assert_allclose(
    kernels.Power(alpha=2.0, tau=0.5)(np.array([0.25, 0.75, 1.0])), [0.0, 0.25, 1.0]
  )


def test_superellipse_is_zero_beyond_its_radius():
  np.testing.assert_array_equal(kernels.Cann(radius=1.0)(np.array([0.4, -1.0])), [0.0, 0.0])


@pytest.mark.parametrize(
  "text",
  [
    "",
    "sift",
    "power(alpha)",
    "power(beta=1)",
    "power(alpha=0.5)",
    "power(tau=0.9999999999)",
    "cann(p=2)",
  ],
)
def test_unreadable_kernel_is_refused(text):
  with pytest.raises(InputError, match="ernel"):
    kernels.parse(text)


_SEVENS: list[Any] = [7, 7.0, np.int64(7), np.float32(7.0), fractions.Fraction(7)]
_ZEROS: list[Any] = [0, 0.0, -0.0, np.uint8(0)]


@pytest.mark.parametrize(
  "equal_kernels",
  [
    [kernels.Power(alpha=alpha) for alpha in _SEVENS],
    [kernels.Power(tau=tau) for tau in _ZEROS],
    [kernels.Cann(radius=radius) for radius in (2, 2.0, np.float64(2.0))],
  ],
)
def test_equal_kernels_have_one_text_and_one_hash(equal_kernels):
  assert len(set(equal_kernels)) == 1
  assert len({str(kernel) for kernel in equal_kernels}) == 1
  cosines = np.linspace(-1.0, 1.0, 21, dtype=np.float32)
  for kernel in equal_kernels:
    assert kernel(cosines).dtype == np.float32
    np.testing.assert_array_equal(kernel(cosines), equal_kernels[1](cosines))


def test_texts_of_defaults_are_those_of_indexes_on_disk():
  texts = [str(kernel()) for kernel in (kernels.Chamfer, kernels.Power, kernels.Cann)]
  assert texts == [
    "chamfer",
    "power(alpha=7.0,tau=0.0)",
    "cann(radius=5.454545454545454,p=0.459)",
  ]


@pytest.mark.parametrize("kernel", [*ALL, kernels.Power(alpha=2.5)], ids=str)
def test_the_type_of_the_cosines_is_kept(kernel):
  for dtype in (np.float32, np.float64):
    assert kernel(np.linspace(-1.0, 1.0, 5, dtype=dtype)).dtype == dtype
  assert kernel(jnp.linspace(-1.0, 1.0, 5)).dtype == jnp.float32
  assert np.isnan(kernel(np.array([np.nan]))[0])


@pytest.mark.parametrize("alpha", [1024, 1e9, 1e30])
def test_huge_exponents_leave_equal_descriptors_alone(alpha):
  cosines = np.array([0.0, 0.9, 1.0], np.float32)
  for values in (cosines, jnp.asarray(cosines)):
    np.testing.assert_allclose(kernels.Power(alpha=alpha)(values), [0.0, 0.0, 1.0], atol=1e-30)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e40, 10**400, "7", True, None, 7j, np.ones(1)])
def test_parameters_that_are_no_usable_number_are_refused(value):
  for kernel in (lambda: kernels.Power(alpha=value), lambda: kernels.Cann(radius=value)):
    with pytest.raises(InputError, match="Kernel parameter"):
      kernel()


@pytest.mark.parametrize(
  "text",
  [
    "power(alpha=1,alpha=2)",
    "power(alpha==7)",
    "power(alpha=7,)",
    "power(,)",
    "power(7)",
    "power(alpha=1_0)",
    "power(alpha=\u0667)",
    "power(alpha=nan)",
    "power(alpha=1e999)",
    "chamfer(alpha=7)",
    "Power",
    "power(alpha=7",
    "power(alpha=7)(tau=0)",
    None,
    7,
  ],
)
def test_odd_texts_are_refused_in_one_sentence(text):
  with pytest.raises(InputError, match=r"^Kernel [^\n]*\.$"):
    kernels.parse(text)


@pytest.mark.parametrize("text", ["power()", " power ", "power ( alpha = 7 , tau=-0e0 )"])
def test_spaces_and_left_out_parameters_are_of_no_account(text):
  assert str(kernels.parse(text)) == str(kernels.Power())


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.9, 0.999])
def test_an_equal_descriptor_is_worth_1(tau):
  cosines = np.array([0.0, 1.0], np.float32)
  np.testing.assert_allclose(kernels.Power(alpha=7, tau=tau)(cosines), [0.0, 1.0], rtol=1e-3)

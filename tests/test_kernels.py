import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax import kernels
from l2g_jax.errors import InputError

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
  ["", "sift", "power(alpha)", "power(beta=1)", "power(alpha=0.5)", "power(tau=1)", "cann(p=2)"],
)
def test_unreadable_kernel_is_refused(text):
  with pytest.raises(InputError, match="ernel"):
    kernels.parse(text)

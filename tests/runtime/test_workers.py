import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import workers


def test_the_environment_bounds_the_cores_of_a_process(monkeypatch):
  monkeypatch.delenv(workers.CORES, raising=False)
  cores = workers.available_cores()
  for most, expected in (("1", 1), ("100000", cores), ("", cores)):
    monkeypatch.setenv(workers.CORES, most)
    assert workers.available_cores() == expected


@pytest.mark.parametrize("most", ["0", "-1", "two"])
def test_a_bound_that_is_no_number_of_cores_is_refused(monkeypatch, most):
  monkeypatch.setenv(workers.CORES, most)
  with pytest.raises(InputError, match="L2G_JAX_CORES must be at least 1"):
    workers.available_cores()

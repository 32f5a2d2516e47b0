"""Strict JAX in every test: promotions raise; several CPU devices stand for accelerators."""

import os
import shutil
import tempfile

# Tests compile much and compute little: XLA's way to programs that run fast costs more than half of
# their time. A run of the main job in `tests.cli.test_commands` is compiled as usual.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_force_host_platform_device_count=8"
  " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
  "l2g", deadline=None, derandomize=True, max_examples=30, print_blob=True
)
hypothesis.settings.load_profile("l2g")

_COMPILED = "JAX_COMPILATION_CACHE_DIR"
_LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def pytest_configure(config: pytest.Config) -> None:
  """Shares what is compiled among all processes of a run, in a folder of the run alone.

  Workers and the processes that tests start inherit the environment of the first process.
  """
  os.environ.setdefault(_LEAST_SECONDS, "0.1")
  if _COMPILED not in os.environ:
    folder = os.environ[_COMPILED] = tempfile.mkdtemp(prefix="l2g_jax-compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
  jax.config.update("jax_compilation_cache_dir", os.environ[_COMPILED])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[_LEAST_SECONDS]))

"""Strict JAX in every test: promotions raise; several CPU devices stand for accelerators."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
  "l2g", deadline=None, derandomize=True, max_examples=30, print_blob=True
)
hypothesis.settings.load_profile("l2g")

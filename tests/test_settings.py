import functools
import pickle
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l2g_jax import settings
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features.fire import FireConfig
from l2g_jax.features.sift import sift
from l2g_jax.features.superglobal import SuperGlobalConfig
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G

pytestmark = pytest.mark.fast

NAN, INF = float("nan"), float("inf")
# What no number of a configuration may be.
NO_NUMBERS = [NAN, -INF, "1", None, True, [1.0], 1j]
BAD = {
  **{
    name: [*NO_NUMBERS, INF, 2.0, 1.5, least - 1, -(10**30), 1 << 31, np.float32(3.0)]
    for name, least in (
      ("num_known", 1),
      ("num_query_known", 1),
      ("num_dimensions", 1),
      ("max_iterations", 0),
      ("num_neighbors", 0),
      ("seed", 0),
    )
  },
  "num_embedded": [0, -1, 2.5, True, "4"],
  "num_reranked": [0, -1, 2.5, True, "4"],
  "power": [*NO_NUMBERS, INF, 0.0, -1.0, 1e-46, 1e39],
  "rtol": [*NO_NUMBERS, INF, -1e-9, 1e39],
  "beta": [*NO_NUMBERS, INF, -0.1, np.float64(NAN)],
  "certainty_ratio": [*NO_NUMBERS, 0, -1.0],
  **{
    name: ["other", "", None, 1, True]
    for name in ("query_pairs", "measure", "completion", "method", "fusion")
  },
}
# Seeds reach further than other integers.
BAD["seed"].remove(1 << 31)


@pytest.mark.parametrize(
  ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_configuration_refuses_what_makes_no_sense(name, value):
  with pytest.raises(InputError, match=rf"^{name} must be .*, not ") as refused:
    L2GConfig(**{name: value})
  assert isinstance(refused.value, SettingError)
  assert refused.value.setting == name


def test_the_ends_of_the_ranges_are_taken():
  L2GConfig(
    num_known=1,
    num_query_known=1,
    power=1e-6,
    num_dimensions=1,
    max_iterations=0,
    rtol=0.0,
    num_embedded=1,
    num_reranked=1,
    num_neighbors=0,
    beta=0.0,
    certainty_ratio=INF,
    seed=(1 << 32) - 1,
  )


def test_equal_configurations_are_equal_whatever_the_type_of_their_numbers():
  plain = L2GConfig(num_known=7, beta=1.0, seed=3, num_reranked=50, fusion="sum", rtol=0.25)
  numbers: dict[str, Any] = {
    "num_known": np.int64(7),
    "beta": 1,
    "seed": np.array(3),
    "num_reranked": np.uint8(50),
    "fusion": np.str_("sum"),
    "rtol": np.float32(0.25),
  }
  same = L2GConfig(**numbers)
  assert same == plain
  assert hash(same) == hash(plain)
  assert repr(same) == repr(plain)


def test_numbers_and_choices_are_all_of_a_configuration():
  config = L2GConfig(num_query_known=4, num_embedded=25, num_reranked=30)
  numbers, choices = config.numbers(), config.choices(20)
  assert {*numbers._fields, *choices._fields} == set(vars(config))
  assert not {*numbers._fields} & {*choices._fields}
  for name, value in numbers._asdict().items():
    assert value == np.array(getattr(config, name), value.dtype)
  for size, embedded, reranked in ((20, 20, 20), (28, 25, 28), (40, 25, 30)):
    choices = config.choices(size)
    assert (choices.num_embedded, choices.num_reranked) == (embedded, reranked)
  assert L2GConfig().choices(40) == config.choices(40)._replace(num_embedded=40, num_reranked=40)


@pytest.mark.parametrize("weight", [-0.1, 1.1, NAN, INF, True, None, "0.5"])
def test_a_weight_outside_the_unit_interval_is_refused(weight):
  with pytest.raises(InputError, match="w must be between 0 and 1, not"):
    L2G(weight=weight)


@pytest.mark.parametrize("block_bytes", [0, -1, 1.5, True])
def test_a_block_of_no_memory_is_refused(block_bytes):
  with pytest.raises(InputError, match=r"block_bytes must be .* not"):
    L2G(block_bytes=block_bytes)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_extractors_check_their_settings(value):
  for make in (
    functools.partial(sift, max_descriptors=value),
    functools.partial(sift, max_side=value),
    functools.partial(FireConfig, num_features=value),
    functools.partial(SuperGlobalConfig, num_scales=value),
    functools.partial(SuperGlobalConfig, depth=value),
    functools.partial(FireConfig, dtype=value),
    functools.partial(FireConfig, scales=(1.0, NAN)),
  ):
    with pytest.raises(SettingError):
      make()


def test_equal_settings_of_extractors_are_the_same_cache_key():
  five: Any = np.int64(5)
  side: Any = np.int64(640)
  assert sift(max_side=side).settings == sift(max_side=640).settings
  assert type(sift(max_side=side).settings["max_side"]) is int
  assert hash(SuperGlobalConfig(num_scales=five)) == hash(SuperGlobalConfig(num_scales=5))


def test_what_is_traced_passes():
  @jax.jit
  def twice(number):
    assert settings.integer("a", number, least=100) is number
    assert settings.real("b", number, least=100.0) is number
    return 2 * number

  assert twice(3) == 6
  # An array of JAX that is not traced has a value.
  with pytest.raises(SettingError):
    settings.real("b", jnp.float32(3.0), least=100.0)
  with pytest.raises(SettingError):
    settings.integer("a", jnp.int32(3), least=100)


def test_what_float32_can_not_tell_from_infinity_is_infinite():
  assert settings.real("ratio", 1e39, above=0.0, infinite=True) == INF
  assert L2GConfig(certainty_ratio=1e39) == L2GConfig(certainty_ratio=INF)


def test_an_error_survives_the_way_from_another_process():
  error = pickle.loads(pickle.dumps(SettingError("k", "at least 1", 0)))
  assert str(error) == "k must be at least 1, not 0."
  assert (error.setting, error.wanted, error.value) == ("k", "at least 1", 0)


def test_a_zero_has_no_sign():
  assert str(L2GConfig(beta=-0.0, rtol=-0.0)) == str(L2GConfig(beta=0.0, rtol=0.0))


def test_l2g_takes_a_configuration_and_plain_numbers():
  with pytest.raises(SettingError, match="config must be an L2GConfig"):
    L2G(config=cast(Any, {"beta": 1.0}))
  many = L2G(block_bytes=cast(Any, np.int64(1 << 40)))
  assert many == L2G(block_bytes=1 << 40)
  assert type(many.block_bytes) is int

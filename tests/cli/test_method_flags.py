"""Flags of the method, and what a preset makes of them."""

import pytest

from l2g_jax.cli import evaluate
from l2g_jax.cli.method_flags import read_index_config, read_method_config
from l2g_jax.errors import InputError
from l2g_jax.pipeline.config import PAPER, L2GConfig
from l2g_jax.similarity.kernels import Chamfer, Power


def parse(*words):
  return evaluate.COMMAND.parse([*words])[0]


@pytest.mark.fast
def test_without_a_preset_the_flags_have_the_defaults_of_the_method():
  values = parse()
  assert read_method_config(values) == L2GConfig()
  assert read_index_config(values).kernel == Power(7.0)
  assert values.w is None


def test_the_papers_preset_is_its_recipe():
  values = parse("--preset=paper")
  assert read_method_config(values) == PAPER
  assert read_index_config(values).kernel == Chamfer()
  assert values.w == 0.19


def test_a_flag_that_is_given_stands_above_the_preset():
  # Even where it says what the default is.
  values = parse("--preset=paper", "--p=0.6", "--w=0.81", "--M=700", "--kernel=power(alpha=3)")
  config = read_method_config(values)
  assert (config.power, config.num_reranked, config.beta) == (0.6, 700, PAPER.beta)
  assert read_index_config(values).kernel == Power(3.0)
  assert values.w == 0.81


def test_an_unknown_preset_is_refused():
  with pytest.raises(InputError, match="preset"):
    parse("--preset=mine")

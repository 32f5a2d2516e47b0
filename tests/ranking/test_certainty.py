import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.ranking.certainty import match_certainty
from tests.variants import VariantTestCase, jit_variants

pytestmark = pytest.mark.fast

JITTED = jax.jit(match_certainty, static_argnames="ratio")
SIZE = 12


def shortlist(seed, reached=SIZE):
  """Descending similarities, zeros where the search did not reach."""
  values = np.sort(10.0 ** np.random.default_rng(seed).uniform(-4, 0, SIZE))[::-1]
  return np.where(np.arange(SIZE) < reached, values, 0.0).astype(np.float32)


class CertaintyVariantsTest(VariantTestCase):
  @jit_variants
  def test_by_hand(self):
    certainty = self.variant(functools.partial(match_certainty, ratio=10.0))
    # Background: the mean of 0.01 and 0.03 is 0.02, ten times it is 0.2.
    scores = certainty(np.array([0.8, 0.25, 0.03, 0.01], np.float32))
    np.testing.assert_allclose(scores, [0.75, 0.2, 0.0, 0.0], atol=1e-6)

  @jit_variants
  def test_images_that_were_not_reached_are_no_background(self):
    certainty = self.variant(functools.partial(match_certainty, ratio=2.0))
    scores = certainty(np.array([0.8, 0.4, 0.1, 0.0, 0.0, 0.0], np.float32))
    # Of three reached images the worse two are background: 0.25.
    np.testing.assert_allclose(scores, [0.375, 0.0, 0.0, 0.0, 0.0, 0.0], atol=1e-6)

  @jit_variants
  def test_the_background_of_the_first_judges_the_others(self):
    certainty = self.variant(functools.partial(match_certainty, ratio=0.5, background_size=4))
    # Background: the mean of 0.2 and 0.1, of which half is 0.075.
    scores = certainty(np.array([0.8, 0.4, 0.2, 0.1, 0.09, 0.05, 0.0], np.float32))
    expected = [0.90625, 0.8125, 0.625, 0.25, 1 / 6, 0.0, 0.0]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("background_size", [SIZE, SIZE + 5, 3])
def test_a_background_of_all_is_the_default(background_size):
  values = shortlist(5)
  scores = match_certainty(values, ratio=2.0, background_size=background_size)
  equal = np.array_equal(scores, match_certainty(values, ratio=2.0))
  assert equal == (background_size >= SIZE)


@pytest.mark.parametrize("background_size", [-1, 1.5, True])
def test_a_background_that_makes_no_sense_is_refused(background_size):
  with pytest.raises(InputError, match="background_size must be"):
    match_certainty(shortlist(0), ratio=2.0, background_size=background_size)


@pytest.mark.parametrize("ratio", [0.5, 10.0, np.inf])
@pytest.mark.parametrize("size", [0, 1, SIZE])
def test_nothing_reached_is_not_certain(size, ratio):
  np.testing.assert_array_equal(JITTED(np.zeros(size, np.float32), ratio=ratio), np.zeros(size))


def test_an_infinite_ratio_makes_nothing_certain():
  np.testing.assert_array_equal(JITTED(shortlist(0), ratio=np.inf), np.zeros(SIZE))


def test_a_ratio_may_be_traced_and_infinite():
  traced = jax.jit(lambda values, ratio: match_certainty(values, ratio=ratio))
  for values in (shortlist(4), shortlist(4, 5), np.zeros(SIZE, np.float32)):
    for ratio in (0.5, 10.0, 1e30, np.inf):
      np.testing.assert_array_equal(traced(values, ratio), JITTED(values, ratio=ratio))
  # A background that float32 can't tell from 0 is no reason for NaN.
  tiny = np.array([1e-30, 1e-38, 1e-38], np.float32)
  np.testing.assert_array_equal(traced(tiny, np.inf), 0.0)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.nan, "10", True, None])
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
  with pytest.raises(InputError, match="ratio must be above 0"):
    match_certainty(shortlist(0), ratio=ratio)


def test_a_single_match_is_its_own_background():
  np.testing.assert_array_equal(JITTED(np.array([0.7], np.float32), ratio=1.0), [0.0])


def test_a_batch_equals_single_queries():
  batch = np.stack([shortlist(1), shortlist(2, 5), shortlist(3, 0)])
  scores = jax.jit(jax.vmap(functools.partial(match_certainty, ratio=3.0)))(batch)
  np.testing.assert_allclose(scores, [JITTED(row, ratio=3.0) for row in batch], atol=1e-6)


@given(st.integers(0, 10_000), st.integers(0, SIZE), st.sampled_from([0.5, 2.0, 10.0]))
def test_values_descend_in_the_unit_interval(seed, reached, ratio):
  values = shortlist(seed, reached)
  scores = np.asarray(JITTED(values, ratio=ratio))
  assert np.all((scores >= 0.0) & (scores < 1.0))
  assert np.all(np.diff(scores) <= 0.0)
  assert np.all(scores[reached:] == 0.0)


@given(st.integers(0, 10_000), st.integers(1, SIZE))
def test_the_unit_of_the_similarities_is_of_no_account(seed, reached):
  values = shortlist(seed, reached)
  scores = JITTED(values, ratio=2.0)
  np.testing.assert_allclose(JITTED(np.float32(0.01) * values, ratio=2.0), scores, atol=1e-5)


@given(st.integers(0, 10_000))
def test_a_larger_ratio_makes_less_certain(seed):
  values = shortlist(seed)
  small, large = (np.asarray(JITTED(values, ratio=ratio)) for ratio in (2.0, 10.0))
  assert np.all(large <= small)

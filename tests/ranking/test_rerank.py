import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

from l2g_jax.errors import InputError
from l2g_jax.ranking.rerank import superglobal_rerank
from tests.problems import rerank_by_hand, unit_rows
from tests.variants import VariantTestCase, jit_variants

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "rerank.npz"
JITTED = jax.jit(superglobal_rerank, static_argnames=("num_neighbors", "expansion"))


class RerankVariantsTest(VariantTestCase):
  @jit_variants
  @parameterized.parameters((0, "max"), (3, "mean"), (9, "max"), (40, "mean"))
  def test_equals_a_loop(self, num_neighbors, expansion):
    rng = np.random.default_rng(0)
    query, features = unit_rows(rng, 1, 24)[0], unit_rows(rng, 30, 24, correlated=True)

    @self.variant
    def scores(query, features):
      return superglobal_rerank(
        query, features, num_neighbors=num_neighbors, beta=0.4, expansion=expansion
      )

    expected = rerank_by_hand(query, features, num_neighbors, 0.4, expansion)
    np.testing.assert_allclose(scores(query, features), expected, atol=2e-6)

  @jit_variants
  def test_a_batch_equals_single_queries(self):
    rng = np.random.default_rng(1)
    queries = unit_rows(rng, 3, 16)
    features = np.stack([unit_rows(rng, 25, 16) for _ in range(3)])
    batch = self.variant(jax.vmap(superglobal_rerank))(queries, features)
    singles = [JITTED(*pair) for pair in zip(queries, features, strict=True)]
    np.testing.assert_allclose(batch, singles, atol=1e-6)


@pytest.mark.fast
def test_equals_the_public_implementation():
  golden = np.load(GOLDEN)
  rng = np.random.default_rng(1234)
  database, queries = unit_rows(rng, 5000, 2048), unit_rows(rng, 70, 2048)
  for row, query in enumerate(golden["queries"]):
    shortlist, expected = golden["shortlist"][row], golden["scores"][row]
    scores = np.asarray(JITTED(queries[query], database[shortlist]))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    order = np.argsort(-scores, kind="stable")
    positions = {image: place for place, image in enumerate(shortlist)}
    wanted = np.array([positions[image] for image in golden["order"][row]])
    # Places may differ only where the double precision scores are a tie.
    assert np.all(np.abs(expected[order] - expected[wanted]) < 1e-6)


@pytest.mark.parametrize("expansion", ["max", "mean"])
@given(seed=st.integers(0, 10_000))
def test_norms_are_of_no_account(expansion, seed):
  rng = np.random.default_rng(seed)
  query, features = unit_rows(rng, 1, 8)[0], unit_rows(rng, 25, 8)
  lengths = (10.0 ** rng.uniform(-15, 15, (25, 1))).astype(np.float32)
  scores = JITTED(np.float32(1e12) * query, lengths * features, expansion=expansion)
  expected = rerank_by_hand(query, features, 9, 0.15, expansion)
  np.testing.assert_allclose(scores, expected, atol=5e-6)


def test_a_long_neighbour_is_not_taken_for_the_feature_itself():
  # By inner products the second is the nearest of all.
  features = np.array([[1.0, 0.0], [9.0, 9.0], [0.0, 1.0]], np.float32)
  scores = JITTED(features[0], features, num_neighbors=0)
  np.testing.assert_allclose(scores, [1.0, 0.5**0.5, 0.0], atol=1e-6)


def test_a_feature_is_its_own_first_neighbour_where_rounding_says_another():
  # Near doubles: products of their own exceed by rounding that of the feature with itself.
  rng = np.random.default_rng(5)
  one = unit_rows(rng, 1, 64)[0]
  features = one[None] + 1e-7 * rng.standard_normal((40, 64), dtype=np.float32)
  features[20] = -one
  scores = np.asarray(JITTED(one, features, num_neighbors=0))
  assert scores[20] < 0.0
  np.testing.assert_allclose(np.delete(scores, 20), 1.0, atol=1e-5)


@pytest.mark.parametrize(
  ("setting", "values"),
  [
    ("beta", [np.nan, np.inf, -0.1, "1", True, None]),
    ("num_neighbors", [-1, 1.5, True, None, np.nan]),
    ("expansion", ["min", None, 3, (("min", 8),)]),
  ],
)
def test_settings_that_make_no_sense_are_refused(setting, values):
  features = unit_rows(np.random.default_rng(6), 5, 8)
  for value in values:
    with pytest.raises(InputError, match=f"{setting} must be"):
      superglobal_rerank(features[0], features, **{setting: value})


def test_beta_may_be_traced():
  features = unit_rows(np.random.default_rng(6), 25, 8)
  for beta in (0.0, 0.15, 3.0):
    expected = rerank_by_hand(features[0], features, 9, beta)
    np.testing.assert_allclose(JITTED(features[0], features, beta=beta), expected, atol=2e-6)
  assert np.isfinite(jax.grad(lambda beta: JITTED(features[0], features, beta=beta).sum())(0.15))


def test_padding_changes_nothing():
  rng = np.random.default_rng(2)
  query, features = unit_rows(rng, 1, 16)[0], unit_rows(rng, 12, 16)
  padded = np.concatenate([features, unit_rows(rng, 5, 16)])
  mask = np.arange(17) < 12
  scores = np.asarray(JITTED(query, padded, mask=mask))
  np.testing.assert_allclose(scores[:12], JITTED(query, features), atol=1e-6)
  assert np.all(np.isneginf(scores[12:]))


def test_blocks_are_expanded_each_in_its_way():
  rng = np.random.default_rng(3)
  query, features = unit_rows(rng, 1, 16)[0], unit_rows(rng, 25, 16)
  both = JITTED(query, features, expansion=(("mean", 6), ("max", 10)))
  for other in ("mean", "max"):
    assert not np.allclose(both, JITTED(query, features, expansion=other), atol=1e-4)
  with pytest.raises(ValueError, match="add up"):
    superglobal_rerank(query, features, expansion=(("mean", 6), ("max", 9)))


def test_no_neighbors_leave_the_similarity_to_the_query():
  rng = np.random.default_rng(4)
  query, features = unit_rows(rng, 1, 16)[0], unit_rows(rng, 25, 16)
  best = features[np.argmax(features @ query)]
  expected = (features @ query + features @ best) / 2
  np.testing.assert_allclose(JITTED(query, features, num_neighbors=0), expected, atol=1e-6)


def test_images_without_features_never_give_nan():
  query, features = jnp.ones(4) / 2, jnp.zeros((6, 4))
  assert np.all(np.isfinite(JITTED(query, features)))


@given(st.integers(0, 10_000), st.sampled_from([1, 7, 30]))
def test_scores_follow_a_permutation_of_the_shortlist(seed, size):
  rng = np.random.default_rng(seed)
  query, features = unit_rows(rng, 1, 8)[0], unit_rows(rng, size, 8)
  order = rng.permutation(size)
  scores = np.asarray(JITTED(query, features))
  np.testing.assert_allclose(JITTED(query, features[order]), scores[order], atol=1e-5)


@given(st.integers(0, 10_000))
def test_mean_expansion_does_not_depend_on_the_axes(seed):
  rng = np.random.default_rng(seed)
  query, features = unit_rows(rng, 1, 8)[0], unit_rows(rng, 30, 8)
  rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
  scores = JITTED(query, features, expansion="mean")
  turned = JITTED(query @ rotation, features @ rotation, expansion="mean")
  np.testing.assert_allclose(turned, scores, atol=1e-5)


def test_a_feature_of_norm_zero_scores_zero():
  features = unit_rows(np.random.default_rng(7), 25, 8)
  features[4] = 0.0
  scores = JITTED(features[0], features)
  assert scores[4] == 0.0
  assert np.all(np.isfinite(scores))


def test_opposite_neighbours_do_not_cancel_an_average():
  features = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
  scores = JITTED(features[0], features, beta=1.0)
  assert np.all(np.isfinite(scores))
  assert scores[0] > scores[1]

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.features import whitening


def correlated(count=2000, dimension=6, *, seed=0):
  rng = np.random.default_rng(seed)
  mixing = rng.standard_normal((dimension, dimension)) * 2.0 ** -np.arange(dimension)
  return (rng.standard_normal((count, dimension)) @ mixing + 3.0).astype(np.float32)


def project(fitted, values):
  return (values.astype(np.float64) - fitted.mean) @ fitted.projection


def test_whitened_covariance_is_the_identity():
  sample = correlated()
  fitted = whitening.fit_whitening(sample, shrinkage=0.0)
  covariance = np.cov(project(fitted, sample), rowvar=False)
  np.testing.assert_allclose(covariance, np.eye(6), atol=1e-3)
  np.testing.assert_allclose(fitted.mean, sample.mean(axis=0), atol=1e-5)
  assert fitted.mean.dtype == fitted.projection.dtype == np.float32


def test_without_power_it_only_rotates():
  sample = correlated()
  fitted = whitening.fit_whitening(sample, power=0.0)
  np.testing.assert_allclose(fitted.projection.T @ fitted.projection, np.eye(6), atol=1e-5)
  covariance = np.cov(project(fitted, sample), rowvar=False)
  variances = np.diag(covariance)
  np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-4)
  assert np.all(np.diff(variances) < 0)
  # Source: the singular values of the centred sample.
  singular = np.linalg.svd(sample - sample.mean(axis=0), compute_uv=False)
  np.testing.assert_allclose(variances, singular**2 / (len(sample) - 1), rtol=1e-3)


def test_the_leading_directions_are_kept():
  sample = correlated()
  whole = whitening.fit_whitening(sample)
  part = whitening.fit_whitening(sample, dimension=2)
  np.testing.assert_array_equal(part.projection, whole.projection[:, :2])


def test_shrinkage_holds_back_the_smallest_variances():
  sample = correlated()
  variances = [
    np.cov(project(whitening.fit_whitening(sample, shrinkage=share), sample), rowvar=False)
    for share in (1e-4, 1e-1)
  ]
  weak, strong = (np.diag(values) for values in variances)
  largest = np.linalg.eigvalsh(np.cov(sample, rowvar=False))[::-1]
  np.testing.assert_allclose(strong, largest / (largest + 0.1 * largest[0]), rtol=1e-3)
  assert np.all(strong < weak)


def test_the_result_has_unit_norm():
  sample = correlated()
  values = whitening.apply_whitening(whitening.fit_whitening(sample), sample)
  assert values.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0, atol=1e-5)


def test_the_sign_of_directions_is_fixed():
  sample = correlated()
  fitted = whitening.fit_whitening(sample, power=0.0)
  largest = np.abs(fitted.projection).argmax(axis=0)
  assert np.all(fitted.projection[largest, np.arange(6)] > 0)
  again = whitening.fit_whitening(sample[::-1], power=0.0)
  np.testing.assert_allclose(again.projection, fitted.projection, atol=1e-3)


def test_the_mean_itself_becomes_zero():
  fitted = whitening.Whitening(np.array([1, 2], np.float32), np.eye(2, dtype=np.float32))
  values = whitening.apply_whitening(fitted, np.array([[1, 2], [4, 6]], np.float32))
  np.testing.assert_allclose(values, [[0, 0], [0.6, 0.8]], atol=1e-7)
  assert whitening.apply_whitening(fitted, np.zeros((0, 2), np.float16)).shape == (0, 2)


@pytest.mark.parametrize("shrinkage", [0.0, 1e-4])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_equal_descriptors_stay_finite(power, shrinkage):
  sample = np.ones((10, 3), np.float32)
  fitted = whitening.fit_whitening(sample, power=power, shrinkage=shrinkage)
  assert np.all(np.isfinite(fitted.projection))
  other = np.array([[1, 2, 3]], np.float32)
  np.testing.assert_array_equal(whitening.apply_whitening(fitted, sample), np.zeros((10, 3)))
  assert np.linalg.norm(whitening.apply_whitening(fitted, other)) == pytest.approx(1.0, abs=1e-5)


def test_one_dimension_is_enough():
  fitted = whitening.fit_whitening(np.array([[1.0], [3.0]]))
  np.testing.assert_allclose(
    whitening.apply_whitening(fitted, np.array([[0.0], [9.0]])), [[-1.0], [1.0]]
  )


@pytest.mark.parametrize(
  "sample",
  [
    np.zeros((1, 3)),
    np.zeros((0, 3)),
    np.zeros(3),
    np.array([[0.0, 1.0], [np.nan, 2.0]]),
    np.array([[0.0, 1.0], [np.inf, 2.0]]),
  ],
)
def test_samples_that_say_nothing_are_refused(sample):
  with pytest.raises(InputError, match="at least two finite descriptors"):
    whitening.fit_whitening(sample)


def test_a_whitening_is_read_as_written(tmp_path):
  fitted = whitening.fit_whitening(correlated(), dimension=3)
  whitening.save_whitening(tmp_path / "w", fitted)
  loaded = whitening.load_whitening(tmp_path / "w")
  np.testing.assert_array_equal(loaded.mean, fitted.mean, strict=True)
  np.testing.assert_array_equal(loaded.projection, fitted.projection, strict=True)


def test_a_whitening_that_is_missing_or_damaged_is_refused(tmp_path):
  with pytest.raises(InputError, match="is missing"):
    whitening.load_whitening(tmp_path / "w")
  whitening.save_whitening(tmp_path / "w", whitening.fit_whitening(correlated()))
  path = tmp_path / "w" / "mean.npy"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(InputError, match=r"mean\.npy is truncated"):
    whitening.load_whitening(tmp_path / "w")


def test_a_note_gives_the_whitening_back():
  learned = whitening.fit_whitening(np.random.default_rng(0).standard_normal((50, 6)), dimension=4)
  restored = whitening.Whitening.from_note(learned.to_note())
  assert restored is not None
  np.testing.assert_array_equal(restored.mean, learned.mean)
  np.testing.assert_array_equal(restored.projection, learned.projection)
  assert whitening.Whitening.from_note(None) is None


@pytest.mark.parametrize(
  ("descriptors", "message"),
  [
    (np.ones((3, 5)), r"takes descriptors \[count, 6\], not \(3, 5\)"),
    (np.ones(6), r"takes descriptors \[count, 6\], not \(6,\)"),
    (np.full((2, 6), np.nan), "takes finite descriptors"),
  ],
)
def test_descriptors_that_can_not_be_whitened_are_refused(descriptors, message):
  learned = whitening.fit_whitening(np.random.default_rng(0).standard_normal((50, 6)))
  with pytest.raises(InputError, match=message):
    whitening.apply_whitening(learned, descriptors)

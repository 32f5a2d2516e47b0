import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.features.aggregate import apply_vlad, fit_vlad, load_vlad, save_vlad


def collection(num_images=30, dimension=8, *, seed=0):
  """Images of ragged size, each with a mixture of its own; every seventh has no descriptors."""
  rng = np.random.default_rng(seed)
  palette = rng.standard_normal((12, dimension))
  images = []
  for image in range(num_images):
    kinds = rng.choice(
      12, 0 if image % 7 == 3 else rng.integers(20, 60), p=rng.dirichlet([0.3] * 12)
    )
    noise = 0.2 * rng.standard_normal((len(kinds), dimension))
    images.append((palette[kinds] + noise).astype(np.float32))
  return images


def fit(images, **options):
  options = {"num_words": 6, "dimension": 16, **options}
  return fit_vlad(np.concatenate(images), images, **options)


def vlad_by_hand(words, descriptors):
  """Residuals one by one, in double precision, before the projection."""
  sums = np.zeros(words.shape)
  for row in descriptors.astype(np.float64):
    nearest = np.argmin(np.sum((words - row) ** 2, axis=1))
    sums[nearest] += row - words[nearest]
  for word in sums:
    word /= np.linalg.norm(word) or 1.0
  flat = sums.ravel()
  rooted = np.sign(flat) * np.sqrt(np.abs(flat))
  return rooted / (np.linalg.norm(rooted) or 1.0)


def test_equals_a_loop():
  images = collection()
  vlad, features = fit(images)
  raw = np.stack([vlad_by_hand(vlad.words, image) for image in images])
  projected = (raw - vlad.whitening.mean) @ vlad.whitening.projection
  for image, row, expected in zip(images, features, projected, strict=True):
    expected = expected / np.linalg.norm(expected) if len(image) else np.zeros(16)
    np.testing.assert_allclose(row, expected, atol=1e-4)


def test_features_have_unit_norm_or_are_zero():
  images = collection()
  _, features = fit(images)
  assert features.shape == (30, 16)
  assert features.dtype == np.float32
  present = np.array([len(image) > 0 for image in images])
  np.testing.assert_allclose(np.linalg.norm(features[present], axis=1), 1.0, atol=1e-5)
  np.testing.assert_array_equal(features[~present], np.zeros((4, 16)))


def test_the_collection_gives_the_same_when_applied():
  images = collection()
  vlad, features = fit(images)
  np.testing.assert_allclose(apply_vlad(vlad, images), features, atol=1e-5)
  np.testing.assert_allclose(apply_vlad(vlad, images[4:5]), features[4:5], atol=1e-5)


def test_a_seed_decides_everything():
  images = collection()
  _, first = fit(images, seed=1)
  np.testing.assert_array_equal(first, fit(images, seed=1)[1])
  assert not np.allclose(first, fit(images, seed=2)[1], atol=1e-3)


def test_the_order_of_descriptors_does_not_matter():
  images = collection()
  vlad, features = fit(images)
  turned = apply_vlad(vlad, [image[::-1] for image in images])
  np.testing.assert_allclose(turned, features, atol=1e-4)


def test_similar_images_are_nearer():
  images = collection(24)
  vlad, features = fit(images)
  rng = np.random.default_rng(9)
  present = [index for index, image in enumerate(images) if len(image)]
  for index in present:
    image = images[index]
    kept = image[rng.permutation(len(image))[: len(image) * 3 // 4]]
    other = kept + 0.02 * rng.standard_normal(kept.shape, dtype=np.float32)
    similarities = features @ apply_vlad(vlad, [other])[0]
    assert similarities.argmax() == index
    assert similarities[index] > 0.7


def test_fewer_images_than_dimensions_give_fewer_dimensions():
  images = collection(5)
  vlad, features = fit(images)
  # One of the five has no descriptors; the mean takes a direction of the other four.
  assert features.shape == (5, 3)
  assert apply_vlad(vlad, collection(9, seed=1)).shape == (9, 3)


@pytest.mark.parametrize("num_images", [1, 2])
def test_very_few_images_are_not_projected(num_images):
  images = collection(num_images)
  vlad, features = fit(images)
  assert features.shape == (num_images, 16)
  np.testing.assert_array_equal(vlad.whitening.projection, np.eye(48, 16))


def test_one_dimension_is_a_sign():
  _, features = fit(collection(), dimension=1)
  np.testing.assert_allclose(np.unique(np.abs(features)), [0.0, 1.0], atol=1e-5)


def test_a_collection_without_descriptors_is_refused():
  with pytest.raises(InputError, match="No image has local descriptors"):
    fit([np.zeros((0, 8), np.float32)] * 4)


def test_an_aggregation_is_read_as_written(tmp_path):
  images = collection()
  vlad, features = fit(images)
  save_vlad(tmp_path / "vlad", vlad)
  loaded = load_vlad(tmp_path / "vlad")
  np.testing.assert_array_equal(loaded.words, vlad.words, strict=True)
  np.testing.assert_allclose(apply_vlad(loaded, images), features, atol=1e-5)
  (tmp_path / "vlad" / "words.npy").unlink()
  with pytest.raises(InputError, match=r"words\.npy is missing"):
    load_vlad(tmp_path / "vlad")

import numpy as np

from l2g_jax.features.sift import mirrored, sift
from tests.retriever.groups.pictures import texture


def test_mirrored_descriptors_are_those_of_the_mirrored_picture():
  pixels = np.asarray(texture(3))
  extract = sift(max_descriptors=200).extract
  made = mirrored(extract(pixels), pixels.shape[1])
  seen = extract(np.ascontiguousarray(pixels[:, ::-1]))
  similarities = made.descriptors @ seen.descriptors.T
  nearest = np.argmax(similarities, axis=1)
  distances = np.linalg.norm(made.locations - seen.locations[nearest], axis=1)
  assert np.mean(distances < 1.0) > 0.8
  assert np.median(np.max(similarities, axis=1)) > 0.99
  np.testing.assert_array_equal(
    mirrored(made, pixels.shape[1]).descriptors, extract(pixels).descriptors
  )

import numpy as np
import pytest

from experiments import train_lists, train_similarity
from experiments.training import lists, pairs
from experiments.training.material import LabelledLists, trained_rows
from l2g_jax.errors import InputError, SettingError
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.listwise import ListwiseConfig
from tests.cli import toy

# Two queries and image 3; the last list is kept for validation.
IDS = np.array([[0, 1, 2, 3], [4, 2, 0, 1], [1, 2, 4, -1], [4, 3, 2, 1]], np.int32)
LABELS = np.array([[1, 0, 0, -1], [0, 0, 1, 1], [1, 0, 0, -1], [1, 0, 0, 0]], np.int8)


def labelled():
  similarities = np.where(IDS >= 0, np.linspace(1.0, 0.4, 4, dtype=np.float32), np.float32(0.0))
  return LabelledLists(
    material=None,  # pyright: ignore[reportArgumentType]
    is_query=np.array([True, True, False, True]),
    numbers=np.array([0, 1, 3, 2], np.int32),
    found=Ranked(IDS, similarities),
    labels=LABELS,
    validates=np.array([False, False, False, True]),
  )


def strongest(count, sign):
  """Images whose descriptors all hold their number, the last image with one descriptor alone."""
  values = np.zeros((count, 6, 2), np.float16)
  values[:] = sign * (1.0 + np.arange(count))[:, None, None]
  counts = np.array([*[6] * (count - 1), 1])
  values[-1, 1:] = 0.0
  return pairs.Strongest(values, counts)


@pytest.fixture
def material():
  made = labelled()
  return pairs.PairMaterial(made, trained_rows(made), strongest(3, -1.0), strongest(5, 1.0))


def test_pairs_are_of_an_anchor_with_a_positive_and_a_negative(material):
  np.testing.assert_array_equal(material.rows, [0, 1, 2])
  positive = {(-1, 1), (-2, 1), (-2, 2), (4, 2)}
  negative = {(-1, 2), (-1, 3), (-2, 5), (-2, 3), (4, 3), (4, 5)}
  seen = {True: set(), False: set()}
  for step in range(20):
    batch = pairs.draw_batch([material], np.random.default_rng(step), 8, (4, 3))
    assert batch.query.shape == (8, 4, 2)
    assert batch.images.shape == (8, 3, 2)
    np.testing.assert_array_equal(batch.query[:4], batch.query[4:])
    for query, image, label in zip(batch.query, batch.images, batch.labels, strict=True):
      seen[bool(label)].add((int(query[0, 0]), int(image[0, 0])))
  assert seen == {True: positive, False: negative}


def test_a_drawn_image_has_only_its_valid_descriptors(material):
  values, mask = material.images.draw(np.array([4, 0]), 3, np.random.default_rng(0))
  np.testing.assert_array_equal(mask, [[True, False, False], [True, True, True]])
  assert np.all(values[mask] != 0.0)
  head, mask = material.images.head(np.array([4]), 3)
  np.testing.assert_array_equal(mask, [[True, False, False]])
  np.testing.assert_array_equal(head[0, 0], [5.0, 5.0])


def test_equal_seeds_draw_equal_batches(material):
  first, second = (
    pairs.draw_batch([material], np.random.default_rng([7, 3]), 4, (4, 3)) for _ in range(2)
  )
  for one, other in zip(first, second, strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_list_without_its_dropped_images_keeps_the_others_with_their_labels():
  made = labelled()
  rng = np.random.default_rng(1)
  database = rng.standard_normal((5, 3), dtype=np.float32)
  neighbors = Ranked(np.zeros((5, 1), np.int32), np.ones((5, 1), np.float32))
  features = GlobalFeatures(rng.standard_normal((4, 3), dtype=np.float32), database)
  material = lists.ListMaterial(made, trained_rows(made), made.found, neighbors, features)
  config = ListwiseConfig(length=4, hidden_dim=2)
  dropped = np.array([[False, True, False, False], [True, False, False, False]])
  batch = lists.make_batch(material, np.array([0, 2]), config, 5, dropped)
  np.testing.assert_array_equal(batch.labels, [[-1, 1, 0, -1, -1], [-1, 0, 0, -1, -1]])
  np.testing.assert_array_equal(batch.counts, [4, 3])
  similarities = made.found.similarities
  expected = [similarities[0, 0], similarities[0, 2], similarities[0, 3]]
  np.testing.assert_allclose(batch.values[0, 1:4, 4], expected)
  short = lists.make_batch(material, np.array([0]), config, 3)
  assert short.values.shape == (1, 3, 6)
  np.testing.assert_array_equal(short.counts, [3])


@pytest.mark.parametrize("command", [train_lists.COMMAND, train_similarity.COMMAND])
def test_what_can_not_be_trained_is_refused_before_the_work(command, tmp_path):
  with pytest.raises(SettingError, match="--seeds must be whole numbers above 0"):
    toy.call(command, work_dir=tmp_path, seeds="0")
  with pytest.raises(SettingError, match="--num_steps must be at least 1"):
    toy.call(command, work_dir=tmp_path, num_steps=0)
  (tmp_path / "letter.txt").write_text("Dear reader")
  with pytest.raises(InputError, match=r"letter\.txt is there and no earlier result"):
    toy.call(command, work_dir=tmp_path, output=tmp_path / "letter.txt")

import json

import pytest

from l2g_jax.data.dataset import load_dataset
from l2g_jax.errors import InputError


@pytest.fixture
def toy(tmp_path):
  folder = tmp_path / "toy"
  (folder / "jpg" / "sub").mkdir(parents=True)
  content = {
    "imlist": ["a", "sub/b"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [0, 0, 2, 2], "easy": [0], "hard": [1], "junk": []}],
  }
  (folder / "gnd_toy.json").write_text(json.dumps(content))
  for name in ("a.jpg", "sub/b.png", "q.jpeg"):
    (folder / "jpg" / name).touch()
  return tmp_path


def test_images_are_found_by_name(toy):
  dataset = load_dataset(toy, "toy")
  assert [path.name for path in dataset.database_paths] == ["a.jpg", "b.png"]
  assert [path.name for path in dataset.query_paths] == ["q.jpeg"]


def test_a_partial_set_is_refused_by_name(toy):
  (toy / "toy" / "jpg" / "sub" / "b.png").unlink()
  with pytest.raises(InputError, match="lacks 1 of 2 images: sub/b"):
    load_dataset(toy, "toy")


def test_what_is_missing_is_named(toy):
  with pytest.raises(InputError, match="no data set other"):
    load_dataset(toy, "other")
  (toy / "bare").mkdir()
  with pytest.raises(InputError, match=r"neither gnd_bare\.json nor gnd_bare\.pkl"):
    load_dataset(toy, "bare")
  (toy / "toy" / "jpg").rename(toy / "toy" / "images")
  with pytest.raises(InputError, match="no folder jpg"):
    load_dataset(toy, "toy")


def test_counts_of_published_sets_are_verified(toy):
  folder = toy / "roxford5k"
  (toy / "toy").rename(folder)
  (folder / "gnd_toy.json").rename(folder / "gnd_roxford5k.json")
  with pytest.raises(InputError, match="has 2 images and 1 queries; roxford5k has 4993 and 70"):
    load_dataset(toy, "roxford5k")

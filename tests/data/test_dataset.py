import json

import pytest

from l2g_jax.data.dataset import load_dataset
from l2g_jax.errors import InputError

pytestmark = pytest.mark.fast


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


@pytest.mark.parametrize(
  ("listed", "file"),
  [
    ("b.jpg", "b.jpg"),
    ("b", "b.JPG"),
    ("b.jpg", "b.JPG"),
    ("B", "b.webp"),
    ("sub/b", "sub/b.jfif"),
    ("b.jpg", "b.jpg.png"),
    ("cafe\u0301", "caf\u00e9.avif"),
    ("caf\u00e9.tif", "cafe\u0301.TIF"),
    ("odd\udcff", "odd\udcff.jpg"),
  ],
)
def test_images_are_found_with_and_without_their_endings(tmp_path, listed, file):
  write(tmp_path, [listed], [file])
  dataset = load_dataset(tmp_path, "other")
  assert dataset.database_paths == (tmp_path / "other" / "jpg" / file,)


def test_the_published_layout_prefers_jpegs(tmp_path):
  write(tmp_path, ["a"], ["a.png", "a.jpg", "a.jpeg", "A.JPG"])
  assert load_dataset(tmp_path, "other").database_paths[0].name == "a.jpg"


@pytest.mark.parametrize("name", ["a.png", "b", "sub/a"])
def test_an_image_of_another_name_does_not_stand_in(tmp_path, name):
  write(tmp_path, [name], ["a.jpg"])
  with pytest.raises(InputError, match=f"lacks 1 of 1 images: {name}"):
    load_dataset(tmp_path, "other")


def test_two_names_do_not_share_an_image(tmp_path):
  write(tmp_path, ["a", "a.jpg"], ["a.jpg"])
  with pytest.raises(InputError, match=r"a\.jpg is the only image for both 'a' and 'a\.jpg'"):
    load_dataset(tmp_path, "other")


def test_a_link_that_leads_nowhere_is_a_missing_image(tmp_path):
  write(tmp_path, ["a", "b"], ["a.jpg"])
  (tmp_path / "other" / "jpg" / "b.jpg").symlink_to("nowhere")
  with pytest.raises(InputError, match="lacks 1 of 2 images: b"):
    load_dataset(tmp_path, "other")


def test_linked_folders_are_entered(tmp_path):
  write(tmp_path, ["linked/b"], [])
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "elsewhere" / "b.jpg").touch()
  (tmp_path / "other" / "jpg" / "linked").symlink_to(tmp_path / "elsewhere")
  assert load_dataset(tmp_path, "other").database_paths[0].name == "b.jpg"


def write(root, imlist, files):
  """Writes a data set `other` with these images and a query."""
  folder = root / "other"
  for file in ("the query.png", *files):
    (folder / "jpg" / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "jpg" / file).touch()
  gnd = [{"bbx": [0, 0, 2, 2], "easy": [0], "hard": [], "junk": []}]
  content = {"imlist": imlist, "qimlist": ["the query"], "gnd": gnd}
  (folder / "gnd_other.json").write_text(json.dumps(content))

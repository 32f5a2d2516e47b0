"""An index beside what is not of it: folders that a user has, and links."""

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder, exists
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from tests.cann import oracle

CONFIG = CannConfig(num_lists=3)
IMAGES = list(oracle.collection(0, num_images=9, most=6).items())
MORE = [("more", np.eye(16))]


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


FOREIGN = [
  ".git/config",
  "holiday.jpg",
  "lists-000001/holiday.jpg",
  "lists-000001/album/values.npy",
  "lists-1/values.npy",
  "spool/holiday.jpg",
  "shards/photos/a.jpg",
  "neighbors-of-mine/a.txt",
  ".holiday.jpg.l2g/holiday.jpg",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_is_built_where_anything_else_is(tmp_path, name):
  root = tmp_path / "photos"
  (root / name).parent.mkdir(parents=True)
  (root / name).write_text("mine")
  with pytest.raises(InputError, match=r"photos holds '.*', which is of no index; give an empty"):
    CannIndex.build(root, IMAGES, CONFIG)
  with pytest.raises(InputError, match="which is of no index"):
    CannIndex.build_shard(root, IMAGES, CONFIG, shard_index=0, num_shards=1)
  assert contents(tmp_path) == {(root / name).relative_to(tmp_path): b"mine"}


def test_nothing_is_built_beside_a_link_or_in_a_file(tmp_path):
  (tmp_path / "far").mkdir()
  (tmp_path / "root").mkdir()
  (tmp_path / "root" / "spool").symlink_to(tmp_path / "far")
  with pytest.raises(InputError, match="root holds 'spool', which is of no index"):
    CannIndex.build(tmp_path / "root", IMAGES, CONFIG)
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match="file is no folder; give another name for the index"):
    CannIndex.build(tmp_path / "file", IMAGES, CONFIG)


def test_what_an_interrupted_build_left_is_no_obstacle(tmp_path, monkeypatch):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", 4)
  root = tmp_path / "index"

  def interrupted():
    yield from IMAGES
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    CannIndex.build(root, interrupted(), CONFIG)
  assert len(list(root.glob("spool/descriptors-*"))) == 2
  (root / "lists-000004").mkdir()
  (root / "lists-000004" / "blocks.npy").touch()
  (root / ".lists-000005.l2g" / "lists-000005").mkdir(parents=True)
  (root / ".lists-000005.l2g" / "lock").touch()
  (root / ".lists-000005.l2g" / "lists-000005" / "blocks.npy").touch()
  (root / ".lists-000003-x7w_k2ab").mkdir()
  (root / ".index-x7w_k2ab.json").touch()
  (root / ".DS_Store").touch()
  assert not exists(root)
  index = CannIndex.build(root, IMAGES, CONFIG)
  assert CannIndex.open(root, verify=True).names == index.names
  assert not (root / ".lists-000005.l2g").exists()
  assert not (root / "spool").exists()


def test_changes_leave_what_is_not_ours(tmp_path):
  root = tmp_path / "index"
  index = CannIndex.build(root, IMAGES, CONFIG)
  serial = files.read_manifest(root / "index.json")["serial"]
  far = tmp_path / "far"
  files.save_bundle(far, kind="test", version=1, arrays={"a": np.ones(3)}, metadata={})
  # Under the names that the next change would choose, and others of ours.
  for name in (
    ".git/config",
    "photos/a.jpg",
    f"descriptors-{serial:06d}/a.jpg",
    f"lists-{serial + 1:06d}/album/a.jpg",
    "spool/a.jpg",
    "shards/a.jpg",
    "neighbors-of-mine/a.jpg",
  ):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("mine")
  (root / "lists-000042").symlink_to(far)
  (root / "quantizer-000043").symlink_to(far / "nowhere")
  # Of ours too, but kept by the user; and an empty file that is no lock.
  files.save_bundle(
    root / "shards" / "kept" / "part-000001", kind="a", version=1, arrays={}, metadata={}
  )
  (root / "spool" / "project").mkdir()
  (root / "spool" / "project" / "lock").touch()
  before = contents(root).keys() - {path.relative_to(root) for path in root.glob("*-0*/*.npy")}
  foreign = [path for path in before if "jpg" in path.name or "git" in str(path)]
  assert len(foreign) == 7
  index = index.add(MORE).remove(["image-001"]).compact()
  assert index.names == (*(name for name, _ in IMAGES if name != "image-001"), "more")
  assert all((root / path).read_text() == "mine" for path in foreign)
  assert (root / "lists-000042").is_symlink()
  assert (root / "quantizer-000043").is_symlink()
  files.verify_bundle(far)
  files.verify_bundle(root / "shards" / "kept" / "part-000001")
  assert (root / "spool" / "project" / "lock").exists()
  # What the changes replaced is gone.
  assert len(list(root.glob("lists-*/blocks.npy"))) == 1
  assert not list(root.glob("spool/*-*"))


def test_an_index_survives_in_the_folder_of_another(tmp_path):
  index = CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  for name in ("lists-000042", "shards"):
    CannIndex.build(index.directory / name, IMAGES, CONFIG)
  index.add(MORE)
  for name in ("lists-000042", "shards"):
    assert len(CannIndex.open(index.directory / name, verify=True).names) == len(IMAGES)


def test_an_index_is_built_where_a_link_leads(tmp_path):
  (tmp_path / "link").symlink_to(tmp_path / "far")
  CannIndex.build(tmp_path / "link", IMAGES, CONFIG)
  assert len(CannIndex.open(tmp_path / "far").names) == len(IMAGES)


def test_a_bundle_of_ours_with_a_file_of_ones_own_survives(tmp_path):
  index = CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  [lists] = index.directory.glob("lists-*")
  (lists / "holiday.jpg").write_text("mine")
  index.compact()
  assert (lists / "holiday.jpg").read_text() == "mine"


def test_verification_includes_neighbour_lists(tmp_path):
  index = CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  index.neighbor_lists(3, show_progress=False)
  path = next(index.directory.glob("neighbors-*/**/ids.npy"))
  content = path.read_bytes()
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  CannIndex.open(index.directory)
  with pytest.raises(InputError, match=r"ids\.npy was altered"):
    CannIndex.open(index.directory, verify=True)

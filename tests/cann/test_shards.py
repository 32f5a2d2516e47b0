import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder, exists, lists
from l2g_jax.errors import InputError
from l2g_jax.features.whitening import fit_whitening
from tests.cann import oracle

CONFIG = CannConfig(num_lists=10)
IMAGES = list(oracle.collection(0).items())
WHITENING = fit_whitening(np.concatenate([values for _, values in IMAGES]), dimension=12)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", 7)


def build_shard(root, index, count, images=IMAGES, config=CONFIG, whitening=None):
  return CannIndex.build_shard(
    root, images, config, whitening=whitening, shard_index=index, num_shards=count
  )


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("whitening", [None, WHITENING], ids=["bare", "whitened"])
@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_shards_makes_the_same_files(tmp_path, count, whitening):
  whole = CannIndex.build(tmp_path / "whole", IMAGES, CONFIG, whitening=whitening)
  missing = []
  for index in reversed(range(count)):
    report = build_shard(tmp_path / "shards", index, count, whitening=whitening)
    missing.append(report.missing_pieces)
  assert missing[-1] == 0
  assert sorted(missing, reverse=True) == missing
  assert not exists(tmp_path / "shards")
  merged = CannIndex.merge_shards(tmp_path / "shards")
  assert merged.state == whole.state
  assert contents(merged.directory) == contents(whole.directory)


def test_a_shard_goes_on_where_it_was_interrupted(tmp_path):
  root = tmp_path / "index"

  class Interrupted(list):
    def __getitem__(self, image):
      if image == 36:
        raise KeyboardInterrupt
      return super().__getitem__(image)

  build_shard(root, 0, 2)
  with pytest.raises(KeyboardInterrupt):
    build_shard(root, 1, 2, Interrupted(IMAGES))
  made = {path: path.stat().st_ino for path in root.glob("shards/lists-*")}
  assert len(made) == 5
  assert build_shard(root, 1, 2).missing_pieces == 0
  assert all(path.stat().st_ino == inode for path, inode in made.items())
  whole = CannIndex.build(tmp_path / "whole", IMAGES, CONFIG)
  assert contents(CannIndex.merge_shards(root).directory) == contents(whole.directory)


def test_a_shard_that_is_missing_is_named(tmp_path):
  build_shard(tmp_path, 0, 2)
  with pytest.raises(InputError, match=r"3 of 6 pieces are not in .*, of which 1 is the first"):
    CannIndex.merge_shards(tmp_path)
  assert not exists(tmp_path)


@pytest.mark.parametrize(
  "other",
  [
    {"images": IMAGES[:-1]},
    {"config": CannConfig(num_lists=11)},
    {"whitening": WHITENING},
  ],
  ids=["images", "settings", "whitening"],
)
def test_shards_of_another_job_are_refused(tmp_path, other):
  build_shard(tmp_path, 0, 2)
  with pytest.raises(InputError, match="are of other images or settings"):
    build_shard(tmp_path, 1, 2, **other)


def test_what_can_not_be_sharded_is_refused(tmp_path):
  with pytest.raises(InputError, match="Shard 2 is not one of 0 to 1"):
    build_shard(tmp_path, 2, 2)
  with pytest.raises(InputError, match="No images were given"):
    build_shard(tmp_path, 0, 2, [])
  with pytest.raises(InputError, match="There are no shards"):
    CannIndex.merge_shards(tmp_path)
  twice = [*IMAGES[:20], IMAGES[3]]
  build_shard(tmp_path, 0, 1, twice)
  with pytest.raises(InputError, match="'image-003' comes twice"):
    CannIndex.merge_shards(tmp_path)
  CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  with pytest.raises(InputError, match="There is an index"):
    build_shard(tmp_path / "index", 0, 1)


def test_shards_of_neighbour_lists_are_opened_together(tmp_path, monkeypatch):
  monkeypatch.setattr(lists, "_IMAGES_PER_PART", 8)
  index = CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  options = {"rescoring_depth": 9, "show_progress": False}
  missing = [
    lists.make_shard(index, 5, shard_index=shard, num_shards=2, **options) for shard in (1, 0)
  ]
  assert missing == [3, 0]
  with monkeypatch.context() as patch:
    patch.setattr(CannIndex, "search_codes", None)
    made = index.neighbor_lists(5, **options)
  index = index.add([("more", np.eye(16))]).remove(["more"]).compact()
  np.testing.assert_array_equal(made.ids, lists.make_lists(index, 5, **options).ids)


def test_a_whitened_index_takes_bare_descriptors(tmp_path):
  index = CannIndex.build(tmp_path / "index", IMAGES[:30], CONFIG, whitening=WHITENING)
  index = index.add(IMAGES[30:]).compact()
  assert index.dimension == 12
  assert index.whitening is not None
  np.testing.assert_array_equal(index.whitening.projection, WHITENING.projection)
  for number in (3, 35):
    assert index.search(IMAGES[number][1], 1).ids.tolist() == [number]
  with pytest.raises(InputError, match=r"must be \[count, 16\], not \(2, 12\)"):
    index.search(np.ones((2, 12)), 1)

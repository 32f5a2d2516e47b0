import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder, exists, lists
from l2g_jax.cann.searcher import Searcher
from l2g_jax.errors import InputError
from l2g_jax.features.whitening import Whitening, apply_whitening, fit_whitening
from tests.cann import oracle

CONFIG = CannConfig(num_lists=10)
IMAGES = list(oracle.collection(0).items())
WHITENING = fit_whitening(np.concatenate([values for _, values in IMAGES]), dimension=12)
WHITENED = [(name, apply_whitening(WHITENING, values)) for name, values in IMAGES]
NOTE = WHITENING.to_note()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", 7)


def build_shard(root, index, count, images=IMAGES, config=CONFIG, whitening=None):
  return CannIndex.build_shard(
    root, images, config, whitening=whitening, shard_index=index, num_shards=count
  )


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
  ("images", "note"), [(IMAGES, None), (WHITENED, NOTE)], ids=["bare", "whitened"]
)
@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_shards_makes_the_same_files(tmp_path, count, images, note):
  whole = CannIndex.build(tmp_path / "whole", images, CONFIG, whitening=note)
  missing = []
  for index in reversed(range(count)):
    report = build_shard(tmp_path / "shards", index, count, images, whitening=note)
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
    {"images": WHITENED, "whitening": NOTE},
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
  monkeypatch.setattr(lists, "IMAGES_PER_PART", 8)
  index = CannIndex.build(tmp_path / "index", IMAGES, CONFIG)
  options = {"rescoring_depth": 9, "show_progress": False}
  missing = [index.list_shard(5, shard_index=shard, num_shards=2, **options) for shard in (1, 0)]
  assert missing == [3, 0]
  with monkeypatch.context() as patch:
    patch.setattr(Searcher, "search", None)
    made = index.neighbor_lists(5, **options)
  index = index.add([("more", np.eye(16))]).remove(["more"]).compact()
  np.testing.assert_array_equal(made.ids, index.neighbor_lists(5, **options).ids)


def test_the_whitening_is_a_note_and_changes_no_descriptor(tmp_path):
  noted = CannIndex.build(tmp_path / "noted", WHITENED[:30], CONFIG, whitening=NOTE)
  bare = CannIndex.build(tmp_path / "bare", WHITENED[:30], CONFIG)
  assert bare.whitening is None
  for index in (noted, noted.add(WHITENED[30:]).compact()):
    assert index.dimension == 12
    assert index.whitening is not None
    assert index.whitening.keys() == {"mean", "projection"}
    np.testing.assert_array_equal(index.whitening["mean"], WHITENING.mean)
    np.testing.assert_array_equal(index.whitening["projection"], WHITENING.projection)
    restored = Whitening.from_note(index.whitening)
    assert restored is not None
    for number in np.flatnonzero(index.counts())[[0, -1]].tolist():
      query = apply_whitening(restored, IMAGES[number][1])
      np.testing.assert_array_equal(query, WHITENED[number][1])
      assert index.search(query, 1).ids.tolist() == [number]
  for number in range(30):
    np.testing.assert_array_equal(noted.codes(number).values, bare.codes(number).values)
  with pytest.raises(InputError, match=r"must be \[count, 12\], not \(2, 16\)"):
    noted.search(np.ones((2, 16)), 1)


@pytest.mark.parametrize(
  ("note", "message"),
  [
    (WHITENING, "a mapping with the arrays `mean` and `projection`; the index does not apply it"),
    ({"mean": WHITENING.mean}, "a mapping with the arrays `mean` and `projection`"),
    ({**NOTE, "more": WHITENING.mean}, "a mapping with the arrays"),
    (NOTE, r"\[16, 12\] does not make descriptors of 16 dimensions; give the whitened ones"),
    ({"mean": np.zeros(5), "projection": np.zeros((16, 16))}, "does not make descriptors of 16"),
  ],
)
def test_a_note_that_is_no_whitening_of_the_descriptors_is_refused(tmp_path, note, message):
  with pytest.raises(InputError, match=message):
    CannIndex.build(tmp_path / "index", IMAGES, CONFIG, whitening=note)
  assert not exists(tmp_path / "index")
  with pytest.raises(InputError, match=message):
    build_shard(tmp_path / "shards", 0, 1, whitening=note)


def test_shards_find_the_note_of_the_first(tmp_path):
  assert CannIndex.shard_whitening(tmp_path) is None
  build_shard(tmp_path / "bare", 0, 2)
  assert CannIndex.shard_whitening(tmp_path / "bare") is None
  build_shard(tmp_path / "noted", 0, 2, WHITENED, whitening=NOTE)
  found = CannIndex.shard_whitening(tmp_path / "noted")
  assert found is not None
  np.testing.assert_array_equal(found["projection"], WHITENING.projection)
  # As another machine may learn it.
  other = {name: array * np.float32(1.0 + 1e-6) for name, array in NOTE.items()}
  build_shard(tmp_path / "noted", 1, 2, WHITENED, whitening=other)
  merged = CannIndex.merge_shards(tmp_path / "noted")
  assert merged.whitening is not None
  np.testing.assert_array_equal(merged.whitening["projection"], WHITENING.projection)

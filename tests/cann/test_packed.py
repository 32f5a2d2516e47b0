"""An index whose descriptors are kept in a few bytes."""

import numpy as np
import pytest

from l2g_jax.cann import CannConfig, CannIndex, builder, packed, segment, stored
from l2g_jax.cann.quantizer import load_quantizer
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.similarity.codec import decode, encode
from tests.cann import oracle
from tests.fuzz.stores import fit_checksums

ALL = 10**6
CONFIG = CannConfig(num_lists=10, descriptor_bytes=12)


@pytest.fixture
def images():
  return oracle.collection(0)


@pytest.fixture
def index(tmp_path, images):
  return CannIndex.build(tmp_path / "index", images.items(), CONFIG)


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def read(root, name):
  [path] = root.glob(name)
  return np.load(path)


def search_all(index, query):
  result = index.search(query, len(index.names), num_probes=ALL, rescoring_depth=ALL)
  return [(index.names[i], float(s)) for i, s in zip(result.ids, result.similarities, strict=True)]


def unpacked(root):
  """Decodes the files of an index bit by bit; returns an image's rows, still rotated."""
  codes, cells, offsets = (
    read(root, f"descriptors-*/{name}.npy") for name in ("packed", "cells", "offsets")
  )
  centers, spacing, bits = (
    read(root, f"quantizer-*/grid_{name}.npy") for name in ("centers", "spacing", "bits")
  )
  rows = np.zeros((len(codes), len(bits)))
  for row, (code, cell) in enumerate(zip(codes, cells, strict=True)):
    number, place = int.from_bytes(code.tobytes(), "little"), 0
    for j, width in enumerate(bits.tolist()):
      level = (number >> place) & (2**width - 1)
      difference = np.rint((level - (2**width - 1) / 2) * float(spacing[j])) if width else 0
      rows[row, j] = np.clip(np.floor((difference + centers[cell, j] + 32) / 64), -127, 127)
      place += width
  return np.split(rows, offsets[1:-1])


def test_all_cells_and_full_depth_are_brute_force_over_what_is_stored(index, images):
  rows = unpacked(index.directory)
  grid = load_quantizer(next(index.directory.glob("quantizer-*"))).grid
  query = oracle.collection(1, num_images=1)["image-000"]
  turned = encode(query, where="a test").values.astype(float) @ grid.rotation.astype(float)
  turned = decode(encode(turned, where="a test")).astype(float)
  units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in rows]
  similarities = np.array(
    [CONFIG.kernel((turned @ u.T).max(axis=1)).mean() if len(u) else 0.0 for u in units]
  )
  ids = np.argsort(-similarities, kind="stable")
  similarities = similarities[ids]
  found = index.search(query, len(images), num_probes=ALL, rescoring_depth=ALL)
  wanted = similarities > 0
  assert found.ids[: wanted.sum()].tolist() == ids[wanted].tolist()
  np.testing.assert_allclose(found.similarities[: wanted.sum()], similarities[wanted], atol=1e-6)


@pytest.mark.parametrize("dimension", [3, 16, 40, 128])
def test_rows_decode_to_what_their_bits_lose(dimension):
  rng = np.random.default_rng(0)
  values = rng.standard_normal((3000, dimension)) * np.exp(-np.arange(dimension) / 30)
  codes = encode(values, where="a test")
  centers = np.zeros((1, dimension), np.float32)
  cells = np.zeros(len(codes), np.int32)
  lost = []
  for num_bytes in (4, 20, 40):
    grid = stored.fit_grid(decode(codes), decode(codes), centers, num_bytes)
    assert grid.num_bytes <= num_bytes
    packed = stored.pack(grid, codes, cells)
    rotated = stored.unpack(grid, packed, cells)
    one = [stored.unpack(grid, packed[i : i + 1], cells[:1]).values[0] for i in range(20)]
    np.testing.assert_array_equal(rotated.values[:20], one)
    back = stored.rotate_back(grid, rotated)
    assert len(back) == len(codes)
    lost.append(np.mean(np.sum((decode(back) - decode(codes)) ** 2, axis=1)))
  assert lost == sorted(lost, reverse=True)
  assert lost[-1] < {3: 0.001, 16: 0.002, 40: 0.005, 128: 0.06}[dimension]


@pytest.mark.parametrize("size", [1, 7, 39])
def test_pieces_and_shards_make_the_same_files(tmp_path, index, images, monkeypatch, size):
  monkeypatch.setattr(builder, "IMAGES_PER_PIECE", size)
  monkeypatch.setattr(segment, "MERGED_BYTES", 4096)
  parted = CannIndex.build(tmp_path / "parted", images.items(), CONFIG)
  assert contents(parted.directory) == contents(index.directory)
  root = tmp_path / "shards"
  for shard in (1, 0):
    CannIndex.build_shard(root, list(images.items()), CONFIG, shard_index=shard, num_shards=2)
  assert contents(CannIndex.merge_shards(root).directory) == contents(index.directory)


def test_a_shard_that_is_made_twice_at_once_makes_the_same(tmp_path, index, images, monkeypatch):
  shard = {"config": CONFIG, "shard_index": 0, "num_shards": 1}
  root, items = tmp_path / "twice", [*images.items()]
  writers = [(segment, "save_descriptors"), (packed, "save_packed")]

  def race(module, name):
    write = getattr(module, name)

    def after_another(*arguments, **settings):
      write(*arguments, **settings)
      for where, function in writers:
        monkeypatch.setattr(where, function, before[where, function])
      CannIndex.build_shard(root, items, **shard)

    monkeypatch.setattr(module, name, after_another)

  before = {writer: getattr(*writer) for writer in writers}
  for writer in writers:
    race(*writer)
  CannIndex.build_shard(root, items, **shard)
  monkeypatch.undo()
  made = CannIndex.merge_shards(root)
  for kind in ("descriptors", "lists"):
    [ours], [theirs] = (where.directory.glob(f"{kind}-*") for where in (made, index))
    assert contents(ours) == contents(theirs)


def test_compacting_copies_descriptors_until_cells_are_learned_anew(index, images):
  grown = index.add((f"more-{name}", values) for name, values in images.items())
  shrunk = grown.remove(["image-003", "more-image-007"])
  query = images["image-005"]
  expected = search_all(shrunk, query)
  compacted = shrunk.compact().compact()
  assert len(list(compacted.directory.glob("lists-*"))) == 1
  assert search_all(compacted, query) == expected
  more = compacted.add((f"again-{name}", values) for name, values in images.items())
  learned = set(index.directory.glob("quantizer-*"))
  anew = more.compact()
  assert set(index.directory.glob("quantizer-*")).isdisjoint(learned)
  assert anew.names == more.names
  assert [len(anew.codes(i)) for i in range(9)] == [len(more.codes(i)) for i in range(9)]


def test_images_of_the_index_are_queries(index, images):
  found = index.neighbor_lists(5, rescoring_depth=ALL, show_progress=False)
  for image in (0, 7, 30):
    values = index.similarities(decode(index.codes(image)), np.arange(len(images)))
    values[image] = -1.0
    order = np.argsort(-values, kind="stable")[:5]
    assert found.ids[image].tolist() == order.tolist()


def test_files_are_small(tmp_path):
  rng = np.random.default_rng(0)
  images = [(str(n), rng.standard_normal((400, 128))) for n in range(9)]
  config = CannConfig(num_lists=4, descriptor_bytes=44)
  index = CannIndex.build(tmp_path / "index", images, config)
  parts = [p for kind in ("descriptors", "lists") for p in index.directory.glob(f"{kind}-*/*.npy")]
  assert sum(path.stat().st_size for path in parts) < 84 * 9 * 400


def test_a_damaged_file_is_named(index):
  oracle.check_damage_is_named(index, {"packed", "cells", "grid_centers", "grid_bits"})


@pytest.mark.parametrize(
  ("file", "change"),
  [
    ("descriptors/packed", lambda array: array[:-1]),
    ("descriptors/packed", lambda array: array[:, :-1]),
    ("descriptors/cells", lambda array: np.append(array[:-1], np.int32(10**6))),
    ("descriptors/cells", lambda array: -1 - array),
    ("descriptors/offsets", lambda array: array + 1),
    ("quantizer/grid_centers", lambda array: array[:-16]),
    ("quantizer/grid_rotation", lambda array: array[:-1]),
    ("quantizer/grid_bits", lambda array: array + np.uint8(1)),
    ("quantizer/grid_bits", lambda array: np.full_like(array, 3)),
    ("quantizer/grid_spacing", lambda array: array * np.float32(np.nan)),
  ],
)
def test_arrays_that_do_not_fit_are_refused(index, file, change):
  folder, name = file.split("/")
  [path] = index.directory.glob(f"{folder}-*/{name}.npy")
  np.save(path, np.ascontiguousarray(change(np.load(path))))
  fit_checksums(path)
  with pytest.raises(InputError, match=str(index.directory)):
    CannIndex.open(index.directory, verify=True)


def test_an_index_without_the_setting_has_the_files_of_before(tmp_path, images):
  root = CannIndex.build(tmp_path / "index", images.items(), CannConfig(num_lists=10)).directory
  manifest = files.read_manifest(root / "index.json")
  assert "learned_from" not in manifest
  assert "descriptor_bytes" not in manifest["config"]
  assert not list(root.glob("quantizer-*/grid_*"))

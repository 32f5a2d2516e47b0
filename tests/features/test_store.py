import pathlib

import numpy as np
import pytest

from l2g_jax.errors import InputError
from l2g_jax.features import LocalFeatures, parts, store
from l2g_jax.runtime import digests, files

pytestmark = pytest.mark.fast

COUNTS = ((3, 0, 5), (0,), (2, 7))
NAMES = ("a", "b", "sub/c", "d", "e", "f")
KEYS = ("first", "second", "third")


def features(count, seed, *, dimension=4):
  rng = np.random.default_rng(seed)
  return LocalFeatures(
    descriptors=rng.standard_normal((count, dimension), dtype=np.float32),
    locations=rng.uniform(0, 2000, (count, 2)).astype(np.float32),
    scales=rng.uniform(1, 9, count).astype(np.float32),
    strengths=-np.sort(-rng.uniform(0, 1, count).astype(np.float32)),
  )


def images():
  counts = [count for part in COUNTS for count in part]
  return [features(count, seed) for seed, count in enumerate(counts)]


def write(directory, precision: store.Precision = "float32"):
  names, items = list(NAMES), images()
  for part, (counts, key) in enumerate(zip(COUNTS, KEYS, strict=True)):
    store.save_part(
      directory,
      part,
      key=key,
      names=[names.pop(0) for _ in counts],
      features=[items.pop(0) for _ in counts],
      dimension=4,
      precision=precision,
    )
  store.finish(directory, keys=KEYS)
  return directory


def test_ragged_features_are_read_as_written(tmp_path):
  opened = store.open_store(write(tmp_path))
  assert (opened.names, opened.dimension, len(opened)) == (NAMES, 4, 6)
  np.testing.assert_array_equal(opened.counts(), [3, 0, 5, 0, 2, 7])
  for index, expected in enumerate(images()):
    for field, value in vars(expected).items():
      np.testing.assert_array_equal(getattr(opened[index], field), value, strict=True)
  np.testing.assert_array_equal(opened[-1].scales, opened[5].scales)
  with pytest.raises(IndexError):
    opened[6]


def test_names_and_descriptors_are_iterated(tmp_path):
  pairs = list(store.open_store(write(tmp_path)))
  assert [name for name, _ in pairs] == list(NAMES)
  for (_, descriptors), expected in zip(pairs, images(), strict=True):
    np.testing.assert_array_equal(descriptors, expected.descriptors)


def test_half_precision_rounds_descriptors_alone(tmp_path):
  opened = store.open_store(write(tmp_path, precision="float16"))
  for index, expected in enumerate(images()):
    rounded = expected.descriptors.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(opened[index].descriptors, rounded, strict=True)
    np.testing.assert_array_equal(opened[index].locations, expected.locations)
  assert np.any(opened[0].descriptors != images()[0].descriptors)
  path = store.part_path(tmp_path, 0) / "descriptors.npy"
  assert np.load(path).dtype == np.float16


def test_int8_keeps_127_steps_of_each_descriptor(tmp_path):
  opened = store.open_store(write(tmp_path, precision="int8"))
  for index, expected in enumerate(images()):
    found = opened[index].descriptors
    assert found.dtype == np.float32
    steps = np.max(np.abs(expected.descriptors), axis=1, initial=0.0)[:, None] / 127
    assert np.all(np.abs(found - expected.descriptors) <= steps * 0.5001)
    np.testing.assert_array_equal(opened[index].locations, expected.locations)
  sample = opened.sample_descriptors(99, seed=0)
  np.testing.assert_array_equal(sample, np.concatenate([values for _, values in opened]))
  assert np.load(store.part_path(tmp_path, 0) / "descriptors.npy").dtype == np.int8


def test_int8_keeps_descriptors_of_zero(tmp_path):
  blank = LocalFeatures(*(np.zeros((2, *rest), np.float32) for rest in ((4,), (2,), (), ())))
  store.save_part(
    tmp_path, 0, key="x", names=["a"], features=[blank], dimension=4, precision="int8"
  )
  store.finish(tmp_path, keys=["x"])
  np.testing.assert_array_equal(store.open_store(tmp_path)[0].descriptors, np.zeros((2, 4)))


def test_failures_are_kept_by_name(tmp_path):
  parts = [("a", {"a": "It is damaged."}), ("b", {}), ("c", {"c": "It is missing."})]
  for part, (name, failures) in enumerate(parts):
    store.save_part(
      tmp_path,
      part,
      key=name,
      names=[name],
      features=[features(0, 0)],
      dimension=4,
      failures=failures,
    )
  store.finish(tmp_path, keys=["a", "b", "c"])
  opened = store.open_store(tmp_path)
  assert opened.failures == {"a": "It is damaged.", "c": "It is missing."}


def test_a_store_of_nothing(tmp_path):
  store.finish(tmp_path, keys=[])
  opened = store.open_store(tmp_path)
  assert len(opened) == 0
  assert opened.counts().shape == (0,)
  assert opened.sample_descriptors(5, seed=0).shape == (0, 0)


def test_samples_are_rows_without_repetition_in_order(tmp_path):
  opened = store.open_store(write(tmp_path))
  everything = np.concatenate([item.descriptors for item in images()])
  np.testing.assert_array_equal(opened.sample_descriptors(99, seed=0), everything, strict=True)
  sample = opened.sample_descriptors(9, seed=0)
  rows = [np.flatnonzero((everything == row).all(axis=1)).item() for row in sample]
  assert len(rows) == 9
  assert np.all(np.diff(rows) > 0)


def test_a_seed_decides_the_sample(tmp_path):
  opened = store.open_store(write(tmp_path))
  first = opened.sample_descriptors(9, seed=1)
  np.testing.assert_array_equal(first, opened.sample_descriptors(9, seed=1))
  assert np.any(first != opened.sample_descriptors(9, seed=2))


def test_samples_come_evenly_from_all_images(tmp_path):
  opened = store.open_store(write(tmp_path))
  everything = np.concatenate([item.descriptors for item in images()])
  drawn = np.zeros(17)
  for seed in range(400):
    drawn += (
      (everything[:, None] == opened.sample_descriptors(5, seed=seed)).all(axis=2).any(axis=1)
    )
  # Binomial: 400 draws with probability 5 / 17 lie within 5 deviations of 117.6.
  np.testing.assert_allclose(drawn, 400 * 5 / 17, atol=46)


def test_the_key_of_a_store_is_that_of_its_parts(tmp_path):
  first = store.open_store(write(tmp_path / "a")).key
  assert first == store.open_store(write(tmp_path / "b")).key
  store.finish(tmp_path / "b", keys=KEYS[:2])
  assert first != store.open_store(tmp_path / "b").key


def test_images_are_found_by_key_in_parts_that_are_intact(tmp_path):
  opened = store.open_store(write(tmp_path))
  # Two images without descriptors are the same.
  assert opened.keys[1] == opened.keys[3]
  assert len(set(opened.keys)) == 5
  assert set(parts.find_images(tmp_path)) == set(opened.keys)
  for key, expected in zip(opened.keys, images(), strict=True):
    found = parts.find_images(tmp_path)[key].features()
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
  path = store.part_path(tmp_path, 0) / "scales.npy"
  content = path.read_bytes()
  path.write_bytes(content[:-1] + b"\x07")
  assert set(parts.find_images(tmp_path)) == set(opened.keys)
  assert opened.keys[0] not in parts.find_images(tmp_path, verify=True)
  path.write_bytes(content[:-1])
  assert opened.keys[0] not in parts.find_images(tmp_path)


@pytest.mark.parametrize("name", ["descriptors", "locations", "offsets", "scales", "strengths"])
def test_a_damaged_part_is_named(tmp_path, name):
  path = store.part_path(write(tmp_path), 2) / f"{name}.npy"
  content = path.read_bytes()
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(InputError, match=rf"part-00002/{name}\.npy was altered"):
    store.open_store(tmp_path, verify=True)
  path.write_bytes(content[:-1])
  with pytest.raises(InputError, match=rf"part-00002/{name}\.npy is truncated"):
    store.open_store(tmp_path)
  path.unlink()
  with pytest.raises(InputError, match=rf"part-00002/{name}\.npy is missing"):
    store.open_store(tmp_path)


def test_missing_and_foreign_parts_are_refused(tmp_path):
  write(tmp_path)
  second, third = store.part_path(tmp_path, 1), store.part_path(tmp_path, 2)
  second.rename(tmp_path / "kept")
  with pytest.raises(InputError, match=r"part-00001/manifest\.json is missing"):
    store.open_store(tmp_path)
  third.rename(second)
  (tmp_path / "kept").rename(third)
  with pytest.raises(InputError, match="part-00001 is not the part that"):
    store.open_store(tmp_path)


def test_an_incomplete_store_is_refused(tmp_path):
  (write(tmp_path) / "store.json").unlink()
  with pytest.raises(InputError, match="is not a complete feature store; run the extraction again"):
    store.open_store(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"keys": ["first"]}'])
def test_a_damaged_index_is_refused(tmp_path, content):
  (write(tmp_path) / "store.json").write_text(content)
  with pytest.raises(InputError, match=r"store\.json is truncated or not a manifest"):
    store.open_store(tmp_path)


def test_an_altered_or_foreign_index_is_refused(tmp_path):
  path = write(tmp_path) / "store.json"
  path.write_text(path.read_text().replace("sub/c", "other"))
  with pytest.raises(InputError, match=r"store\.json was altered"):
    store.open_store(tmp_path)
  files.write_manifest(path, {"kind": "l2g_jax.feature_store", "version": 0, "keys": []})
  with pytest.raises(InputError, match=r"store\.json is no index of a feature store"):
    store.open_store(tmp_path)


def test_reopening_reads_sizes_and_manifests_alone(tmp_path, monkeypatch):
  write(tmp_path)

  read = []
  original = digests.checksum_file

  def checksum_file(path):
    read.append(path)
    return original(path)

  monkeypatch.setattr(digests, "checksum_file", checksum_file)
  assert store.open_store(tmp_path).names == NAMES
  assert read == []
  store.open_store(tmp_path, verify=True)
  assert sorted(read) == sorted(tmp_path.rglob("*.npy"))


def complete(directory, wanted):
  """Completes a store of images that are named after the keys they were saved under."""
  found = parts.find_images(directory)
  names = [f"{place}: {key}" for place, key in enumerate(wanted)]
  return store.complete(directory, names, [found[key] for key in wanted], failures={})


def save(directory, keys, precision: store.Precision = "float32"):
  """Saves images, whose only descriptor is the number in their key, as a part."""
  one = np.ones(1, np.float32)
  store.save_part(
    directory,
    parts.part_name(keys),
    key="x",
    names=keys,
    features=[
      LocalFeatures(np.full((1, 4), int(key), np.float32), np.zeros((1, 2), np.float32), one, one)
      for key in keys
    ],
    dimension=4,
    precision=precision,
    image_keys=keys,
  )


def check_numbers(opened, wanted):
  assert opened.keys == tuple(wanted)
  numbers = [item.tolist() for _, item in opened]
  assert numbers == [[[float(key)] * 4] for key in wanted]


def test_images_are_taken_in_any_order_from_any_part(tmp_path):
  save(tmp_path, ["1", "2", "3"])
  save(tmp_path, ["4", "5"])
  wanted = ["5", "1", "1", "4"]
  check_numbers(complete(tmp_path, wanted), wanted)
  opened = store.open_store(tmp_path)
  check_numbers(opened, wanted)
  assert opened.names == ("0: 5", "1: 1", "2: 1", "3: 4")
  sample = opened.sample_descriptors(9, seed=0)
  np.testing.assert_array_equal(sample[:, 0], [5, 1, 1, 4])


def test_completing_removes_what_the_store_named_before_and_nothing_else(tmp_path):
  for keys in (["1"], ["2"], ["3"]):
    save(tmp_path, keys)
  # Unfinished work of another process, and what is not ours.
  (tmp_path / ".part-0123456789abcdef-x").mkdir()
  (tmp_path / "part-of-a-letter").mkdir()
  (tmp_path / "part-of-a-letter" / "manifest.json").touch()
  before = complete(tmp_path, ["1", "2"])
  check_numbers(complete(tmp_path, ["2"]), ["2"])
  left = {path.name for path in tmp_path.iterdir()}
  kept = {parts.part_name(["2"]), parts.part_name(["3"]), "store.json"}
  assert left == kept | {".part-0123456789abcdef-x", "part-of-a-letter"}
  # Who had it open goes on with what was removed.
  check_numbers(before, ["1", "2"])


def test_many_small_parts_are_put_together(tmp_path):
  keys = [str(number) for number in range(40)]
  for number, key in enumerate(keys):
    save(tmp_path, [key], precision="float16" if number % 2 else "int8")
  opened = complete(tmp_path, keys)
  left = [path for path in tmp_path.iterdir() if path.name.startswith("part-")]
  assert len(left) == 2
  check_numbers(opened, keys)
  check_numbers(store.open_store(tmp_path, verify=True), keys)


def test_a_store_whose_parts_are_numbered_opens_as_it_did(tmp_path):
  write(tmp_path)

  def forget_keys(part):
    path = store.part_path(tmp_path, part) / "manifest.json"
    manifest = files.read_manifest(path)
    del manifest["metadata"]["image_keys"]
    files.write_manifest(path, manifest)

  # As version 2 wrote it: no keys of images, and an index of the parts' keys alone.
  for part in range(len(KEYS)):
    forget_keys(part)
  kind = "l2g_jax.feature_store"
  files.write_manifest(tmp_path / "store.json", {"kind": kind, "version": 2, "keys": list(KEYS)})
  opened = store.open_store(tmp_path, verify=True)
  assert opened.names == NAMES
  for index, expected in enumerate(images()):
    np.testing.assert_array_equal(opened[index].descriptors, expected.descriptors)
  # Keys follow the content.
  store.save_part(
    tmp_path, 2, key="third", names=NAMES[4:], features=[features(2, 9), features(7, 5)],
    dimension=4, precision="float32",
  )  # fmt: skip
  forget_keys(2)
  changed = store.open_store(tmp_path)
  assert [a == b for a, b in zip(changed.keys, opened.keys, strict=True)] == [True] * 4 + [
    False
  ] * 2


def test_a_store_may_have_more_parts_than_files_may_be_open_at_first(tmp_path, monkeypatch):
  resource = pytest.importorskip("resource")
  monkeypatch.setattr(store, "MOST_SMALL_PARTS", 99)
  monkeypatch.setattr(parts, "OTHER_FILES", 0)
  wanted = [str(number) for number in range(40)]
  for key in wanted:
    save(tmp_path, [key])
  complete(tmp_path, wanted)
  limits = resource.getrlimit(resource.RLIMIT_NOFILE)
  few = len(list(pathlib.Path("/dev/fd").iterdir())) + 20
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    monkeypatch.setattr(files, "allow_open_files", lambda count: None)
    # A file that can't be opened for that reason is not called damaged.
    with pytest.raises(OSError, match="Too many open files"):
      parts.find_images(tmp_path)
    monkeypatch.undo()
    check_numbers(store.open_store(tmp_path), wanted)
    assert parts.find_images(tmp_path).keys() == set(wanted)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)

import threading
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from l2g_jax.errors import InputError
from l2g_jax.features import LocalExtractor, LocalFeatures, extraction
from l2g_jax.features.batches import describe_part, read_ahead
from l2g_jax.features.extraction import ImageJob, extract_local, extract_shard
from l2g_jax.features.preprocess import Reading
from l2g_jax.features.protocol import GlobalExtractor, Network, as_local, extract_with
from l2g_jax.runtime import files

SIZES = ((4, 6), (6, 4), (4, 6), (4, 6), (6, 4), (5, 5), (4, 6))


def network(calls, *, batch_size):
  """A network whose feature is an input's sum, and that notes the shape of every call."""

  def describe(inputs):
    calls.append(inputs.shape)
    return [float(value) for value in inputs.sum(axis=(1, 2, 3))]

  return Network(lambda image, whole: image.astype(np.float32), describe, batch_size)


def inputs():
  return [np.full((*size, 3), number, np.float32) for number, size in enumerate(SIZES)]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_input_gets_its_own_feature(batch_size):
  calls = []
  found = [
    x for some in describe_part(network(calls, batch_size=batch_size), inputs()) for x in some
  ]
  assert dict(found) == {number: values.sum() for number, values in enumerate(inputs())}
  assert len(found) == len(SIZES)
  # One shape a size, whatever the number of images.
  assert set(calls) == {(batch_size, *size, 3) for size in set(SIZES)}
  counts = [SIZES.count(size) for size in set(SIZES)]
  assert len(calls) == sum(-(-count // batch_size) for count in counts)


class Pair(NamedTuple):
  pixels: np.ndarray
  sizes: np.ndarray


def pair(pixels, sizes):
  return pixels, sizes


@pytest.mark.parametrize("kind", [pair, Pair])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_input_may_be_several_arrays_whose_shapes_all_count(batch_size, kind):
  calls = []

  def describe(inputs):
    assert type(inputs) is type(some[0])
    pixels, sizes = inputs
    calls.append((pixels.shape, sizes.shape))
    return [float(value) for value in pixels.sum(axis=(1, 2)) + 100 * sizes.sum(axis=1)]

  shapes = [(2, 3), (2, 3), (3, 2), (2, 3), (2, 3)]
  lengths = [1, 2, 1, 1, 1]
  some = [
    kind(np.full(shape, number, np.float32), np.ones(length, np.int32))
    for number, (shape, length) in enumerate(zip(shapes, lengths, strict=True))
  ]
  made = Network(lambda image, whole: (image,), describe, batch_size)
  found = dict(x for each in describe_part(made, some) for x in each)
  assert found == {number: 6.0 * number + 100.0 * lengths[number] for number in range(5)}
  assert set(calls) == {
    ((batch_size, *shape), (batch_size, length))
    for shape, length in zip(shapes, lengths, strict=True)
  }


def test_what_could_not_be_read_takes_no_place_in_a_batch():
  calls, error = [], InputError("It is damaged.")
  some = [inputs()[0], error, inputs()[2]]
  found = dict(x for some in describe_part(network(calls, batch_size=2), some) for x in some)
  assert found == {0: 0.0, 1: error, 2: inputs()[2].sum()}
  assert calls == [(2, 4, 6, 3)]


def test_batches_are_described_at_once_by_as_many_threads_as_the_network_says():
  # Nobody passes before three are there.
  together = threading.Barrier(3, timeout=60)

  def describe(inputs):
    together.wait()
    return [float(value) for value in inputs.sum(axis=(1, 2, 3))]

  made = Network(lambda image, whole: image, describe, batch_size=1, num_threads=3)
  some = inputs()[:6]
  found = [x for part in describe_part(made, some) for x in part]
  assert found == [(number, values.sum()) for number, values in enumerate(some)]


def test_an_error_of_the_network_is_raised():
  def describe(inputs):
    raise InputError("It is damaged.")

  made = Network(lambda image, whole: image, describe, batch_size=1, num_threads=2)
  with pytest.raises(InputError, match="damaged"):
    list(describe_part(made, inputs()))


def test_reading_ahead_keeps_the_order_and_goes_on_after_an_error():
  def read(item):
    if item % 5 == 3:
      raise InputError(f"{item} is damaged.")
    return np.array(item)

  found = list(read_ahead(range(20), read, num_threads=3))
  for item, result in enumerate(found):
    assert str(result) == (f"{item} is damaged." if item % 5 == 3 else str(item))
  assert len(found) == 20


def test_reading_ahead_is_bounded_and_ends_when_it_is_left():
  started, lock = [], threading.Lock()

  def read(item):
    with lock:
      started.append(item)
    return np.array(item)

  ahead = read_ahead(range(1000), read, num_threads=2)
  assert [str(next(ahead)) for _ in range(3)] == ["0", "1", "2"]
  ahead.close()
  assert max(started) <= 2 + 2 + 2


def test_other_errors_are_not_hidden():
  def read(item):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    list(read_ahead([1], read, num_threads=1))


def rows(calls, *, batch_size=2, reading=None):
  """A network extractor that describes an image by the first values of its rows."""

  def prepare(image, whole):
    assert image.shape[0] <= whole[0]
    return image.astype(np.float32)

  def describe(inputs):
    calls.append(inputs.shape)
    features = []
    for values in inputs:
      count = len(values)
      blank = np.zeros((count, 2), np.float32)
      features.append(
        LocalFeatures(values[:, 0], blank, blank[:, 0], -np.arange(count, dtype=np.float32))
      )
    return features

  made = Network(prepare, describe, batch_size)
  return LocalExtractor("rows", 3, {}, lambda image: extract_with(made, image), reading, made)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
  monkeypatch.setattr(extraction, "IMAGES_PER_PART", 3)
  made = []
  for number, size in enumerate(SIZES):
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    made.append(ImageJob(f"image {number}", tmp_path / f"{number}.png"))
  return made


def pixels(job):
  return np.asarray(Image.open(job.path), np.float32)


def test_a_network_fills_a_store(tmp_path, jobs):
  calls = []
  made = extract_local(
    jobs, rows(calls), tmp_path / "store", precision="float32", show_progress=False
  )
  for index, job in enumerate(jobs):
    np.testing.assert_array_equal(made[index].descriptors, pixels(job)[:, 0])
  again = []
  extract_local(jobs, rows(again), tmp_path / "store", precision="float32", show_progress=False)
  assert not again


def test_a_part_that_is_there_is_not_described_again(tmp_path, jobs):
  extract_local(jobs, rows([]), tmp_path / "store", show_progress=False)
  part = files.read_manifest(tmp_path / "store" / "store.json")["parts"][1]
  (tmp_path / "store" / part / "scales.npy").unlink()
  calls = []
  extract_local(jobs, rows(calls), tmp_path / "store", show_progress=False)
  assert set(calls) == {(2, *size, 3) for size in SIZES[3:6]}


def test_an_extractor_says_how_photographs_are_read(tmp_path, jobs):
  job = ImageJob("crop", jobs[5].path, (0.0, 0.6, 5.0, 2.6))
  heights = {}
  for policy, changes in [("round", {}), ("truncate", {"crop_policy": "truncate"})]:
    extractor = rows([], reading=Reading("round", apply_exif=False))
    made = extract_local([job], extractor, tmp_path / policy, show_progress=False, **changes)
    heights[policy] = made[0].descriptors[0]
  np.testing.assert_array_equal(heights["round"], pixels(job)[1, 0])
  np.testing.assert_array_equal(heights["truncate"], pixels(job)[0, 0])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_bad_images_do_not_stop_a_network(tmp_path, jobs, batch_size):
  jobs[1].path.write_bytes(b"no image")
  jobs[6].path.unlink()
  result = extract_shard(
    jobs, rows([], batch_size=batch_size), tmp_path / "store", show_progress=False
  )
  assert list(result.failures) == ["image 1", "image 6"]
  assert "no image at" in result.failures["image 6"]
  assert result.missing_parts == 0


def test_a_global_feature_is_the_one_descriptor_of_its_image(tmp_path, jobs):
  def describe(inputs):
    return list(inputs.mean(axis=(1, 2)))

  made = Network(lambda image, whole: image.astype(np.float32), describe, 2)
  extractor = GlobalExtractor("mean", 3, {}, lambda image: extract_with(made, image), None, made)
  opened = extract_local(
    jobs, as_local(extractor), tmp_path / "store", precision="float32", show_progress=False
  )
  np.testing.assert_array_equal(opened.counts(), np.ones(len(jobs)))
  for index, job in enumerate(jobs):
    expected = pixels(job).mean(axis=(0, 1))
    np.testing.assert_allclose(opened[index].descriptors, expected[None], rtol=1e-6)
    one = as_local(extractor).extract(np.asarray(Image.open(job.path)))
    np.testing.assert_allclose(one.descriptors, expected[None], rtol=1e-6)

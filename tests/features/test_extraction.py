import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from l2g_jax.data.images import read_photograph
from l2g_jax.errors import InputError
from l2g_jax.features import LocalExtractor, extraction, tasks
from l2g_jax.features import jobs as features_of_jobs
from l2g_jax.features.extraction import ImageJob, extract_local, extract_shard
from l2g_jax.features.sift import sift
from l2g_jax.features.store import open_store
from l2g_jax.runtime import files
from tests.features.rows import NUM_IMAGES, extract_rows, rows

NUM_PARTS = 4  # Of three images.
ROOT = pathlib.Path(__file__).parents[2]


def write_images(folder):
  folder.mkdir()
  jobs = []
  for index in range(NUM_IMAGES):
    path = folder / f"{index}.png"
    pixels = np.random.default_rng(index).integers(0, 256, (40 + index, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    jobs.append(ImageJob(f"image {index}", path))
  return jobs


def contents(directory):
  """The bytes of every file of a store; its lock and the memory of checksums are none."""
  return {
    path.relative_to(directory).as_posix(): path.read_bytes()
    for path in directory.rglob("*")
    if path.is_file()
    and path.name not in ("lock", "checksums.json")
    and not any(part.startswith(".") for part in path.relative_to(directory).parts)
  }


def parts_made(directory):
  """Which parts were written by what runs now, by the identity of their folders."""
  return {path.name: path.stat().st_ino for path in directory.glob("part-*")}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
  monkeypatch.setattr(extraction, "IMAGES_PER_PART", 3)


@pytest.fixture
def jobs(tmp_path):
  return write_images(tmp_path / "jpg")


@pytest.fixture
def extract(tmp_path, jobs):
  """Extracts the images into one store, in this process."""

  def run(*, extractor=None, **options):
    return extract_local(
      options.pop("jobs", jobs),
      extractor or rows(),
      tmp_path / "store",
      **{"num_workers": 1, "show_progress": False, **options},
    )

  return run


def test_features_are_those_of_the_extractor(jobs, extract):
  opened = extract(precision="float32")
  assert opened.names == tuple(job.name for job in jobs)
  for index, job in enumerate(jobs):
    pixels = np.asarray(Image.open(job.path), np.float32)
    np.testing.assert_array_equal(opened[index].descriptors, pixels.reshape(len(pixels), -1)[:, :4])


def test_boxes_are_cut_by_the_policy(jobs, extract):
  jobs = [ImageJob("crop", jobs[0].path, (1.0, 2.5, 9.0, 7.5))]
  pixels = np.asarray(Image.open(jobs[0].path), np.float32)
  for policy, part in [("truncate", slice(2, 7)), ("round", slice(2, 8)), ("none", slice(None))]:
    opened = extract(jobs=jobs, crop_policy=policy, precision="float32")
    left = 0 if policy == "none" else 3
    np.testing.assert_array_equal(
      opened[0].descriptors, pixels[part].reshape(-1, 150)[:, left : left + 4]
    )


def test_workers_change_no_byte(tmp_path, jobs):
  stores = [tmp_path / f"by{workers}" for workers in (1, 2)]
  for workers, directory in enumerate(stores, start=1):
    extract_local(jobs, sift(), directory, num_workers=workers, show_progress=False)
  assert contents(stores[0]) == contents(stores[1])
  assert len(contents(stores[0])) == 6 * NUM_PARTS + 1
  assert open_store(stores[0]).counts().min() > 0


def test_one_worker_leaves_opencv_as_it_was(extract):
  before = cv2.getNumThreads()
  try:
    cv2.setNumThreads(2)
    extract(num_workers=1)
    assert cv2.getNumThreads() == 2
  finally:
    cv2.setNumThreads(before)


def test_a_complete_store_is_opened_and_left_alone(tmp_path, extract):
  first = extract()
  made = parts_made(tmp_path / "store")
  second = extract()
  assert parts_made(tmp_path / "store") == made
  assert (second.key, second.names) == (first.key, first.names)


@pytest.mark.parametrize("damage", ["delete", "lose", "alter", "truncate", "manifest"])
def test_only_a_damaged_part_is_made_again(tmp_path, jobs, extract, damage):
  root = tmp_path / "store"
  extract(precision="float32")
  part = root / files.read_manifest(root / "store.json")["parts"][2]
  path = part / ("manifest.json" if damage == "manifest" else "strengths.npy")
  content = path.read_bytes()
  match damage:
    case "delete":
      part.rename(tmp_path / "elsewhere")
    case "lose":
      path.unlink()
    case "truncate":
      path.write_bytes(content[:-4])
    case _:
      path.write_bytes(content[:-4] + b"abcd")
  opened, described = extract_counting(extract, jobs, precision="float32", verify=damage == "alter")
  assert described == 3
  check_rows(opened, jobs)
  check_rows(open_store(root, verify=True), jobs)


def test_only_a_changed_image_is_extracted_again(tmp_path, jobs, extract):
  first = extract()
  stat = jobs[4].path.stat()
  # Of the same size and time: only the content tells.
  pixels = np.asarray(Image.open(jobs[4].path))
  other = jobs[4].path.with_suffix(".bmp")
  for value in (3, 7):
    Image.fromarray(np.full((9, 50, 3), value, np.uint8)).save(other)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    jobs[4] = ImageJob(jobs[4].name, other)
    opened, described = extract_counting(extract, jobs)
    assert described == 1
    np.testing.assert_array_equal(opened[4].descriptors, np.full((9, 4), value))
    assert opened.key != first.key
  Image.fromarray(pixels).save(other)
  back, _ = extract_counting(extract, jobs)
  np.testing.assert_array_equal(back[4].descriptors, first[4].descriptors)


def extract_counting(extract, jobs, **options):
  """Returns the store, and of how many images features were extracted for it."""
  described = []

  def count(image):
    described.append(len(image))
    return extract_rows(image, seconds=0.0)

  return extract(jobs=jobs, extractor=LocalExtractor("rows", 4, {}, count), **options), len(
    described
  )


def check_rows(opened, jobs):
  """Every image has its own features."""
  assert opened.names == tuple(job.name for job in jobs)
  for index, job in enumerate(jobs):
    pixels = np.asarray(Image.open(job.path), np.float32)
    np.testing.assert_array_equal(opened[index].descriptors, pixels.reshape(len(pixels), -1)[:, :4])


def test_a_list_that_changes_costs_what_is_new_in_it(tmp_path, jobs, extract):
  opened, described = extract_counting(extract, jobs, precision="float32")
  assert described == NUM_IMAGES
  new = tmp_path / "jpg" / "new.png"
  Image.fromarray(np.full((5, 50, 3), 9, np.uint8)).save(new)
  copy = tmp_path / "jpg" / "copy.png"
  shutil.copy(jobs[2].path, copy)
  moved = jobs[7].path.rename(tmp_path / "jpg" / "moved.png")
  jobs[7] = ImageJob("moved", moved)
  for changed, expected in [
    ([ImageJob("first", new), *jobs], 1),
    ([ImageJob("first", new), ImageJob("copy", copy), *jobs[::-1]], 0),
    (jobs[3:], 0),
    # What no list needed any more is gone, with the parts that were of no use at all.
    (jobs, 3),
    (jobs, 0),
  ]:
    opened, described = extract_counting(extract, changed, precision="float32")
    check_rows(opened, changed)
    assert described == expected


def test_copies_of_an_image_are_extracted_once(tmp_path, jobs, extract):
  for number in range(3):
    path = tmp_path / "jpg" / f"copy-{number}.png"
    shutil.copy(jobs[0].path, path)
    jobs.append(ImageJob(f"copy {number}", path))
  opened, described = extract_counting(extract, jobs, precision="float32")
  assert described == NUM_IMAGES
  check_rows(opened, jobs)


def test_an_image_that_is_touched_is_not_extracted_again(jobs, extract):
  first = extract()
  for job in jobs:
    os.utime(job.path, ns=(1, 1))
  opened, described = extract_counting(extract, jobs)
  assert (described, opened.key) == (0, first.key)


def test_what_an_extraction_depends_on_changes_its_key(jobs, extract):
  boxed = [ImageJob(jobs[0].name, jobs[0].path, (0.0, 0.0, 5.0, 5.0)), *jobs[1:]]
  variants = [
    {},
    {"extractor": rows(name="other")},
    {"extractor": LocalExtractor("rows", 4, {"seed": 1}, rows().extract)},
    {"apply_exif": False},
    {"precision": "float32"},
    {"jobs": [ImageJob("other", jobs[0].path), *jobs[1:]]},
    {"jobs": boxed},
    {"jobs": boxed, "crop_policy": "round"},
    {"jobs": jobs[:-1]},
    {"jobs": jobs[::-1]},
  ]
  keys = [extract(**variant).key for variant in variants]
  assert len(set(keys)) == len(variants)
  assert extract().key == keys[0]
  # Without a box there is nothing to crop.
  assert extract(crop_policy="round").key == keys[0]


def test_keys_are_told_without_extracting(tmp_path, jobs, extract):
  jobs.append(ImageJob("missing", tmp_path / "missing.png"))
  memory = tmp_path / "store" / "checksums.json"
  told = extraction.image_keys(jobs, rows(), memory)
  assert tuple(told) == extract(on_error="empty").keys


def test_one_image_is_described_as_it_would_be_in_a_store(jobs, extract):
  job = ImageJob("crop", jobs[0].path, (1.0, 2.5, 9.0, 7.5))
  for precision in ("float16", "int8"):
    expected = extract(jobs=[job], crop_policy="round", precision=precision)[0]
    found = extraction.describe_image(job, rows(), crop_policy="round", precision=precision)
    for field, value in vars(expected).items():
      np.testing.assert_array_equal(getattr(found, field), value, strict=True)


@pytest.mark.parametrize("times", [1, 99])
def test_an_image_that_changes_while_it_is_read_is_read_again(jobs, extract, monkeypatch, times):
  path, written = jobs[3].path, []

  def read(place, **options):
    if place == path and len(written) < times:
      written.append(place)
      Image.fromarray(np.full((43, 50, 3), len(written), np.uint8)).save(path)
    return read_photograph(place, **options)

  monkeypatch.setattr(features_of_jobs, "read_photograph", read)
  if times == 1:
    check_rows(extract(precision="float32"), jobs)
    return
  with pytest.raises(InputError, match=r"image 3: .*3\.png changes while it is read"):
    extract()
  opened = extract(on_error="empty")
  assert "changes while it is read; run again" in opened.failures["image 3"]
  assert opened.counts()[3] == 0
  monkeypatch.setattr(features_of_jobs, "read_photograph", read_photograph)
  # It is tried again, since nothing is known of it.
  check_rows(extract(precision="float32", on_error="empty"), jobs)


def damage_some(jobs):
  jobs[1].path.write_bytes(jobs[1].path.read_bytes()[:200])
  jobs[8].path.unlink()
  jobs[9] = ImageJob("image 9", jobs[9].path, (90.0, 0.0, 99.0, 9.0))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_bad_image_is_named_once_all_others_are_done(tmp_path, jobs, extract, num_workers):
  damage_some(jobs)
  with pytest.raises(InputError, match="3 of 11 images can't be used") as error:
    extract(num_workers=num_workers)
  for message in (
    r"image 1: Image .*1\.png is truncated",
    r"image 8: There is no image at .*8\.png",
    r"image 9: Box \[90.0, 0.0, 99.0, 9.0\] lies outside",
  ):
    assert error.match(message)
  # What is good is kept.
  assert len(parts_made(tmp_path / "store")) == NUM_PARTS
  with pytest.raises(InputError, match="not a complete feature store"):
    open_store(tmp_path / "store")


def test_a_mended_image_completes_the_store(tmp_path, jobs, extract):
  content = jobs[1].path.read_bytes()
  jobs[1].path.write_bytes(content[:200])
  with pytest.raises(InputError, match=r"1 of 11 images can't be used: image 1: "):
    extract()
  made = parts_made(tmp_path / "store")
  jobs[1].path.write_bytes(content)
  opened, described = extract_counting(extract, jobs)
  assert (opened.counts().min(), described) == (40, 1)
  assert made.items() < parts_made(tmp_path / "store").items()


def test_bad_images_are_left_empty_where_that_is_asked_for(jobs, extract, capsys):
  damage_some(jobs)
  opened = extract(on_error="empty")
  expected = [0 if index in (1, 8, 9) else 40 + index for index in range(NUM_IMAGES)]
  np.testing.assert_array_equal(opened.counts(), expected)
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 3
  assert lines[0].startswith("Left without features. image 1: ")


def test_why_an_image_is_empty_is_kept(tmp_path, jobs, extract, capsys):
  damage_some(jobs)
  first = extract(on_error="empty").failures
  assert list(first) == ["image 1", "image 8", "image 9"]
  told = capsys.readouterr().out
  opened, described = extract_counting(extract, jobs, on_error="empty")
  assert (opened.failures, described) == (first, 0)
  assert capsys.readouterr().out == told
  # Where it lies and how it is called is as it is now.
  jobs[1] = ImageJob("moved", jobs[1].path.rename(tmp_path / "moved.png"))
  failures = extract(jobs=jobs, on_error="empty").failures
  assert list(failures) == ["moved", "image 8", "image 9"]
  assert f"Image {tmp_path / 'moved.png'} is truncated" in failures["moved"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_make_the_same_store(tmp_path, jobs, order):
  damage_some(jobs)
  failures = {}
  for done, shard in enumerate(order, start=1):
    assert not (tmp_path / "shards" / "store.json").exists()
    result = extract_shard(
      jobs,
      rows(),
      tmp_path / "shards",
      shard_index=shard,
      num_shards=3,
      num_workers=1,
      show_progress=False,
    )
    failures |= result.failures
    assert result.num_images == (5, 3, 3)[shard]
    # The first shard makes two of the four parts.
    left = sum((2, 1, 1)[other] for other in order[done:])
    assert result.missing_parts == left
  whole = extract_local(
    jobs, rows(), tmp_path / "whole", on_error="empty", num_workers=1, show_progress=False
  )
  assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
  assert failures == whole.failures


@pytest.mark.parametrize(("shard_index", "num_shards"), [(2, 2), (-1, 2), (0, 0)])
def test_shards_that_do_not_exist_are_refused(tmp_path, jobs, shard_index, num_shards):
  with pytest.raises(InputError, match=f"Shard {shard_index} of {num_shards} does not exist"):
    extract_shard(jobs, rows(), tmp_path, shard_index=shard_index, num_shards=num_shards)


def test_no_images_give_an_empty_store(extract):
  assert len(extract(jobs=[])) == 0


SCRIPT = """
import os, pathlib, signal, sys
from l2g_jax.features import extraction
from tests.features.rows import NUM_IMAGES, rows

if __name__ == "__main__":
  root, num_workers, seconds, syncs = pathlib.Path(sys.argv[1]), *map(float, sys.argv[2:])
  sync = os.fsync

  def fsync(descriptor):
    global syncs
    if syncs == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    syncs -= 1
    sync(descriptor)

  os.fsync = fsync
  extraction.IMAGES_PER_PART = 3
  jobs = [extraction.ImageJob(f"image {i}", root / "jpg" / f"{i}.png") for i in range(NUM_IMAGES)]
  extractor = rows(seconds=seconds)
  extraction.extract_local(
    jobs, extractor, root / "store", num_workers=int(num_workers), show_progress=False
  )
"""


def start(root, *, num_workers=1, seconds=0.0, syncs=-1):
  """Starts an extraction that kills itself at a sync, unless that is never reached."""
  script = root / "extract.py"
  script.write_text(SCRIPT)
  return subprocess.Popen(
    [sys.executable, script, root, str(num_workers), str(seconds), str(syncs)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )


def finish(process):
  """Waits until a process and its workers, which hold its output open, are gone."""
  process.communicate(timeout=60)
  return process.returncode


@pytest.mark.parametrize("syncs", [0, 2, 5, 9, 14, 20, 27, 31])
def test_killed_at_any_write_it_goes_on_to_the_same_result(tmp_path, jobs, syncs):
  extract_local(jobs, rows(), tmp_path / "whole", num_workers=1, show_progress=False)
  assert finish(start(tmp_path, syncs=syncs)) == -signal.SIGKILL
  made = parts_made(tmp_path / "store")
  assert len(made) <= NUM_PARTS
  opened = extract_local(jobs, rows(), tmp_path / "store", num_workers=1, show_progress=False)
  assert contents(tmp_path / "store") == contents(tmp_path / "whole")
  assert len(opened) == NUM_IMAGES
  assert made.items() <= parts_made(tmp_path / "store").items()


def test_a_run_that_is_not_killed_completes_the_store(tmp_path, jobs):
  assert finish(start(tmp_path)) == 0
  assert len(open_store(tmp_path / "store")) == len(jobs)


def test_killed_with_workers_it_leaves_none_and_goes_on(tmp_path, jobs):
  extract_local(jobs, rows(), tmp_path / "whole", num_workers=1, show_progress=False)
  process = start(tmp_path, num_workers=2, seconds=0.2)
  deadline = time.monotonic() + 60
  while not list(tmp_path.glob("store/part-*/manifest.json")):
    assert process.poll() is None
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.kill()
  assert finish(process) == -signal.SIGKILL
  made = parts_made(tmp_path / "store")
  assert 0 < len(made) < NUM_PARTS
  extract_local(jobs, rows(), tmp_path / "store", num_workers=2, show_progress=False)
  assert contents(tmp_path / "store") == contents(tmp_path / "whole")
  assert made.items() <= parts_made(tmp_path / "store").items()


def test_interrupted_within_a_part_it_keeps_what_is_done(tmp_path, jobs, extract, monkeypatch):
  monkeypatch.setattr(extraction, "IMAGES_PER_PART", NUM_IMAGES)
  monkeypatch.setattr(tasks, "PIECE_SECONDS", 0.0)
  described = []

  def interrupt(image):
    if len(described) == 7:
      raise KeyboardInterrupt
    described.append(1)
    return extract_rows(image, seconds=0.0)

  with pytest.raises(KeyboardInterrupt):
    extract(extractor=LocalExtractor("rows", 4, {}, interrupt), precision="float32")
  opened, count = extract_counting(extract, jobs, precision="float32")
  assert count == NUM_IMAGES - 7
  check_rows(opened, jobs)


@pytest.mark.parametrize(("removes", "count"), [("none", 0), ("replaced", 9), ("all", 9)])
def test_what_a_list_does_not_need_is_left_to_one_that_follows(extract, jobs, removes, count):
  extract()
  extract(jobs=jobs[9:], removes=removes)
  assert extract_counting(extract, jobs)[1] == count


def test_pieces_are_gone_once_their_part_is_whole(tmp_path, jobs, extract, monkeypatch):
  damage_some(jobs)
  extract(on_error="empty")
  whole = contents(tmp_path / "store")
  shutil.rmtree(tmp_path / "store")
  monkeypatch.setattr(tasks, "PIECE_SECONDS", 0.0)
  saved = []
  save = tasks.save
  monkeypatch.setattr(tasks, "save", lambda *given: saved.append(save(*given)) or saved[-1])
  extract(on_error="empty")
  assert len(saved) > NUM_PARTS
  assert contents(tmp_path / "store") == whole


def test_workers_do_not_load_jax():
  program = "import sys, l2g_jax.features.extraction, l2g_jax.features.sift; print(*sys.modules)"
  modules = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
  ).stdout.split()
  assert "l2g_jax.features.store" in modules
  assert not {"jax", "numba"} & set(modules)

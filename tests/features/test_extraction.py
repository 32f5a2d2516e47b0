import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from l2g_jax.data import open_store
from l2g_jax.errors import InputError
from l2g_jax.features import LocalExtractor, LocalFeatures, extraction
from l2g_jax.features.extraction import ImageJob, extract_local, extract_shard
from l2g_jax.features.sift import sift

NUM_IMAGES = 11
NUM_PARTS = 4  # Of three images.
ROOT = pathlib.Path(__file__).parents[2]


def extract_rows(image, *, seconds):
  time.sleep(seconds)
  count = len(image)
  values = np.arange(count, dtype=np.float32)
  return LocalFeatures(
    descriptors=image.reshape(count, -1)[:, :4].astype(np.float32),
    locations=np.stack([values, values], axis=1),
    scales=values + 1,
    strengths=-values,
  )


def rows(*, seconds=0.0, name="rows"):
  """An extractor whose descriptors are the first values of every row of an image."""
  return LocalExtractor(name, 4, {}, functools.partial(extract_rows, seconds=seconds))


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
  """The bytes of every file of a store."""
  return {
    path.relative_to(directory).as_posix(): path.read_bytes()
    for path in directory.rglob("*")
    if path.is_file()
  }


def parts_made(directory):
  """Which parts were written by what runs now, by the identity of their folders."""
  return {path.name: path.stat().st_ino for path in directory.glob("part-*")}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
  monkeypatch.setattr(extraction, "_IMAGES_PER_PART", 3)


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
def test_only_a_damaged_part_is_made_again(tmp_path, extract, damage):
  extract()
  root = tmp_path / "store"
  before, made = contents(root), parts_made(root)
  part = root / "part-00002"
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
  extract()
  assert contents(root) == before
  changed = {name for name, inode in parts_made(root).items() if made[name] != inode}
  assert changed == {"part-00002"}


def test_a_changed_image_is_extracted_again(tmp_path, jobs, extract):
  first = extract()
  made = parts_made(tmp_path / "store")
  stat = jobs[4].path.stat()
  Image.fromarray(np.full((9, 50, 3), 7, np.uint8)).save(jobs[4].path)
  os.utime(jobs[4].path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # Only the size tells.
  second = extract()
  assert second.counts()[4] == 9
  assert second.key != first.key
  changed = {n for n, inode in parts_made(tmp_path / "store").items() if made[n] != inode}
  assert changed == {"part-00001"}
  os.utime(jobs[4].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
  assert extract().key != second.key


def test_what_an_extraction_depends_on_changes_its_key(jobs, extract):
  renamed = [ImageJob("other", jobs[0].path), *jobs[1:]]
  boxed = [ImageJob(jobs[0].name, jobs[0].path, (0.0, 0.0, 5.0, 5.0)), *jobs[1:]]
  variants = [
    {},
    {"extractor": rows(name="other")},
    {"extractor": LocalExtractor("rows", 4, {"seed": 1}, rows().extract)},
    {"crop_policy": "round"},
    {"apply_exif": False},
    {"precision": "float32"},
    {"jobs": renamed},
    {"jobs": boxed},
    {"jobs": jobs[:-1]},
    {"jobs": jobs[::-1]},
  ]
  keys = [extract(**variant).key for variant in variants]
  assert len(set(keys)) == len(variants)
  assert extract().key == keys[0]


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
  assert parts_made(tmp_path / "store").keys() == {"part-00001"}
  with pytest.raises(InputError, match="not a complete feature store"):
    open_store(tmp_path / "store")


def test_a_mended_image_completes_the_store(tmp_path, jobs, extract):
  content = jobs[1].path.read_bytes()
  jobs[1].path.write_bytes(content[:200])
  with pytest.raises(InputError, match=r"1 of 11 images can't be used: image 1: "):
    extract()
  made = parts_made(tmp_path / "store")
  jobs[1].path.write_bytes(content)
  assert extract().counts().min() == 40
  assert made.items() < parts_made(tmp_path / "store").items()


def test_bad_images_are_left_empty_where_that_is_asked_for(jobs, extract, capsys):
  damage_some(jobs)
  opened = extract(on_error="empty")
  expected = [0 if index in (1, 8, 9) else 40 + index for index in range(NUM_IMAGES)]
  np.testing.assert_array_equal(opened.counts(), expected)
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 3
  assert lines[0].startswith("Left without features. image 1: ")


def test_why_an_image_is_empty_is_kept(jobs, extract, capsys):
  damage_some(jobs)
  first = extract(on_error="empty").failures
  assert list(first) == ["image 1", "image 8", "image 9"]
  told = capsys.readouterr().out
  assert extract(on_error="empty").failures == first
  assert capsys.readouterr().out == told


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
from tests.features.test_extraction import ImageJob, NUM_IMAGES, rows

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
  extraction._IMAGES_PER_PART = 3
  jobs = [ImageJob(f"image {i}", root / "jpg" / f"{i}.png") for i in range(NUM_IMAGES)]
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


# A part takes eight syncs: five arrays, its manifest and two folders; the index two more.
@pytest.mark.parametrize("syncs", [0, 5, 7, 8, 14, 31, 32, 33])
def test_killed_at_any_write_it_goes_on_to_the_same_result(tmp_path, jobs, syncs):
  extract_local(jobs, rows(), tmp_path / "whole", num_workers=1, show_progress=False)
  assert finish(start(tmp_path, syncs=syncs)) == -signal.SIGKILL
  made = parts_made(tmp_path / "store")
  assert syncs // 8 <= len(made) <= syncs // 8 + 1
  opened = extract_local(jobs, rows(), tmp_path / "store", num_workers=1, show_progress=False)
  assert contents(tmp_path / "store") == contents(tmp_path / "whole")
  assert len(opened) == NUM_IMAGES
  assert made.items() <= parts_made(tmp_path / "store").items()


def test_an_uninterrupted_run_takes_as_many_syncs_as_assumed(tmp_path, jobs):
  assert finish(start(tmp_path, syncs=8 * NUM_PARTS + 2)) == 0
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


def test_workers_do_not_load_jax():
  program = "import sys, l2g_jax.features.extraction, l2g_jax.features.sift; print(*sys.modules)"
  modules = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
  ).stdout.split()
  assert "l2g_jax.data.store" in modules
  assert not {"jax", "numba"} & set(modules)

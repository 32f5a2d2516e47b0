import shutil

import numpy as np
import pytest

from l2g_jax.features.store import open_store
from tests.cli import toy


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
  return toy.write_dataset(tmp_path_factory.mktemp("data"))


def extract(data_root, tmp_path, *values):
  return toy.run(
    "extract", "--model=sift", f"--data_root={data_root}", "--output=out", *values, cwd=tmp_path
  )


def test_a_data_set_is_extracted_once(data_root, tmp_path):
  first = extract(data_root, tmp_path, "--dataset=toy", "--precision=int8")
  assert first.returncode == 0, first.stderr
  assert "out/database: 16 images" in first.stdout
  assert len(open_store(tmp_path / "out" / "queries")) == 4
  (part,) = (tmp_path / "out" / "database").glob("part-*")
  assert np.load(part / "descriptors.npy").dtype == np.int8
  made = part.stat().st_ino
  second = extract(data_root, tmp_path, "--dataset=toy", "--precision=int8")
  assert second.stdout == first.stdout
  assert part.stat().st_ino == made


def test_bad_images_are_named_at_the_end_every_time(data_root, tmp_path):
  folder = tmp_path / "images"
  shutil.copytree(data_root / "toy" / "jpg", folder)
  (folder / "broken.jpg").write_bytes(b"no image")
  (folder / "empty.png").touch()
  path = folder / "image-1-2.jpg"
  path.write_bytes(path.read_bytes()[:900])
  for _ in range(2):
    result = extract(data_root, tmp_path, f"--images={folder}")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("out/database: 22 images")
    assert lines[1] == "3 images were left without features:"
    for line, (name, reason) in zip(
      lines[2:],
      [
        ("broken", "is not an image that can be read"),
        ("empty", "is an empty file"),
        ("image-1-2", "is truncated or damaged"),
      ],
      strict=True,
    ):
      assert line.startswith(f"  {name}: ")
      assert reason in line
  counts = open_store(tmp_path / "out" / "database").counts()
  assert np.count_nonzero(counts == 0) == 3


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ([], "Either --images or --dataset must say what to extract from"),
    (["--images=nowhere"], "There is no folder nowhere"),
    (["--dataset=other"], "There is no data set other"),
    (["--model=fire", "--dataset=toy"], "fire needs weights"),
    (["--model=fire", "--weights=x", "--dataset=toy"], "There are no weights at x"),
    (["--dataset=toy", "--num_shards=2", "--shard_index=2"], "Shard 2 of 2 does not exist"),
    (["--dataset=toy", "--num_workers=0"], "--num_workers must be at least 1, not 0"),
    (["--dataset=toy", "--output="], "--output is missing"),
  ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(data_root, tmp_path, values, message):
  toy.check_refused(extract(data_root, tmp_path, *values), message)
  assert not [*tmp_path.rglob("part-*")]

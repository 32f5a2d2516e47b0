import io

import numpy as np
import pytest

from l2g_jax.cann import CannIndex
from l2g_jax.features import store
from l2g_jax.features.protocol import LocalFeatures
from tests.cann import oracle
from tests.cli import toy

IMAGES = oracle.collection(0)


@pytest.fixture
def features(tmp_path):
  folder = tmp_path / "features"
  store.save_part(
    folder,
    0,
    key="toy",
    names=list(IMAGES),
    features=[
      LocalFeatures(
        descriptors=values,
        locations=np.zeros((len(values), 2), np.float32),
        scales=np.ones(len(values), np.float32),
        strengths=np.ones(len(values), np.float32),
      )
      for values in IMAGES.values()
    ],
    dimension=16,
    precision="float32",
  )
  store.finish(folder, keys=["toy"])
  return folder


def index(tmp_path, *values, output="index"):
  return toy.run("index", f"--output={output}", *values, cwd=tmp_path)


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_shards_merge_to_what_one_process_builds(tmp_path, features):
  whole = index(tmp_path, f"--features={features}", "--whiten", output="whole")
  assert whole.stdout == "whole: 40 images, descriptors of 16\n", whole.stderr
  for shard, missing in ((1, 1), (0, 0)):
    flags = f"--features={features}", "--whiten", f"--shard_index={shard}", "--num_shards=2"
    made = index(tmp_path, *flags)
    assert made.returncode == 0, made.stderr
    assert f"shard {shard} of 2 is done, {40 * (1 - shard)} images; {missing} " in made.stdout
  merged = index(tmp_path, "--merge")
  assert merged.stdout == "index: 40 images, descriptors of 16\n", merged.stderr
  assert contents(tmp_path / "index") == contents(tmp_path / "whole")
  assert CannIndex.open(tmp_path / "index").whitening is not None


def test_lists_are_made_where_the_index_finds_them(tmp_path, features):
  index(tmp_path, f"--features={features}")
  listed = index(tmp_path, "--list_length=5")
  assert listed.stdout == "index: neighbour lists of 40 images; 0 parts are missing.\n"
  opened = CannIndex.open(tmp_path / "index")
  made = next(opened.directory.glob("neighbors-*/part-*/ids.npy")).read_bytes()
  assert opened.neighbor_lists(5, show_progress=False).ids.shape == (40, 5)
  # They are put together, and not made anew.
  (whole,) = opened.directory.glob("neighbors-*/whole/ids.npy")
  assert np.array_equal(np.load(whole), np.load(io.BytesIO(made)))


def test_flags_that_say_nothing_or_too_much_are_refused(tmp_path, features):
  for flags in ((), (f"--features={features}", "--merge")):
    toy.check_refused(index(tmp_path, *flags), "One of --features, --merge and --list_length")
  toy.check_refused(index(tmp_path, "--merge"), "There are no shards of an index in index")
  toy.check_refused(index(tmp_path, "--list_length=3"), "There is no index in index")

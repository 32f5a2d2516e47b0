import io

import numpy as np
import pytest

from l2g_jax.cann import CannIndex
from l2g_jax.cli.index import COMMAND
from l2g_jax.features import store
from l2g_jax.features.protocol import LocalFeatures
from tests.cann import oracle

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


@pytest.fixture
def index(tmp_path, monkeypatch, capsys):
  """Runs the command in a folder, and returns what it prints."""
  monkeypatch.chdir(tmp_path)

  def run(*values, output="index"):
    capsys.readouterr()
    COMMAND.run(arguments=[f"--output={output}", *values])
    return capsys.readouterr().out

  return run


def contents(root):
  return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_shards_merge_to_what_one_process_builds(tmp_path, features, index):
  whole = index(f"--features={features}", "--whiten", output="whole")
  assert whole == "whole: 40 images, descriptors of 16\n"
  for shard, missing in ((1, 1), (0, 0)):
    flags = f"--features={features}", "--whiten", f"--shard_index={shard}", "--num_shards=2"
    printed = index(*flags)
    assert f"shard {shard} of 2 is done, {40 * (1 - shard)} images; {missing} " in printed
  assert index("--merge") == "index: 40 images, descriptors of 16\n"
  assert contents(tmp_path / "index") == contents(tmp_path / "whole")
  assert CannIndex.open(tmp_path / "index").whitening is not None


def test_lists_are_made_where_the_index_finds_them(tmp_path, features, index):
  index(f"--features={features}")
  listed = index("--list_length=5")
  assert listed == "index: neighbour lists of 40 images; 0 parts are missing.\n"
  opened = CannIndex.open(tmp_path / "index")
  made = next(opened.directory.glob("neighbors-*/part-*/ids.npy")).read_bytes()
  assert opened.neighbor_lists(5, show_progress=False).ids.shape == (40, 5)
  # They are put together, and not made anew.
  (whole,) = opened.directory.glob("neighbors-*/whole/ids.npy")
  assert np.array_equal(np.load(whole), np.load(io.BytesIO(made)))


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "One of --features, --merge and --list_length"),
    (["--features=features", "--merge"], "One of --features, --merge and --list_length"),
    (["--merge"], "There are no shards of an index in index"),
    (["--list_length=3"], "There is no index in index"),
  ],
)
def test_flags_that_say_nothing_or_too_much_are_refused(index, flags, message):
  with pytest.raises(SystemExit, match=f"^Error: {message}"):
    index(*flags)

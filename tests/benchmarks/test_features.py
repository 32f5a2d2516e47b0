import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from benchmarks import common, features, synthetic
from benchmarks.common import Ceilings
from benchmarks.network_problems import (
  aliked_problem,
  fire_problem,
  lite0_problem,
  superglobal_problem,
)
from l2g_jax.data import load_dataset
from l2g_jax.errors import InputError
from l2g_jax.evaluation import evaluate
from l2g_jax.features import fire, superglobal
from l2g_jax.features.extraction import ImageJob
from l2g_jax.features.sift import sift
from l2g_jax.retriever import sources
from l2g_jax.similarity.kernels import Power
from tests.cli import toy

CEILINGS = Ceilings(flops=1e11, bytes=1e10)
SIZE = (96, 128)
IMAGE = features.synthetic_image(0, *SIZE)


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
  monkeypatch.setattr(superglobal, "BLOCKS", {50: (1, 1, 1, 1), 101: (1, 1, 2, 1)})
  monkeypatch.setattr(fire, "BLOCKS", (1, 1, 1))


def problems():
  local = fire_problem((1.0, 0.707))
  key_points = aliked_problem("t16", max_descriptors=50)
  return [
    superglobal_problem(101, 3),
    local,
    lite0_problem(),
    key_points,
  ]


@pytest.mark.parametrize("problem", [fire_problem((1.0,)), lite0_problem()])
def test_networks_are_timed_and_half_precision_has_a_price(monkeypatch, problem):
  monkeypatch.setattr(common, "has_torch", lambda: False)
  exact, half = features.network_rows(problem, IMAGE, 1, CEILINGS)
  assert (exact["network"], half["network"]) == ("float32, batch of 1", "bfloat16, batch of 1")
  assert exact["largest difference"] == 0.0
  assert half["largest difference"] > 0.0
  assert 0.99 < half["least cosine"] <= 1.0
  assert exact["gflop"] > 0.15
  for row in (exact, half):
    assert row["images a second"] == pytest.approx(1.0 / row["seconds"])
    assert "ratio" not in row


def test_operations_within_loops_are_not_counted(monkeypatch):
  monkeypatch.setattr(common, "has_torch", lambda: False)
  exact, half = features.network_rows(problems()[3], IMAGE, 1, CEILINGS)
  assert (exact["largest difference"], exact["in common"]) == (0.0, 1.0)
  assert half["in common"] > 0.5
  assert "gflop" not in exact


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_peer_computes_the_same(place, channels_last):
  pytest.importorskip("torch")
  problem = problems()[place]
  state = synthetic.synthetic_state(problem.architecture, 3)
  values = problem.prepare(IMAGE)
  theirs = problem.peer(state, channels_last)(values)
  ours = problem.by_name(
    problem.apply(features.make_params(state, problem), values[None], "float32")
  )
  assert ours.keys() == theirs.keys()
  row = features.compare_features(ours, theirs)
  assert row["largest difference"] < (1e-6, 1e-4, 1e-6, 1e-4)[place]


@pytest.mark.fast
def test_features_are_compared_by_name():
  theirs = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 2.0]), "c": np.array([9.0, 9.0])}
  ours = {"b": np.array([0.0, 2.5]), "a": np.array([3.0, 4.0]), "d": np.array([0.0, 0.0])}
  row = features.compare_features(ours, theirs)
  assert row == {"largest difference": 4.0, "least cosine": 0.6, "in common": 2 / 3}


def test_turns_are_taken():
  calls = []
  clocks = features.take_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
  assert calls == list("ababab")
  assert all(clock.seconds >= 0.0 for clock in clocks.values())


def test_a_command_is_measured_in_a_process_of_its_own(tmp_path):
  images = toy.write_dataset(tmp_path) / "toy" / "jpg"
  arguments = ["--model=sift", "--images", images, "--output", tmp_path / "out"]
  seconds, peak = features.run_command(arguments)
  assert (tmp_path / "out" / "database" / "store.json").is_file()
  assert seconds > 0.0
  # Python with JAX is more than a tenth of a gibibyte.
  assert 0.1 < peak < 2.0
  with pytest.raises(InputError, match="There are no weights at missing"):
    features.run_command(["--model=fire", "--weights=missing", *arguments[1:]])


def test_extraction_is_run_twice_on_new_images(monkeypatch):
  runs = []

  def run_command(arguments):
    folder = pathlib.Path(arguments[-1])
    runs.append([path.read_bytes() for path in sorted(folder.glob("*.jpg"))])
    return 2.0, 1.5

  monkeypatch.setattr(features, "run_command", run_command)
  first, second = features.extraction_rows(problems()[1], 24, 32, 2)
  assert first == {"run": "first", "images": 2, "seconds": 2.0, "peak gibibytes": 1.5}
  assert second == {**first, "run": "compiled before"}
  assert len({image for images in runs for image in images}) == 4


def test_precision_has_a_price_in_map(tmp_path):
  problem = superglobal_problem(50, 1)
  synthetic.write_weights(tmp_path / "sg", problem.model, problem.architecture, seed=0)
  values, _ = common.make_command("features", "", features.BENCHMARK).parse(
    [
      f"--data_root={toy.write_dataset(tmp_path)}",
      "--dataset=toy",
      "--local=sift",
      f"--work_dir={tmp_path / 'work'}",
      f"--global_features=superglobal:{tmp_path / 'sg'}",
      "--num_scales=1",
      "--max_side=64",
    ]
  )
  exact, half = features.precision_rows(values)
  assert (exact["features"], half["features"]) == ("superglobal, float32", "superglobal, bfloat16")
  assert exact["largest difference"] == 0.0 < half["largest difference"]
  assert exact.keys() == half.keys() > {"easy", "medium", "hard"}


def test_local_features_rank_by_exact_comparison(tmp_path):
  dataset = load_dataset(toy.write_dataset(tmp_path), "toy")
  truth = dataset.ground_truth
  database = [ImageJob(*job) for job in zip(truth.imlist, dataset.database_paths, strict=True)]
  queries = [ImageJob(*job) for job in zip(truth.qimlist, dataset.query_paths, strict=True)]
  jobs: Mapping[sources.Part, Sequence[ImageJob]] = {"database": database, "queries": queries}
  found, rankings = features.rank_exactly(
    sift(max_descriptors=50), jobs, tmp_path, crop_policy=None, kernel=Power(alpha=7.0)
  )
  assert {number for number, _, _ in found} == set(range(16))
  # A query is the nearest view of its texture.
  assert evaluate(rankings, truth)["medium"].mean_precision[1] == 1.0

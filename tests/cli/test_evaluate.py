import json
import shutil

import numpy as np
import pytest

from experiments import roxf
from l2g_jax.cli import evaluate
from l2g_jax.cli.evaluate import BuiltIn
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.pipeline.l2g import PAPER_WEIGHT
from tests.cli import toy


@pytest.fixture
def run(tmp_path):
  toy.write_dataset(tmp_path)

  def main(**values):
    values = {"data_root": tmp_path, "dataset": "toy", "local": "sift", **values}
    toy.call(roxf.COMMAND, **{"work_dir": tmp_path / "work", **values})

  return main


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"w": -0.1}, "--w must be between 0 and 1"),
    ({"w": float("nan")}, "--w must be between 0 and 1"),
    ({"k": 0}, "--k must be at least 1, not 0"),
    ({"M": 0}, "--M must be at least 1"),
    ({"p": 0.0}, "--p must be above 0"),
    ({"beta": -1.0}, "--beta must be at least 0"),
    ({"rtol": float("nan")}, "--rtol must be at least 0"),
    ({"K": -1}, "--K must be at least 0, not -1"),
    ({"dimensions": 0}, "--dimensions must be at least 1, not 0"),
    ({"num_known": 0}, "--num_known must be at least 1, not 0"),
    ({"max_iterations": -1}, "--max_iterations must be at least 0"),
    ({"certainty_ratio": 0.0}, "--certainty_ratio must be above 0"),
    ({"seed": -1}, "--seed must be from 0 to"),
    ({"max_descriptors": 0}, "--max_descriptors must be at least 1, not 0"),
    ({"kernel": "cosine"}, "Kernel 'cosine' is not one of"),
    ({"local": "surf"}, "--local must be sift, aliked, .* fire:WEIGHTS, a folder"),
    ({"local": "ames:nowhere"}, "--local must be sift, aliked, .* fire:WEIGHTS, a folder"),
    ({"local": "fire"}, "fire needs weights, a file that `l2g convert` makes"),
    ({"global_features": "superglobal:x"}, "There are no weights at x"),
    ({"max_side": 0}, "--max_side must be at least 1, not 0"),
    ({"global_features": "none.npz"}, r"no file none\.npz"),
  ],
)
def test_settings_that_can_not_be_used_are_refused(run, values, message):
  with pytest.raises(InputError, match=message):
    run(**values)


def test_a_missing_image_is_refused_by_name(run, tmp_path):
  (tmp_path / "toy" / "jpg" / "image-1-2.jpg").unlink()
  with pytest.raises(InputError, match="lacks 1 of 16 images: image-1-2"):
    run()


def test_a_truncated_image_is_refused_by_name(run, tmp_path):
  path = tmp_path / "toy" / "jpg" / "image-1-2.jpg"
  path.write_bytes(path.read_bytes()[:800])
  with pytest.raises(InputError, match=r"image-1-2\.jpg is truncated or damaged"):
    run()


def test_a_judgement_out_of_range_is_refused(run, tmp_path):
  path = tmp_path / "toy" / "gnd_toy.json"
  content = json.loads(path.read_text())
  content["gnd"][2]["hard"] = [16]
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r"query-2 .*holds 16, outside 0 \.\. 15"):
    run()


def _save_store(root, part, names, value=1.0, failures=None):
  rng = np.random.default_rng(len(names))
  features = []
  for _ in names:
    values = rng.standard_normal((20, 8)).astype(np.float32)
    blank = np.zeros(20, np.float32)
    features.append(LocalFeatures(values, np.zeros((20, 2), np.float32), blank, blank))
  features[-1].descriptors[3, 2] *= value
  store.save_part(
    root / part, 0, key="key", names=names, features=features, dimension=8, failures=failures
  )
  store.finish(root / part, keys=["key"])


def test_given_features_are_used_and_checked(run, tmp_path, capsys):
  images = [f"image-{i // 4}-{i % 4}" for i in range(16)]
  queries = [f"query-{i}" for i in range(4)]
  given = tmp_path / "given"
  _save_store(given, "queries", queries)
  _save_store(given, "database", images[::-1])
  np.savez(tmp_path / "given.npz", queries=np.eye(4, 6), database=np.eye(16, 6))
  settings = {"local": str(given), "global_features": str(tmp_path / "given.npz")}
  with pytest.raises(InputError, match="does not fit: it has not the same order"):
    run(**settings)
  _save_store(given, "database", images, value=np.nan)
  with pytest.raises(InputError, match=r"'image-3-3' in .*database are not finite"):
    run(**settings)
  _save_store(given, "database", images, failures={"image-1-2": "It was damaged."})
  run(**settings)
  told = capsys.readouterr().out
  assert "database have no features:\n  image-1-2: It was damaged.\n" in told
  # The paper's weight stands where the project knows no better.
  assert f"l2g (w={PAPER_WEIGHT})" in told
  np.savez(tmp_path / "given.npz", queries=np.eye(4, 6), database=np.eye(15, 6))
  with pytest.raises(InputError, match=r"database in .* must be \[16, D\], not \(15, 6\)"):
    run(**settings)


def test_the_built_in_benchmark_runs_only_where_nothing_was_asked_for(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  built_in = BuiltIn(
    "mini", lambda root: toy.write_dataset(root, "mini"), "It is synthetic.", "sift"
  )

  def opened(default, *arguments):
    values, _ = roxf.COMMAND.parse(arguments)
    evaluate.settle(values, default, built_in)
    return evaluate.open_dataset(values, built_in).name, values.local

  assert opened("toy") == ("mini", "sift")
  shutil.rmtree(tmp_path / "data")
  assert opened("toy", "--local=aliked") == ("mini", "aliked")
  toy.write_dataset(tmp_path / "data", "toy")
  assert opened("toy") == ("toy", None)
  with pytest.raises(InputError, match="no data set rparis6k"):
    opened("rparis6k", "--data_root=data")


def test_without_a_default_a_data_set_must_be_named(tmp_path):
  with pytest.raises(InputError, match="--dataset must name"):
    toy.call(evaluate.COMMAND, data_root=tmp_path)

import functools
import importlib
import json
from typing import Any

import numpy as np
import pytest
from flax import traverse_util

from experiments import roxf
from l2g_jax.data import load_dataset
from l2g_jax.data.images import crop_to_box, read_image
from l2g_jax.errors import InputError
from l2g_jax.features import fire, store, superglobal
from l2g_jax.features.extractors import superglobal_extractor
from l2g_jax.features.weights import save_weights
from l2g_jax.interop import cann
from l2g_jax.interop.checkpoints.architectures import fire_architecture, superglobal_architecture
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import L2G, PAPER_WEIGHT
from tests.cli import toy
from tests.features.synthetic import shallow, synthetic_params
from tests.interop.torch_writer import write_archive, write_pickle


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
  return toy.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(tmp_path, data_root):
  """Runs the main job and returns its report."""

  def main(**values):
    output = tmp_path / "report.json"
    values = {"data_root": data_root, "dataset": "toy", "local": "sift", **values}
    toy.call(roxf.COMMAND, work_dir=tmp_path / "work", **{"output": output, **values})
    return json.loads(output.read_text())

  return main


def rows(report):
  return {row["name"]: row for row in report["rows"]}


def save(path, model, architecture, seed):
  arrays: Any = traverse_util.flatten_dict(shallow(synthetic_params(architecture, seed)), sep="/")
  save_weights(path, arrays, {"model": model, **architecture.settings})
  return path


def test_the_path_of_the_paper(run, data_root, tmp_path, monkeypatch):
  monkeypatch.setattr(superglobal, "BLOCKS", {101: (1, 1, 1, 1)})
  monkeypatch.setattr(fire, "BLOCKS", (1, 1, 1))
  # Three scales have 600 features too; `tests.features.test_extractors` takes them all.
  few = functools.partial(fire.FireConfig, scales=(1.0, 0.707, 0.5))
  monkeypatch.setattr(fire, "FireConfig", few)
  local = save(tmp_path / "fire.safetensors", "fire", fire_architecture(), 1)
  deep = save(tmp_path / "sg.safetensors", "superglobal", superglobal_architecture(101), 2)
  settings = {
    "local": f"fire:{local}",
    "global_features": f"superglobal:{deep}",
    "max_side": 32,
    "num_scales": "1",
  }
  report = run(**settings)
  # The weight of the paper is the default for these features.
  assert rows(report)["l2g"]["w"] == PAPER_WEIGHT == 0.19
  assert list(rows(report)) == ["global", "global+rerank", "chamfer", "l2g"]
  config = report["config"]
  assert config["local_settings"]["max_descriptors"] == 600
  assert config["global_features_settings"]["depth"] == 101
  assert config["crop_policy"] == "round (fire), truncate (superglobal)"
  assert not config["whiten"]
  work = tmp_path / "work" / "toy"
  (made,) = work.glob("fire-*/database")
  opened = store.open_store(made)
  assert opened.names == load_dataset(data_root, "toy").ground_truth.imlist
  np.testing.assert_array_equal(opened.counts(), np.full(16, 600))
  (made,) = work.glob("superglobal-*/queries")
  query = read_image(data_root / "toy" / "jpg" / "query-1.jpg")
  # A crop is reduced as much as its photograph, here from 320 to 32.
  side = round(32 * 280 / 320)
  extractor = superglobal_extractor(deep, num_scales=1, max_side=side)
  expected = extractor.extract(crop_to_box(query, toy.BOX))
  np.testing.assert_allclose(store.open_store(made)[1].descriptors[0], expected, atol=1e-6)
  # Nothing is made again.
  times = {path: path.stat().st_mtime_ns for path in work.rglob("manifest.json")}
  run(**settings)
  assert {path: path.stat().st_mtime_ns for path in work.rglob("manifest.json")} == times


@pytest.fixture(scope="module")
def features(data_root):
  """Names, local sets and global vectors by part, which differ little within a texture."""
  truth = load_dataset(data_root, "toy").ground_truth
  made = {}
  for part, names in [("database", truth.imlist), ("queries", truth.qimlist)]:
    sets, vectors = [], []
    for place, name in enumerate(names):
      texture = np.random.default_rng(int(name.split("-")[1]))
      noise = np.random.default_rng([place, len(names)])
      table = texture.standard_normal((41, 128)) + 0.3 * noise.standard_normal((41, 128))
      sets.append(table[:40].astype(np.float32))
      vectors.append((table[40] / np.linalg.norm(table[40])).astype(np.float32))
    made[part] = (names, sets, np.stack(vectors))
  return made


def write_globals(path, features):
  np.savez(path, **{part: vectors for part, (_, _, vectors) in features.items()})
  return str(path)


def check_found(report):
  """These features find the right texture first."""
  for name in ("global", "chamfer", "l2g"):
    assert rows(report)[name]["medium"]["map"] == 100.0


def test_files_of_cann_and_arrays_give_the_same(run, tmp_path, features):
  for part, (names, sets, _) in features.items():
    (tmp_path / part).mkdir()
    for name, values in zip(names, sets, strict=True):
      cann.write_descriptors(tmp_path / f"{name}.jpg.desc", values)
      np.save(tmp_path / part / f"{name}.npy", values)
    cann.write_list(tmp_path / f"{part}.txt", [f"{name}.jpg.desc" for name in names])
  vectors = write_globals(tmp_path / "x.npz", features)
  by_list = run(local=f"cann:{tmp_path}", global_features=vectors)
  by_folder = run(local=f"npy:{tmp_path}", global_features=vectors)
  check_found(by_list)
  assert by_list["rows"] == by_folder["rows"]
  assert by_list["config"]["local"] == f"cann:{tmp_path}"
  with pytest.raises(InputError, match="its descriptors have not 100 dimensions"):
    run(local=f"cann:{tmp_path}", global_features=vectors, descriptor_dimension=100)


def test_files_of_ames(run, tmp_path, features):
  pytest.importorskip("h5py")
  h5py = importlib.import_module("h5py")
  for part, place in [("gallery", "database"), ("query", "queries")]:
    _, sets, _ = features[place]
    table = np.zeros((len(sets), 50, 133), np.float32)
    table[:, :, 3] = 1
    for row, values in zip(table, sets, strict=True):
      row[: len(values), 3] = 0
      row[: len(values), 5:] = values
    with h5py.File(tmp_path / f"dinov2_{part}_local.hdf5", "w") as file:
      file["features"] = table
  vectors = write_globals(tmp_path / "x.npz", features)
  report = run(local=f"ames:{tmp_path}", global_features=vectors, max_descriptors=30)
  check_found(report)
  (made,) = (tmp_path / "work" / "toy").glob("ames-*/database")
  np.testing.assert_array_equal(store.open_store(made).counts(), np.full(16, 30))


def test_given_candidates_stand_for_the_search(run, tmp_path, features):
  images, _, database = features["database"]
  queries, _, wanted = features["queries"]
  similarities = wanted @ database.T
  ids = np.argsort(-similarities, axis=1, kind="stable")
  ordered = np.take_along_axis(similarities, ids, axis=1)
  tensor = np.stack([ordered, ids]).astype(np.float32)
  vectors = write_globals(tmp_path / "x.npz", features)
  path = write_pickle(tmp_path / "nn.pkl", tensor)
  by_ames = rows(run(global_features=vectors, candidates=str(path), k=9))
  lines = [
    f"{query}.desc, {images[image]}.desc, {similarities[row, image]!s}\n"
    for row, query in enumerate(queries)
    for image in ids[row]
  ]
  (tmp_path / "pairs.txt").write_text("".join(lines))
  by_cann = rows(run(global_features=vectors, candidates=str(tmp_path / "pairs.txt"), k=9))
  assert list(by_ames) == ["global", "global+rerank", "candidates", "l2g"]
  assert by_ames == by_cann
  # These candidates are those of the global features.
  assert by_ames["candidates"]["easy"] == by_ames["global"]["easy"]
  assert by_ames["l2g"]["medium"]["map"] == 100.0


def test_more_candidates_are_re_ranked_than_embedded(run, tmp_path, features, monkeypatch):
  handed, num_reranked, lengths = [], 9, (12, 6)
  rank = L2G.rank

  def ranked(self, collection, candidates, *arguments, **settings):
    handed.append((self.config, candidates.ids.shape))
    return rank(self, collection, candidates, *arguments, **settings)

  monkeypatch.setattr(L2G, "rank", ranked)
  _, _, database = features["database"]
  _, _, wanted = features["queries"]
  similarities = wanted @ database.T
  ids = np.argsort(-similarities, axis=1, kind="stable")
  tensor = np.stack([np.take_along_axis(similarities, ids, axis=1), ids]).astype(np.float32)
  vectors = write_globals(tmp_path / "x.npz", features)
  settings = {"global_features": vectors, "k": 3, "M": num_reranked, "w": 0.19}
  paths = [
    write_pickle(tmp_path / f"{length}.pkl", tensor[:, :, :length].copy()) for length in lengths
  ]
  reports = [run(candidates=str(path), **settings) for path in paths]
  for report in (*reports, run(**settings)):
    assert report["config"]["k"] == report["config"]["method"]["num_embedded"] == 3
    assert report["config"]["method"]["num_reranked"] == num_reranked
    assert rows(report)["l2g"]["medium"]["map"] == 100.0
  config = L2GConfig(num_embedded=3, num_reranked=num_reranked)
  assert handed == [(config, (4, size)) for size in (9, 6, 9)]


def test_global_features_in_a_folder(run, tmp_path, features):
  for part, (_, _, vectors) in features.items():
    write_archive(tmp_path / f"{part}.pth", vectors)
  report = run(global_features=str(tmp_path))
  assert rows(report)["global"]["medium"]["map"] == 100.0

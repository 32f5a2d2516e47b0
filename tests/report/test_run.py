import json

import numpy as np
import pytest
from PIL import Image

from experiments import roxf
from l2g_jax import Retriever, load_dataset
from l2g_jax.features.sift import sift
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.runtime import files
from tests.cli import toy
from tests.report.samples import EVIL


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  """The page of the main job on a data set with an odd name."""
  pytest.importorskip("matplotlib")
  root = toy.write_dataset(tmp_path_factory.mktemp("data"))
  jpg, truth = root / "toy" / "jpg", root / "toy" / "gnd_toy.json"
  (jpg / "image-1-2.jpg").rename(jpg / f"{EVIL}.jpg")
  truth.write_text(truth.read_text().replace('"image-1-2"', json.dumps(EVIL)))
  folder = root / "report"
  values = {"data_root": root, "dataset": "toy", "local": "sift", "work_dir": root / "work"}
  toy.call(roxf.COMMAND, report=folder, output=root / "figures.json", **values)
  return folder


def test_the_main_job_writes_its_page(report):
  page = (report / "index.html").read_text(encoding="utf-8")
  for text in ("At a glance", "converged", "4 of 4", "Where L2G loses", "\\u003cimg src=x"):
    assert text in page
  assert "<img" not in page
  figures = json.loads((report.parent / "figures.json").read_text())
  data = files.read_manifest(report / "report.json")["data"]
  assert data["rows"] == figures["rows"]
  assert [query["name"] for query in data["queries"]] == [f"query-{number}" for number in range(4)]
  own = data["queries"][1]
  # The fourth picture of a texture is junk, and has a rank too.
  assert set(own["ranks_of_positives"]["l2g"]) < {1, 2, 3, 4}
  assert own["average_precision"]["hard"]["l2g"] == 100.0
  assert own["average_precision"].keys() == {"easy", "medium", "hard"}
  assert own["num_reached"] == 3


def test_a_report_is_light(report):
  size = sum(path.stat().st_size for path in report.rglob("*"))
  # Twenty pictures and the page.
  assert size < 20 * 20_000 + 300_000


def test_a_report_tells_its_inputs(report):
  made = files.read_manifest(report / "report.json")["fingerprint"]
  assert {"images", "query_images", "ground_truth", "local_features", "version"} <= made.keys()
  assert made["settings"]["k"] == 700
  assert made["all"] in (report / "index.html").read_text(encoding="utf-8")


def test_a_fingerprint_tells_what_changed(report):
  root = report.parent

  def make():
    dataset = load_dataset(root, "toy")
    retriever = Retriever.open_or_build(dataset, root / "work", features=sift())
    return fingerprint(dataset, retriever, settings={})

  first = files.read_manifest(report / "report.json")["fingerprint"]
  before = make()
  assert {key for key in first if first[key] != before[key]} == {"all", "settings"}
  # The same picture, encoded anew.
  path = root / "toy" / "jpg" / "image-1-3.jpg"
  Image.fromarray(np.asarray(Image.open(path))).save(path, quality=60)
  after = make()
  changed = {key for key in before if before[key] != after[key]}
  made = {"images", "local_features", "global_features", "neighbour_lists"}
  assert changed == {"all", *made, "query_global_features"}

import json

import numpy as np
import pytest
from PIL import Image

from experiments import roxf
from l2g_jax import Retriever, load_dataset
from l2g_jax.features import store
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.retriever.options import Features
from l2g_jax.retriever.sources import LocalFiles
from l2g_jax.runtime import files
from tests.cli import toy
from tests.report.samples import EVIL

IMAGES = [EVIL if n == 6 else f"image-{n // 4}-{n % 4}" for n in range(16)]


def save_features(root, *, seed=0):
  """Gives every picture the same key points as the others of its texture, and noise on them."""
  rng = np.random.default_rng(seed)
  textures = rng.standard_normal((4, 30, 8)).astype(np.float32)
  places = rng.uniform(0, 200, (4, 30, 2)).astype(np.float32)
  blank = np.zeros(30, np.float32)
  for part, names in (("queries", [f"query-{n}" for n in range(4)]), ("database", IMAGES)):
    features = []
    for number in range(len(names)):
      texture = number * 4 // len(names)
      noise = 0.2 * rng.standard_normal((30, 8)).astype(np.float32)
      features.append(LocalFeatures(textures[texture] + noise, places[texture], blank, blank))
    key = f"{part}-{seed}"
    store.save_part(root / part, 0, key=key, names=names, features=features, dimension=8)
    store.finish(root / part, keys=[key])


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  """The page of the main job on a data set with an odd name."""
  pytest.importorskip("matplotlib")
  root = toy.write_dataset(tmp_path_factory.mktemp("data"))
  jpg, truth = root / "toy" / "jpg", root / "toy" / "gnd_toy.json"
  (jpg / "image-1-2.jpg").rename(jpg / f"{EVIL}.jpg")
  truth.write_text(truth.read_text().replace('"image-1-2"', json.dumps(EVIL)))
  save_features(root / "given")
  values = {"data_root": root, "dataset": "toy", "local": root / "given"}
  values |= {"work_dir": root / "work", "output": root / "figures.json"}
  toy.call(roxf.COMMAND, report=root / "report", **values)
  return root / "report"


def test_the_main_job_writes_its_page(report):
  page = (report / "index.html").read_text(encoding="utf-8")
  for text in ("At a glance", "converged", "4 of 4", "Where L2G loses", "\\u003cimg src=x"):
    assert text in page
  assert "<img" not in page
  for text in (
    "L2G against chamfer: ",
    "embedding (w = 1)",
    "Why, medium",
    "Why, hard",
    "What falls in the embedding",
    "embedded positives",
    "What the scores mean",
    "SMACOF</dt>",
  ):
    assert text in page
  figures = json.loads((report.parent / "figures.json").read_text())
  data = files.read_manifest(report / "report.json")["data"]
  assert data["rows"] == figures["rows"]
  assert [query["name"] for query in data["queries"]] == [f"query-{number}" for number in range(4)]
  own = data["queries"][1]
  # The fourth picture of a texture is junk, and has a rank too.
  assert set(own["ranks_of_positives"]["chamfer"]) < {1, 2, 3, 4}
  assert own["average_precision"]["hard"]["chamfer"] == 100.0
  assert own["average_precision"].keys() == {"easy", "medium", "hard"}
  assert own["num_reached"] == 3
  assert [len(query["embedded_positives"]) for query in data["queries"]] == [3] * 4


def test_first_results_have_their_matches(report):
  page = (report / "index.html").read_text(encoding="utf-8")
  query = page.partition('id="browser-0-1">')[2].partition("</script>")[0]
  counts = [count for count, _ in json.loads(query)["matches"].values()]
  assert sorted(counts)[-4:] >= [20] * 4


def test_a_report_is_light(report):
  size = sum(path.stat().st_size for path in report.rglob("*"))
  # Twenty pictures and the page.
  assert size < 20 * 20_000 + 300_000


def test_a_report_tells_its_inputs(report):
  made = files.read_manifest(report / "report.json")["fingerprint"]
  assert {"images", "query_images", "ground_truth", "local_features", "version"} <= made.keys()
  assert made["settings"]["k"] == 700
  # The weight that these features have where none is given.
  assert made["settings"]["w"] == 0.9
  assert made["all"] in (report / "index.html").read_text(encoding="utf-8")


def test_a_fingerprint_tells_what_changed(report):
  root = report.parent

  def make():
    dataset = load_dataset(root, "toy")
    features = Features(local=LocalFiles("stores", root / "given"))
    retriever = Retriever.open_or_build(dataset, root / "work", features=features)
    return fingerprint(dataset, retriever, settings={})

  def changed(before, after):
    return {key for key in before if before[key] != after[key]}

  first = files.read_manifest(report / "report.json")["fingerprint"]
  second = make()
  assert changed(first, second) == {"settings"}
  # The same picture, encoded anew.
  path = root / "toy" / "jpg" / "image-1-3.jpg"
  Image.fromarray(np.asarray(Image.open(path))).save(path, quality=60)
  third = make()
  assert changed(second, third) == {"all", "images"}
  save_features(root / "given", seed=1)
  features = {f"{query}{kind}_features" for query in ("", "query_") for kind in ("local", "global")}
  assert changed(third, make()) == {"all", "neighbour_lists", *features}

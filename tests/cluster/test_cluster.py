"""Two nodes of Ray on this machine: the bytes and the rankings of one process, whatever dies."""

import os
import pathlib

import numpy as np
import pytest

pytest.importorskip("ray")

from l2g_jax import cluster
from l2g_jax.cann import CannConfig, CannIndex, builder
from l2g_jax.cluster import tasks
from l2g_jax.errors import InputError, SettingError
from l2g_jax.features import store
from l2g_jax.features.extraction import extract_local
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.features.sift import sift
from l2g_jax.features.whitened import WhitenedImages
from l2g_jax.features.whitening import fit_whitening
from l2g_jax.retriever.following import WHITENING_SAMPLE
from tests.cann import oracle
from tests.cluster import work

# One more than a piece of an index holds.
NUM_IMAGES = builder.IMAGES_PER_PIECE + 1
CONFIG = CannConfig(num_lists=10)


@pytest.fixture(scope="module")
def nodes():
  # One node has room for what two did.
  with cluster.local_nodes(2, cpus=2) as started:
    yield started


@pytest.fixture(scope="module")
def features(tmp_path_factory):
  """A store of two pieces of small images."""
  folder = tmp_path_factory.mktemp("cluster") / "features"
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((60, 8))
  images = []
  for _ in range(NUM_IMAGES):
    values = centres[rng.integers(0, 60, 3)] + 0.3 * rng.standard_normal((3, 8))
    ones = np.ones(3, np.float32)
    images.append(LocalFeatures(values.astype(np.float32), np.ones((3, 2), np.float32), ones, ones))
  names = [f"{number:04d}" for number in range(NUM_IMAGES)]
  store.save_part(folder, 0, key="toy", names=names, features=images, dimension=8)
  store.finish(folder, keys=["toy"])
  return folder


@pytest.fixture(scope="module")
def index(nodes, features, tmp_path_factory):
  """The index that the nodes build."""
  root = tmp_path_factory.mktemp("nodes") / "index"
  return cluster.build_index(features, root, CONFIG, whiten=True)


def contents(root):
  return {
    path.relative_to(root): path.read_bytes()
    for path in root.rglob("*")
    if path.is_file() and path.name not in ("lock", "checksums.json")
  }


def test_extraction_leaves_the_bytes_of_one_process(nodes, tmp_path):
  jobs = work.photographs(tmp_path / "images", 70)
  extractor = sift(max_descriptors=20)
  cluster.extract(jobs, extractor, tmp_path / "nodes")
  extract_local(jobs, extractor, tmp_path / "alone", on_error="empty", num_workers=1)
  made = contents(tmp_path / "nodes")
  assert made == contents(tmp_path / "alone")
  assert len({path.parts[0] for path in made if path.parts[0].startswith("part-")}) == 2
  assert [*store.open_store(tmp_path / "nodes").failures] == ["broken"]


def test_an_index_has_the_bytes_of_one_process(index, features, tmp_path):
  described = store.open_store(features)
  whitening = fit_whitening(described.sample_descriptors(WHITENING_SAMPLE, seed=0))
  images = iter(WhitenedImages(described, whitening))
  alone = CannIndex.build(tmp_path / "index", images, CONFIG, whitening=whitening.to_note())
  assert contents(index.directory) == contents(alone.directory)
  assert cluster.build_index(features, index.directory).state == index.state


def test_lists_have_the_bytes_of_one_process(nodes, tmp_path):
  images = [*oracle.collection(0, num_images=150).items()]
  roots = [tmp_path / name for name in ("nodes", "alone")]
  indexes = [CannIndex.build(root, images, CONFIG) for root in roots]
  listed = cluster.make_lists(roots[0], 4, rescoring_depth=5)
  assert listed.ids.shape == (150, 4)
  indexes[1].neighbor_lists(4, rescoring_depth=5, show_progress=False)
  assert contents(roots[0]) == contents(roots[1])


def test_tasks_of_a_process_that_dies_are_done_again(nodes, tmp_path):
  # The third kills its process the first time; others are done once.
  assert sorted(tasks.run(work.die_once, range(5), tmp_path, cluster.Needs())) == [0, 1, 2, 3, 4]
  begun = sorted(path.name for path in tmp_path.iterdir())
  assert [name for name in begun if name.startswith("2-")] != ["2-0"]
  assert len([name for name in begun if name.startswith("2-")]) == 2


def test_errors_say_what_went_wrong(nodes, index):
  with pytest.raises(InputError, match=r"^task 3 can't be done$"):
    list(tasks.run(work.refuse, range(5), 3, cluster.Needs()))
  with pytest.raises(InputError, match="died as often as it may be begun"):
    list(tasks.run(work.die, [0], None, cluster.Needs(attempts=1)))
  with pytest.raises(InputError, match=r"have room for 0 of 1 that need 99 cores and 0 GPUs each"):
    list(tasks.run(work.die, [0], None, cluster.Needs(cpus=99)))
  with pytest.raises(InputError, match="have room for 4 of 5"):
    cluster.ClusterSearcher(index.directory, 5)
  with pytest.raises(SettingError, match="cpus"):
    cluster.Needs(cpus=0)


def test_a_process_uses_the_cores_of_its_task(nodes):
  assert set(tasks.run(work.count_cores, range(2), None, cluster.Needs())) == {1}
  assert os.environ.get("L2G_JAX_CORES") is None
  assert pathlib.Path(os.environ["RAY_TMPDIR"]).is_dir()


def test_searches_rank_as_one_process_though_a_node_dies_with_its_actor(nodes, index, monkeypatch):
  queries = [index.codes(image) for image in range(0, 1900, 100)]
  options = {"num_probes": 3, "rescoring_depth": 30}
  whole = index.search_codes(queries, 40, **options)
  with cluster.ClusterSearcher(index.directory, 2) as searcher:
    for meanwhile in (lambda: None, nodes.kill):
      meanwhile()
      found = searcher.search_codes(queries, 40, **options)
      np.testing.assert_array_equal(found.ids, whole.ids)
      np.testing.assert_array_equal(found.similarities, whole.similarities)
    # As in a large collection, images are screened before.
    monkeypatch.setattr(CannConfig, "screened", lambda *_: 700)
    found = searcher.search_codes(queries, 40, num_probes=3)
    screened = index.search_codes(queries, 40, num_probes=3)
    np.testing.assert_array_equal(found.ids, screened.ids)
    np.testing.assert_array_equal(found.similarities, screened.similarities)
    assert not np.array_equal(screened.similarities, whole.similarities)
    empty = searcher.search_many([np.zeros((0, 8), np.float32)], 3)
    assert empty.ids.tolist() == [[-1, -1, -1]]

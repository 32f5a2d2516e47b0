"""Extraction, index, neighbour lists and searches over the nodes of a Ray cluster.

  python -m experiments.cluster --model=sift --images=FOLDER --output=OUTPUT --address=auto
  python -m experiments.cluster --features=STORE --output=OUTPUT --list_length=700 --searches=100

Without --address nodes are started on this machine: `--nodes=1,2` does the work with one node and
again with two, and prints the speed-up; --kill_every=20 kills a node every 20 seconds and starts
another; --compare does the same work in one process, and compares the bytes of all files and the
rankings. The extra `ray` is needed.

OUTPUT/features has the stores, OUTPUT/index the index with its lists, OUTPUT/rankings the ids and
similarities of searches with the first images; with local nodes they lie in OUTPUT/nodes-N, and
those of one process in OUTPUT/alone. The same command goes on where it was interrupted.
"""

import contextlib
import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from l2g_jax.cann import CannIndex, exists
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.extract import SOURCE, list_jobs, make_extractor, read_precision
from l2g_jax.cli.extractor_flags import EXTRACTORS
from l2g_jax.cli.index import SETTINGS, read_config
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.extraction import extract_local
from l2g_jax.features.whitened import WhitenedImages
from l2g_jax.features.whitening import fit_whitening
from l2g_jax.ranked import Ranked
from l2g_jax.retriever.following import WHITENING_SAMPLE
from l2g_jax.runtime import checksums, files
from l2g_jax.runtime.stopwatch import Stopwatch

_KIND = "l2g_jax.experiments.cluster"
_VERSION = 1
# What a folder holds besides results: when files were read, and who writes.
_PASSING = (checksums.NAME, files.LOCK)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "address", None, "HOST:PORT of a cluster, or auto; omitted: local nodes.", flag_values=values
  )
  flags.DEFINE_list(
    "nodes", ["2"], "Numbers of local nodes, one after another.", flag_values=values
  )
  flags.DEFINE_integer("cpus_per_node", 1, "Cores of a local node.", 1, flag_values=values)
  flags.DEFINE_float(
    "kill_every", None, "Seconds after which a local node is killed.", 1.0, flag_values=values
  )
  flags.DEFINE_integer("cpus", 1, "Cores of a task or a searcher.", flag_values=values)
  flags.DEFINE_float("gpus", 0.0, "GPUs of a task of the extraction.", flag_values=values)
  flags.DEFINE_integer(
    "attempts", 20, "How often a task is begun, as its node may die.", flag_values=values
  )


def _define_work(values: flags.FlagValues) -> None:
  flags.DEFINE_string("output", None, "Folder for all that is made.", flag_values=values)
  flags.DEFINE_string(
    "features", None, "Feature store, in place of an extraction.", flag_values=values
  )
  flags.DEFINE_integer(
    "list_length", None, "Neighbours to list of every image; omitted: none.", 1, flag_values=values
  )
  flags.DEFINE_integer(
    "searches", 0, "How many of the first images are searched for.", 0, flag_values=values
  )
  flags.DEFINE_integer("k", 100, "Images that a search finds.", 1, flag_values=values)
  flags.DEFINE_integer(
    "shares",
    None,
    "Into which searches cut the images; omitted: one a node.",
    1,
    flag_values=values,
  )
  flags.DEFINE_bool("compare", False, "Do the same in one process, compare.", flag_values=values)


def main(values: Values) -> None:
  """Does the work, and prints seconds, speed-ups and differences."""
  if importlib.util.find_spec("ray") is None:
    raise InputError('A cluster needs Ray: pip install "l2g_jax[ray]".')
  if values.features is None and values.model is None:
    raise InputError("Either --features or --model, with --images or --dataset, must be given.")
  from l2g_jax import cluster

  with settings_as_flags():
    needs = cluster.Needs(values.cpus, values.gpus, values.attempts)
  root = pathlib.Path(values.output)
  seconds: dict[str, Mapping[str, float]] = {}
  if values.address is not None:
    with cluster.connected(values.address):
      seconds["cluster"] = _over_nodes(values, root, needs)
    done = {"cluster": root}
  else:
    done = {f"nodes-{count}": root / f"nodes-{count}" for count in _numbers(values.nodes)}
    for count, (name, folder) in zip(_numbers(values.nodes), done.items(), strict=True):
      with cluster.local_nodes(
        count, cpus=values.cpus_per_node, kill_every=values.kill_every
      ) as nodes:
        seconds[name] = _over_nodes(values, folder, needs)
      if nodes.num_killed:
        print(f"{name}: {nodes.num_killed} nodes were killed meanwhile.")
  if values.compare:
    seconds["alone"] = _alone(values, root / "alone")
  files.write_json(root / "cluster.json", {"seconds": seconds})
  _print_seconds(seconds)
  if values.compare:
    for name, folder in done.items():
      _compare(name, folder, root / "alone")


def _over_nodes(values: Values, root: pathlib.Path, needs: Any) -> Mapping[str, float]:
  """Does all stages over the nodes; returns their seconds."""
  import ray

  from l2g_jax import cluster

  def extract(jobs, extractor, directory, **options) -> None:
    cluster.extract(jobs, extractor, directory, needs=needs, **options)

  def build(features: pathlib.Path, directory: pathlib.Path) -> None:
    config = read_config(values)
    cluster.build_index(
      features, directory, config, whiten=values.whiten, seed=values.seed, needs=needs
    )

  def make_lists(directory: pathlib.Path) -> None:
    depth = values.list_depth
    cluster.make_lists(directory, values.list_length, rescoring_depth=depth, needs=needs)

  @contextlib.contextmanager
  def search(directory: pathlib.Path):
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    with cluster.ClusterSearcher(directory, values.shares or len(nodes), needs) as searcher:
      # Actors start, and read their shares, before the clock runs.
      searcher.search_codes([searcher.index.codes(0)], 1)
      yield searcher.search_codes

  return _do_stages(values, root, extract, build, make_lists, search)


def _alone(values: Values, root: pathlib.Path) -> Mapping[str, float]:
  """Does all stages in this process; returns their seconds."""

  def extract(jobs, extractor, directory, **options) -> None:
    extract_local(jobs, extractor, directory, **options)

  def build(features: pathlib.Path, directory: pathlib.Path) -> None:
    described, whitening = store.open_store(features), None
    if values.whiten:
      sample = described.sample_descriptors(WHITENING_SAMPLE, seed=values.seed)
      whitening = fit_whitening(sample)
    note = None if whitening is None else whitening.to_note()
    images = WhitenedImages(described, whitening)
    CannIndex.build(directory, iter(images), read_config(values), whitening=note)

  def make_lists(directory: pathlib.Path) -> None:
    index = CannIndex.open(directory)
    index.neighbor_lists(values.list_length, rescoring_depth=values.list_depth)

  @contextlib.contextmanager
  def search(directory: pathlib.Path):
    yield CannIndex.open(directory).search_codes

  return _do_stages(values, root, extract, build, make_lists, search)


def _do_stages(
  values: Values,
  root: pathlib.Path,
  extract: Callable[..., None],
  build: Callable[[pathlib.Path, pathlib.Path], None],
  make_lists: Callable[[pathlib.Path], None],
  search: Callable[[pathlib.Path], contextlib.AbstractContextManager[Callable[..., Ranked]]],
) -> Mapping[str, float]:
  """Does what the flags ask for, by one way or the other; returns the seconds of each stage."""
  watch = Stopwatch()
  if values.features is None:
    extractor = make_extractor(values)
    for part, jobs in list_jobs(values).items():
      with watch.measure("extraction"):
        extract(
          jobs,
          extractor,
          root / "features" / part,
          crop_policy=values.crop_policy,
          precision=read_precision(values),
          on_error="empty",
        )
  features = pathlib.Path(values.features or root / "features" / "database")
  directory = root / "index"
  if not exists(directory):
    with watch.measure("index"):
      build(features, directory)
  if values.list_length is not None:
    with watch.measure("lists"):
      make_lists(directory)
  if values.searches:
    index = CannIndex.open(directory)
    queries = [index.codes(image) for image in range(min(values.searches, len(index.names)))]
    with search(directory) as find, watch.measure("searches"):
      found = find(queries, values.k)
    arrays = {"ids": found.ids, "similarities": found.similarities}
    files.save_bundle(
      root / "rankings", kind=_KIND, version=_VERSION, arrays=arrays, metadata={"k": values.k}
    )
  return watch.seconds


def _print_seconds(seconds: Mapping[str, Mapping[str, float]]) -> None:
  """Prints seconds by stage, and how many times as fast each run was as the first."""
  first = next(iter(seconds.values()))
  for name, stages in seconds.items():
    told = [
      f"{stage} {spent:.1f} s" + (f" ({first[stage] / spent:.2f}x)" if stage in first else "")
      for stage, spent in stages.items()
    ]
    print(f"{name}: {', '.join(told)}")


def _compare(name: str, folder: pathlib.Path, alone: pathlib.Path) -> None:
  """Prints whether two folders hold the same; InputError names the first file that differs."""
  ours, theirs = _contents(folder), _contents(alone)
  for path in sorted(ours.keys() | theirs.keys()):
    if ours.get(path) != theirs.get(path):
      raise InputError(f"{folder / path} is not what one process leaves in {alone}.")
  print(f"{name}: {len(ours)} files have the bytes that one process leaves.")


def _contents(root: pathlib.Path) -> dict[str, str | None]:
  """Returns checksums of all results in a folder, by path."""
  paths = [
    path
    for part in ("features", "index", "rankings")
    for path in (root / part).rglob("*")
    if path.is_file() and path.name not in _PASSING
  ]
  return {str(path.relative_to(root)): checksums.checksum_file(path) for path in paths}


def _numbers(texts: list[str]) -> list[int]:
  """Returns the numbers of --nodes."""
  if not texts or not all(text.strip().isdecimal() and int(text) for text in texts):
    raise InputError(f"--nodes must be whole numbers from 1 on, not {','.join(texts)}.")
  return [*dict.fromkeys(map(int, texts))]


COMMAND = Command(
  "cluster",
  __doc__,
  [Group("Nodes", _define), Group("Stages", _define_work), SOURCE, EXTRACTORS, SETTINGS],
  main,
  required=("output",),
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.cluster")

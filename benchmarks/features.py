"""SuperGlobal, FIRe, ALIKED and Lite0, beside the same networks in PyTorch on the same image.

  python -m benchmarks.features [--output=features.json]
  python -m benchmarks.features --from_dataset --data_root=... --dataset=... \
    --local=fire:WEIGHTS --global_features=superglobal:WEIGHTS

It takes turns with the peer on an image of 1024 x 768 with random weights, and reports: seconds;
seconds of compilation, which the former exclude; processor seconds, which other programs disturb
less; and the change of the features by bfloat16. Then it runs `experiments.extract` in a process of
its own, with and without compiled code in its cache, and reports time and memory. With
--from_dataset it also reports the change of a data set's mAP by bfloat16, with the flags of
`experiments.roxf`. Where other programs use the cores, OMP_WAIT_POLICY=passive keeps PyTorch's
threads from burning time while they wait for each other.
"""

import dataclasses
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import cv2
import jax
import numpy as np
from flax import traverse_util

from benchmarks import common, synthetic
from benchmarks.common import Ceilings, Row
from benchmarks.network_problems import (
  Found,
  Problem,
  aliked_problem,
  fire_problem,
  lite0_problem,
  superglobal_problem,
)
from experiments.built_in import MINI
from l2g_jax import evaluation
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Values
from l2g_jax.cli.feature_flags import read_features
from l2g_jax.cli.work_flags import work_folder
from l2g_jax.data.images import CropPolicy
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.features.extractors import Dtype
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.features.store import FeatureStore
from l2g_jax.interop.checkpoints.layers import convert_tensors
from l2g_jax.ranked import complete_rankings
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.retriever import sources
from l2g_jax.similarity import chamfer_scan, kernels

_ROOT = pathlib.Path(__file__).parents[1]
_DTYPES: tuple[Dtype, ...] = get_args(Dtype)
_ACCELERATOR_BATCH = 8
# A new process counts the resident memory of the process that starts it as its own. A small one
# between them keeps this program's memory out of the figure.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
if status:
  sys.exit(status)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def synthetic_image(seed: int, height: int, width: int) -> np.ndarray:
  """Returns an image `[height, width, 3]` uint8 of blurred noise."""
  noise = np.random.default_rng(seed).standard_normal((height, width, 3), dtype=np.float32)
  return np.clip(127 + 500 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Clock:
  """The times of a call.

  Attributes:
    first: seconds of the first call.
    seconds: median of the later calls.
    processor: median processor seconds of the later calls, over all threads.
  """

  first: float
  seconds: float
  processor: float


def take_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Clock]:
  """Times functions in turns, so that other programs disturb all of them alike."""
  clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
  for _ in range(repeats + 1):
    for name, call in calls.items():
      start = time.perf_counter(), time.process_time()
      jax.block_until_ready(call())
      clocks[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
  return {
    name: Clock(
      times[0][0], *(statistics.median(column) for column in zip(*times[1:], strict=True))
    )
    for name, times in clocks.items()
  }


def make_params(state: Mapping[str, np.ndarray], problem: Problem) -> Any:
  """Converts the tensors of a checkpoint into our parameters, on the device."""
  arrays: Any = convert_tensors(problem.architecture, state.__getitem__)
  return jax.device_put(traverse_util.unflatten_dict(arrays, sep="/"))


def compare_features(found: Found, wanted: Found) -> Row:
  """Returns the differences between features and the wanted ones of the same names."""
  common_names = [name for name in wanted if name in found]
  ours, theirs = (np.stack([x[name] for name in common_names]) for x in (found, wanted))
  norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
  row: Row = {
    "largest difference": float(np.abs(ours - theirs).max()),
    "least cosine": float(np.min(np.sum(ours * theirs, axis=1) / norms)),
  }
  return row if len(wanted) == 1 else {**row, "in common": len(common_names) / len(wanted)}


def network_rows(
  problem: Problem, image: np.ndarray, repeats: int, ceilings: Ceilings
) -> list[Row]:
  """Compares one network with PyTorch's; ratios are to PyTorch without channels last."""
  state = synthetic.synthetic_state(problem.architecture, seed=0)
  params = make_params(state, problem)
  values = problem.prepare(image)
  batches = {1} | ({_ACCELERATOR_BATCH} if jax.default_backend() != "cpu" else set())
  calls: dict[str, Callable[[], Any]] = {}
  peers: dict[str, Callable[[np.ndarray], Found]] = {}
  if common.has_torch():
    peers = {
      name: problem.peer(state, channels_last)
      for name, channels_last in [("torch", False), ("torch, channels last", True)]
    }
    calls |= {name: functools.partial(peer, values) for name, peer in peers.items()}
  runs: dict[str, tuple[Dtype, jax.Array]] = {
    f"{dtype}, batch of {size}": (dtype, jax.device_put(np.stack([values] * size)))
    for dtype in _DTYPES
    for size in sorted(batches)
  }
  calls |= {
    name: functools.partial(problem.apply, params, images, dtype)
    for name, (dtype, images) in runs.items()
  }
  clocks = take_turns(calls, repeats)
  exact = problem.by_name(calls["float32, batch of 1"]())
  rows: list[Row] = []
  for name, clock in clocks.items():
    size = len(runs[name][1]) if name in runs else 1
    row: Row = {
      "network": name,
      "compilation": clock.first - clock.seconds if name in runs else None,
      "seconds": clock.seconds,
      "processor seconds": clock.processor,
      "images a second": size / clock.seconds,
    }
    if peers:
      row["ratio"] = clock.seconds / size / clocks["torch"].seconds
      row["processor ratio"] = clock.processor / size / clocks["torch"].processor
    if name in runs:
      dtype, images = runs[name]
      if problem.counts_flops:
        flops = _count_flops(problem, params, images, dtype)
        row |= {"gflop": flops / 1e9, "of matmul": flops / clock.seconds / ceilings.flops}
      found = problem.by_name(calls[name]())
    else:
      found = peers[name](values)
    rows.append(row | compare_features(found, exact))
  return rows


def _count_flops(problem: Problem, params: Any, images: jax.Array, dtype: Dtype) -> float:
  """Returns the operations of a call as written, before the compiler optimises them."""
  lowered = jax.jit(problem.apply, static_argnums=2).lower(params, images, dtype)
  analysis: Any = lowered.cost_analysis()
  return float(analysis["flops"])


def extraction_rows(problem: Problem, height: int, width: int, num_images: int) -> list[Row]:
  """Runs the command that extracts photographs twice; the second time its code is compiled."""
  rows: list[Row] = []
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    weights = root / "weights.safetensors"
    synthetic.write_weights(weights, problem.model, problem.architecture, seed=0)
    for run in ("first", "compiled before"):
      (root / run).mkdir()
      for number in range(num_images):
        image = synthetic_image(len(rows) * num_images + number, height, width)
        cv2.imwrite(str(root / run / f"{number}.jpg"), image)
      command = ["--model", problem.model, "--weights", weights, "--output", root / "features"]
      seconds, peak = run_command([*command, "--images", root / run])
      rows.append({"run": run, "images": num_images, "seconds": seconds, "peak gibibytes": peak})
  return rows


def run_command(arguments: Sequence[Any]) -> tuple[float, float]:
  """Runs `experiments.extract`; returns its seconds and the peak of its resident gibibytes."""
  command = [sys.executable, "-m", "experiments.extract", *map(str, arguments)]
  start = time.perf_counter()
  process = subprocess.run(
    [sys.executable, "-c", _MEASURE, *command],
    cwd=_ROOT,
    check=False,
    capture_output=True,
    text=True,
    # This process holds memory of the accelerator too.
    env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
  )
  if process.returncode:
    raise InputError(f"experiments.extract failed: {process.stderr.strip()[-300:]}")
  return time.perf_counter() - start, int(process.stdout) / 2**20


def precision_rows(values: Values) -> list[Row]:
  """Compares mAP and features by precision, for the data set and weights that the flags name."""
  evaluate.settle(values, "roxford5k", MINI)
  dataset = evaluate.open_dataset(values, MINI)
  truth = dataset.ground_truth
  directory = work_folder(values) / dataset.name
  database = zip(truth.imlist, dataset.database_paths, strict=True)
  jobs: Mapping[sources.Part, Sequence[ImageJob]] = {
    "queries": evaluate.query_jobs(dataset),
    "database": [ImageJob(*job) for job in database],
  }
  rows: list[Row] = []
  exact: dict[str, Found] = {}
  for dtype in _DTYPES:
    values.dtype = dtype
    chosen = read_features(values)
    for source in (*chosen.kinds, chosen.global_features):
      if not isinstance(source, LocalExtractor | GlobalExtractor) or source.network is None:
        continue
      found, rankings = rank_exactly(
        source, jobs, directory, crop_policy=values.crop_policy, kernel=kernels.parse(values.kernel)
      )
      report = evaluation.evaluate(rankings, truth)
      exact.setdefault(source.name, found)
      rows.append(
        {
          "features": f"{source.name}, {dtype}",
          **{name: 100 * report[name].map for name in ("easy", "medium", "hard")},
          **compare_features(found, exact[source.name]),
        }
      )
  if not rows:
    raise InputError("--local or --global_features must name a network with its weights.")
  return rows


def rank_exactly(
  source: LocalExtractor | GlobalExtractor,
  jobs: Mapping[sources.Part, Sequence[ImageJob]],
  directory: pathlib.Path,
  *,
  crop_policy: CropPolicy | None,
  kernel: kernels.Kernel,
) -> tuple[Found, np.ndarray]:
  """Returns the database's features by name, and rankings by comparison with all of them."""
  if isinstance(source, GlobalExtractor):
    vectors = {
      part: sources.global_features(some, directory, part, source, crop_policy=crop_policy)
      for part, some in jobs.items()
    }
    rankings = rank_by_global(GlobalFeatures(vectors["queries"], vectors["database"]))
    return dict(enumerate(vectors["database"])), rankings
  stores = {
    part: sources.local_features(some, directory, part, source, crop_policy=crop_policy)
    for part, some in jobs.items()
  }
  images, queries = ([x.descriptors for x in _all(stores[p])] for p in ("database", "queries"))
  placed = chamfer_scan.place_images(chamfer_scan.pack_images(images, precision="float32"))
  ids = chamfer_scan.search_images(placed, queries, len(images), kernel=kernel).ids
  found = {
    (number, scale, template): descriptor
    for number, image in enumerate(_all(stores["database"]))
    for scale, template, descriptor in zip(
      image.scales, image.locations[:, 1], image.descriptors, strict=True
    )
  }
  return found, complete_rankings(ids, None, len(images))


def _all(store: FeatureStore):
  return (store[index] for index in range(len(store)))


def compare(
  problems: Sequence[Problem],
  size: tuple[int, int],
  *,
  num_images: int,
  repeats: int,
  ceilings: Ceilings,
) -> dict[str, Sequence[Row]]:
  """Runs every comparison.

  Args:
    problems: the networks.
    size: height and width of the images.
    num_images: how many images the command extracts.
    repeats: of every timing.
    ceilings: of this machine.

  Returns:
    Rows by title.
  """
  tables: dict[str, Sequence[Row]] = {}
  height, width = size
  image = synthetic_image(0, height, width)
  for problem in problems:
    title = f"{problem.title}, {width} x {height}"
    tables[f"{title}: an image"] = network_rows(problem, image, repeats, ceilings)
    tables[f"{title}: experiments.extract"] = extraction_rows(problem, height, width, num_images)
  return tables


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  if values.quick:
    problems, size, num_images = [superglobal_problem(50, 1)], (96, 128), 2
  else:
    problems = [superglobal_problem(50, 3), fire_problem(), aliked_problem(), lite0_problem()]
    size, num_images = (768, 1024), 2
  tables = compare(problems, size, num_images=num_images, repeats=values.repeats, ceilings=ceilings)
  if values.from_dataset:
    tables["Precision and mAP"] = precision_rows(values)
  return tables


BENCHMARK = common.Benchmark(main, evaluate.GROUPS)

if __name__ == "__main__":
  common.run("features", __doc__, BENCHMARK)

"""Peers of the search of local descriptors; each scores all images its own way."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from l2g_jax.runtime.workers import available_cores
from l2g_jax.similarity import kernels

Scores = Callable[[np.ndarray], np.ndarray]

# Descriptors that the peers train on.
_SAMPLE = 400_000


@dataclasses.dataclass(frozen=True)
class Peer:
  """A method with its index.

  Attributes:
    name: of the method.
    build_seconds: the time to build its index.
    bytes_per_image: of its index.
    settings: by name, a function from a query `[q, d]` to scores `[N]` of all images, the greatest
      best.
  """

  name: str
  build_seconds: float
  bytes_per_image: float
  settings: dict[str, Scores]


def available(names: Sequence[str]) -> list[str]:
  """Returns the peers that can run, and prints a line for each that can't."""
  packages = {"asmk": "asmk", "plaid": "fast_plaid", "rabitq": "rabitqlib"}
  packages |= dict.fromkeys(("ivfpq", "fastscan", "faiss_rabitq"), "faiss")
  missing = [n for n in names if n in packages and importlib.util.find_spec(packages[n]) is None]
  for name in missing:
    print(f"{packages[name]} is not installed: the rows of {name} are left out.")
  return [name for name in names if name not in missing]


def build(name: str, images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  """Builds a peer from the unit descriptors `[count, d]` of every image."""
  return _BUILDERS[name](images, kernel)


def _numpy(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  def scores(query: np.ndarray) -> np.ndarray:
    return np.array([kernel((query @ image.T).max(axis=1)).mean() for image in images])

  return Peer("brute force, NumPy", 0.0, images[0].nbytes, {"": scores})


def _faiss(
  factory: str, images: Sequence[np.ndarray], kernel: kernels.Kernel, name: str, code_bytes: int
) -> Peer:
  import faiss  # pyright: ignore[reportMissingImports]

  values, owners = _stacked(images)
  num_cells = _num_cells(values)
  start = time.perf_counter()
  index: Any = faiss.index_factory(
    values.shape[1], f"IVF{num_cells},{factory}", faiss.METRIC_INNER_PRODUCT
  )
  index.train(_sampled(values, max(_SAMPLE, 40 * num_cells)))
  index.add(values)
  seconds = time.perf_counter() - start

  def search(query: np.ndarray, num_probes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    index.nprobe = num_probes
    return index.search(query, k)

  return _colored(name, images, owners, kernel, seconds, code_bytes, search)


def _colored(
  name: str,
  images: Sequence[np.ndarray],
  owners: np.ndarray,
  kernel: kernels.Kernel,
  seconds: float,
  code_bytes: int,
  search: Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]],
) -> Peer:
  """Makes a peer of a search of single descriptors: the best match of each image counts.

  Args:
    name: of the peer.
    images: their descriptors.
    owners: the image of each descriptor.
    kernel: of a cosine.
    seconds: of building.
    code_bytes: of a descriptor, without its id of 8 bytes.
    search: finds for descriptors, a number of cells and k the cosines and ids `[q, k]`.
  """

  def scores(query: np.ndarray, num_probes: int, k: int) -> np.ndarray:
    cosines, ids = search(query, num_probes, k)
    totals = np.zeros(len(images))
    _add_colored(kernel(cosines).astype(np.float64), ids, owners, totals)
    return totals

  def setting(num_probes: int, k: int) -> Scores:
    return lambda query: scores(query, num_probes, k)

  return Peer(
    name,
    seconds,
    (code_bytes + 8) * len(owners) / len(images),
    {
      f"{num_probes} probes, k = {k}": setting(num_probes, k)
      for num_probes in (8, 32)
      for k in (100, 1000)
    },
  )


def _ivfpq(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  return _faiss("PQ32", images, kernel, "faiss IVF-PQ 32x8, colored", 32)


def _fastscan(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  return _faiss("PQ64x4fs", images, kernel, "faiss IVF-PQ 64x4 fast-scan, colored", 32)


def _faiss_rabitq(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  return _faiss("RaBitQfs2", images, kernel, "faiss IVF-RaBitQ fast-scan, 2 bits, colored", 52)


def _rabitq(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  """Builds RaBitQ-Library's inverted file with 3 bits a dimension."""
  import rabitqlib  # pyright: ignore[reportMissingImports]

  values, owners = _stacked(images)
  num_cells, dimension, num_bits = _num_cells(values), values.shape[1], 3
  threads = available_cores()
  start = time.perf_counter()
  cluster = rabitqlib.QGKMeans if num_cells > 128 else rabitqlib.RaBitQKMeans
  clustering = cluster(dimension, num_cells, num_threads=threads)
  clustering.train(values)
  index: Any = rabitqlib.IvfIndex(dimension, len(values), num_cells, num_bits, metric="ip")
  index.build(values, clustering.centroids, clustering.assignments, num_threads=threads)
  seconds = time.perf_counter() - start

  def search(query: np.ndarray, num_probes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    # Distances are 1 - cosine, and infinite where there are fewer than k.
    ids, distances = index.search(query, k, num_probes, num_threads=threads)
    return np.maximum(1.0 - distances, -1.0), np.where(np.isfinite(distances), ids, -1)

  name, code_bytes = "RaBitQ-Library IVF, 3 bits, colored", num_bits * dimension // 8 + 12
  return _colored(name, images, owners, kernel, seconds, code_bytes, search)


def _asmk(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  """Builds aggregated selective match kernels, binary, with FIRe's settings but fewer words."""
  del kernel
  from asmk import asmk_method  # pyright: ignore[reportMissingImports]

  values, owners = _stacked(images)
  similarity = {"similarity_threshold": 0.0, "alpha": 3.0}
  method: Any = asmk_method.ASMKMethod.initialize_untrained(
    {
      "index": {"gpu_id": None},
      "train_codebook": {"codebook": {"size": 4096}},
      "build_ivf": {
        "kernel": {"binary": True},
        "ivf": {"use_idf": False},
        "quantize": {"multiple_assignment": 1},
        "aggregate": {},
      },
      "query_ivf": {
        "quantize": {"multiple_assignment": 5},
        "aggregate": {},
        "search": {"topk": None},
        "similarity": similarity,
      },
    }
  )
  start = time.perf_counter()
  method = method.train_codebook(_sampled(values, _SAMPLE))
  method = method.build_ivf(values, owners)
  seconds = time.perf_counter() - start

  def scores(query: np.ndarray) -> np.ndarray:
    _, _, ranks, found = method.query_ivf(query, np.zeros(len(query), np.int64))
    totals = np.zeros(len(images))
    totals[ranks[0]] = found[0]
    return totals

  words = np.mean(
    [
      len(np.unique(method.codebook.quantize(image, multiple_assignment=1)[1]))
      for image in images[:20]
    ]
  )
  return Peer("ASMK, 4096 words", seconds, float(20 * words), {"5 words a descriptor": scores})


def _muvera(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  """Builds MUVERA's fixed-dimensional encodings (arXiv 2405.19504), compared by inner product."""
  del kernel
  repetitions, planes, projected = 20, 5, 16
  rng = np.random.default_rng(0)
  dimension = images[0].shape[1]
  normals = rng.standard_normal((dimension, repetitions * planes), np.float32)
  projections = rng.choice(np.array([-1.0, 1.0], np.float32), (repetitions, dimension, projected))
  projections /= np.sqrt(projected)
  bits = 1 << np.arange(planes)

  def encode(values: np.ndarray, *, average: bool) -> np.ndarray:
    sides = (values @ normals > 0.0).reshape(len(values), repetitions, planes)
    parts = []
    for number in range(repetitions):
      buckets = sides[:, number] @ bits
      counts = np.bincount(buckets, minlength=2**planes)
      sums = np.zeros((2**planes, projected), np.float32)
      np.add.at(sums, buckets, values @ projections[number])
      if average:
        sums /= np.maximum(counts, 1)[:, None]
        # An empty bucket takes the descriptor whose bucket differs in the fewest planes.
        for bucket in np.flatnonzero(counts == 0):
          away = [bin(other).count("1") for other in np.arange(2**planes) ^ bucket]
          sums[bucket] = values[np.argmin(np.take(away, buckets))] @ projections[number]
      parts.append(sums.ravel())
    return np.concatenate(parts)

  start = time.perf_counter()
  encodings = np.stack([encode(image, average=True) for image in images])
  seconds = time.perf_counter() - start
  scores = lambda query: encodings @ encode(query, average=False)
  return Peer("MUVERA encodings", seconds, encodings[0].nbytes, {f"{encodings.shape[1]}-d": scores})


def _plaid(images: Sequence[np.ndarray], kernel: kernels.Kernel) -> Peer:
  del kernel
  import tempfile

  import torch  # pyright: ignore[reportMissingImports]
  from fast_plaid import search  # pyright: ignore[reportMissingImports]

  folder = tempfile.mkdtemp()
  start = time.perf_counter()
  engine = search.FastPlaid(index=folder, device="cpu")
  engine.create(documents_embeddings=[torch.from_numpy(image) for image in images])
  seconds = time.perf_counter() - start

  def scores(query: np.ndarray, num_probes: int) -> np.ndarray:
    (found,) = engine.search(
      torch.from_numpy(query)[None],
      top_k=min(2000, len(images)),
      n_ivf_probe=num_probes,
      show_progress=False,
    )
    totals = np.full(len(images), -np.inf)
    totals[[image for image, _ in found]] = [score for _, score in found]
    return totals

  def setting(num_probes: int) -> Scores:
    return lambda query: scores(query, num_probes)

  num_bytes = 0.5 * images[0].size + 4 * len(images[0])
  return Peer("fast-plaid", seconds, num_bytes, {f"{p} probes": setting(p) for p in (4, 8)})


_BUILDERS = {
  "numpy": _numpy,
  "ivfpq": _ivfpq,
  "fastscan": _fastscan,
  "faiss_rabitq": _faiss_rabitq,
  "rabitq": _rabitq,
  "asmk": _asmk,
  "muvera": _muvera,
  "plaid": _plaid,
}
NAMES = tuple(_BUILDERS)


def _stacked(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Returns all descriptors `[n, d]`, and the image of each `[n]`."""
  return np.concatenate(images), np.repeat(np.arange(len(images)), [len(image) for image in images])


def _num_cells(values: np.ndarray) -> int:
  return 2 ** round(np.log2(max(16.0, len(values) / 800)))


def _sampled(values: np.ndarray, count: int) -> np.ndarray:
  return values[np.random.default_rng(0).permutation(len(values))[:count]]


@numba.njit(cache=True)
def _add_colored(worth, ids, owners, totals):
  """Adds up the values of each query descriptor's best match per image; rows are best first."""
  seen = np.full(len(totals), -1, np.int64)
  for i in range(len(ids)):
    for column in range(ids.shape[1]):
      if ids[i, column] >= 0:
        image = owners[ids[i, column]]
        if seen[image] != i:
          seen[image] = i
          totals[image] += worth[i, column]

"""Writes a small file of each format, and what is found in it, by the code of a release.

Run once for a release, from a checkout of it: python path/to/tests/released/make.py DIRECTORY
What it wrote is committed here and never written again.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

from l2g_jax.cann import CannConfig, CannIndex, builder
from l2g_jax.data import archive, download
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement, save_ground_truth
from l2g_jax.features import aggregate, store, weights, whitening
from l2g_jax.features.protocol import LocalFeatures
from mini.make import make_mini
from mini.plan import MiniConfig

IMAGES_PER_PIECE = 7
CONFIG = CannConfig(num_lists=3)
MINI = MiniConfig(
  num_landmarks=1,
  num_queries=1,
  fewest_views=1,
  most_views=1,
  num_distractor_scenes=1,
  distractor_views=1,
  num_points=200,
  height=96,
)


def images() -> list[tuple[str, np.ndarray]]:
  """Returns twelve images of up to six descriptors; one has none."""
  rng = np.random.default_rng(0)
  return [
    (f"image-{i:03d}", rng.standard_normal((i % 7, 16)).astype(np.float32)) for i in range(12)
  ]


def features() -> list[LocalFeatures]:
  """Returns the local features of those images."""
  result = []
  for number, (_, values) in enumerate(images()):
    rng = np.random.default_rng(number)
    locations = rng.random((len(values), 2), np.float32)
    result.append(LocalFeatures(values, locations, locations[:, 0], locations[:, 1]))
  return result


def digest(*arrays: np.ndarray) -> str:
  """Returns a checksum of the types, shapes and values of arrays."""
  result = hashlib.blake2b(digest_size=16)
  for array in arrays:
    result.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
  return result.hexdigest()


def _write_index(root: pathlib.Path) -> dict:
  learned = whitening.fit_whitening(np.concatenate([v for _, v in images()]), dimension=12)
  values = [(name, whitening.apply_whitening(learned, v)) for name, v in images()]
  note = learned.to_note()
  index = CannIndex.build(root / "index", values[:9], CONFIG, whitening=note)
  index = index.add(values[9:]).remove(["image-002", "image-010"])
  lists = index.neighbor_lists(3, show_progress=False)
  found = index.search(values[5][1], 20)
  CannIndex.build_shard(
    root / "shards", values, CONFIG, whitening=note, shard_index=0, num_shards=2
  )
  return {
    "names": list(index.names),
    "codes": digest(*(index.codes(i).values for i in range(len(index.names)))),
    "ids": found.ids.tolist(),
    "similarities": found.similarities.tolist(),
    "neighbors": lists.ids.tolist(),
    "neighbor_similarities": lists.similarities.tolist(),
  }


def _write_store(directory: pathlib.Path, precision: store.Precision) -> dict:
  values, names = features(), [name for name, _ in images()]
  for part in range(2):
    rows = slice(6 * part, 6 * part + 6)
    store.save_part(
      directory,
      part,
      key=f"key {part}",
      names=names[rows],
      features=values[rows],
      dimension=16,
      precision=precision,
      failures={"image-000": "it is damaged"} if part == 0 else None,
    )
  store.finish(directory, keys=["key 0", "key 1"])
  opened = store.open_store(directory)
  return {
    "key": opened.key,
    "names": list(opened.names),
    "failures": dict(opened.failures),
    "features": [
      digest(item.descriptors, item.locations, item.scales, item.strengths)
      for item in (opened[i] for i in range(len(opened)))
    ],
  }


def _write_bundles(root: pathlib.Path) -> dict:
  values = np.concatenate([v for _, v in images()])
  learned = whitening.fit_whitening(values, dimension=5)
  whitening.save_whitening(root / "whitening", learned)
  vlad, _ = aggregate.fit_vlad(values, (v for _, v in images()), num_words=3, dimension=4)
  aggregate.save_vlad(root / "vlad", vlad)
  return {
    "whitening": digest(learned.mean, learned.projection),
    "vlad": digest(vlad.words, vlad.whitening.mean, vlad.whitening.projection),
  }


def _write_truth(root: pathlib.Path) -> dict:
  labels = [np.array(ids, np.int64) for ids in ([0, 2], [1], [3])]
  queries = (QueryJudgement((1.0, 2.0, 30.5, 40.0), *labels), QueryJudgement(None, *labels))
  truth = GroundTruth(("a", "b", "c", "d"), ("q", "r"), queries)
  save_ground_truth(root / "gnd_toy.json", truth)
  return {"imlist": list(truth.imlist), "bbx": [1.0, 2.0, 30.5, 40.0], "easy": [0, 2]}


def _write_weights(root: pathlib.Path) -> dict:
  kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
  weights.save_weights(
    root / "toy.safetensors", {"trunk/kernel": kernel}, {"model": "toy", "source": "nowhere"}
  )
  loaded = weights.load_weights(root / "toy.safetensors", model="toy")
  return {"kernel": digest(kernel), "checksum": loaded.metadata["checksum"]}


def _write_download(root: pathlib.Path) -> dict:
  # As `download.obtain` leaves it.
  folder = root / "download" / "toy"
  (folder / "downloads").mkdir(parents=True)
  (folder / "toy.txt").write_text("published\n")
  state = archive.state_of(folder / "toy.txt")
  # Private: what a release wrote at the end of a download, which can't be had from afar here.
  download._write_record(
    folder / "downloads" / "toy.txt", "http://there/toy.txt", state, {"toy.txt": state}
  )
  return dict(state)


def main(root: pathlib.Path) -> None:
  """Writes everything, and `expected.json`."""
  root.mkdir(parents=True)
  builder.IMAGES_PER_PIECE = IMAGES_PER_PIECE
  mini = make_mini(root, config=MINI, num_workers=1, show_progress=False)
  expected = {
    "index": _write_index(root),
    "store-float16": _write_store(root / "store-float16", "float16"),
    "store-int8": _write_store(root / "store-int8", "int8"),
    "bundles": _write_bundles(root),
    "truth": _write_truth(root),
    "weights": _write_weights(root),
    "download": _write_download(root),
    "mini": sorted(path.name for path in (mini / "jpg").iterdir()),
  }
  (root / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))

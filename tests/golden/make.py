"""Makes golden files out of larger ones that are not kept here.

python -m tests.golden.make KIND SOURCE; the golden file of a kind lies beside this script.

  aliked        SOURCE is a .npz with the `image` of a picture `b`, what ALIKED n16 and t16 make of
                it, and cases of the deformable convolution and the upsampling; all is kept.
  ames          SOURCE is a .npz with sets `src` and `tgt`, their masks (True = padding) and the
                `sim` of AMES dinov2_fp, and `rr`: lists, logits and what the published re-ranking
                makes of them. Two pairs with few descriptors and the heads of rankings are kept.
  evaluation    SOURCE is a .npz with `ranks` [N, Q], `gnd_json` and, for each protocol, what the
                published evaluation says of them. Only the places of labelled images are kept.
  ground_truth  SOURCE is the published gnd_roxford5k.pkl; its first queries and images are kept.
  keys          SOURCE is a text whose lines hold a tensor's name, shape and type, of a published
                checkpoint.
  lite0         SOURCE is a .npz with the `image` of a picture `a`, its `gem`, `top5`, `top5_logits`
                and maps of EfficientNet-Lite0; all is kept but most of the last map.
  similarities  SOURCE is a .npz with `descriptors` [70, 600, 128] of FIRe, of the queries of
                ROxford, and `landmarks` [70]; their Chamfer similarities are kept.
"""

import json
import pathlib
import pickle
import sys

import jax
import numpy as np

from l2g_jax.data import load_ground_truth
from l2g_jax.ranking.fusion import normalize
from l2g_jax.similarity import kernels
from l2g_jax.similarity.chamfer import chamfer_similarity
from tests.golden.files import FOLDER

LABELS = ("easy", "hard", "junk")
# Padding is in the query of the first, and in both sets of the second.
_AMES_PAIRS = [1, 3]
_NUM_IMAGES, _NUM_QUERIES = 400, 3


def aliked(source: pathlib.Path) -> None:
  reference = np.load(source)
  parts = ("b.", "n16.b.", "t16.b.", "deform", "upsample")
  kept = {name: values for name, values in reference.items() if name.startswith(parts)}
  np.savez_compressed(FOLDER / "aliked.npz", **kept)


def ames(source: pathlib.Path) -> None:
  reference = np.load(source)
  names = ("src", "tgt", "src_mask", "tgt_mask", "sim")
  pairs = {name: reference[f"dinov2_fp.{name}"][_AMES_PAIRS] for name in names}
  similarities, ids = reference["rr.cache"]
  results = {
    name: values[: int(name.split(".")[2][1:])].T.astype(np.int16)
    if name.endswith(".ranks")
    else values
    for name, values in reference.items()
    if name.startswith("rr.") and name.endswith((".ranks", "_map", "_mp"))
  }
  lists = {"rr.similarities": similarities, "rr.ids": ids.astype(np.int16)}
  kept = {name: reference[name] for name in ("rr.raw", "rr.gnd_json")}
  np.savez_compressed(FOLDER / "ames.npz", **pairs, **lists, **kept, **results)


def evaluation(source: pathlib.Path) -> None:
  reference = np.load(source)
  queries = json.loads(str(reference["gnd_json"]))
  labelled = [np.concatenate([query[label] for label in LABELS]) for query in queries]
  places = [
    np.argsort(ranking)[ids.astype(int)]
    for ranking, ids in zip(reference["ranks"].T, labelled, strict=True)
  ]
  counts = [[len(query[label]) for label in LABELS] for query in queries]
  np.savez_compressed(
    FOLDER / "evaluation.npz",
    labelled=np.concatenate(labelled).astype(np.int16),
    places=np.concatenate(places).astype(np.int16),
    counts=np.array(counts, np.int16),
    **{
      f"{letter}.{name}": reference[f"{letter}.{name}"]
      for letter in "EMH"
      for name in ("map", "mpk")
    },
  )


def ground_truth(source: pathlib.Path) -> None:
  truth = load_ground_truth(source)
  queries = [
    {"bbx": list(query.bbx or ())}
    | {label: [int(i) for i in getattr(query, label) if i < _NUM_IMAGES] for label in LABELS}
    for query in truth.queries[:_NUM_QUERIES]
  ]
  content = {
    "gnd": queries,
    "imlist": list(truth.imlist[:_NUM_IMAGES]),
    "qimlist": list(truth.qimlist[:_NUM_QUERIES]),
  }
  # The protocol of the published file.
  (FOLDER / "gnd_published.pkl").write_bytes(pickle.dumps(content, protocol=3))


def keys(source: pathlib.Path) -> None:
  lines = [line.split("\t")[:2] for line in source.read_text().splitlines() if "\t" in line]
  (FOLDER / f"{source.stem}_keys.txt").write_text("".join("\t".join(line) + "\n" for line in lines))


def lite0(source: pathlib.Path) -> None:
  reference = np.load(source)
  kept = {name[2:]: values for name, values in reference.items() if name.startswith("a.")}
  kept["features"] = kept["features"][:, ::4]
  for name in ("gem_raw", "probability"):
    del kept[name]
  np.savez_compressed(FOLDER / "lite0.npz", **kept)


def similarities(source: pathlib.Path) -> None:
  data = np.load(source)
  sets = np.asarray(normalize(data["descriptors"]))
  score = jax.jit(chamfer_similarity, static_argnames=("kernel", "block_size"))
  rows = [score(query, sets, kernel=kernels.Power(alpha=7.0), block_size=8) for query in sets]
  np.savez_compressed(
    FOLDER / "fire_similarities.npz",
    similarities=np.stack(rows),
    landmarks=data["landmarks"].astype(np.int8),
  )


KINDS = (aliked, ames, evaluation, ground_truth, keys, lite0, similarities)

if __name__ == "__main__":
  {make.__name__: make for make in KINDS}[sys.argv[1]](pathlib.Path(sys.argv[2]))

"""Distances of perceptual hashes between all pictures of a folder; it needs none of the library.

  python benchmarks/hash_peers.py FOLDER OUTPUT.npz [fast]

It runs in the environment of the peers, which may be another: ImageHash, pdqhash, imagededup. The
output holds, of every method that is there, `[N, N]` float32 distances and the seconds, and of two
methods, as `..., 8 ways`, the least over turns by quarters and mirror images of one of a pair. With
`fast` these are left out, and so are hashes of segments.
"""

import importlib
import importlib.util
import json
import pathlib
import sys
import time

import numpy as np
from PIL import Image

_WAYS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]
_NO_DISTANCE = 1e3
# Methods that are asked for turned and mirrored pictures too; it takes eight times as long.
_TURNED = ("ImageHash phash", "pdqhash")


def main(folder: str, output: str, *, is_fast: bool) -> None:
  """Hashes the pictures of a folder by every method that is installed, and writes distances."""
  paths = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file())
  arrays, seconds, missing = {}, {}, []
  for name, compute in _methods(missing):
    for ways in (1, 8) if name in _TURNED and not is_fast else (1,):
      start = time.perf_counter()
      bits = np.stack([compute(picture) for path in paths for picture in _ways(path, ways)])
      bits = bits.reshape(len(paths), ways, -1)
      label = name if ways == 1 else f"{name}, 8 ways"
      arrays[label] = _distances(bits)
      seconds[label] = time.perf_counter() - start
      print(f"{label}: {seconds[label]:.0f} s", flush=True)
  if importlib.util.find_spec("imagehash") and not is_fast:
    start = time.perf_counter()
    arrays["crop_resistant_hash"] = _crop_resistant(paths)
    seconds["crop_resistant_hash"] = time.perf_counter() - start
  head = {"names": [path.stem for path in paths], "seconds": seconds, "missing": missing}
  labels = {f"distances_{number}": values for number, values in enumerate(arrays.values())}
  np.savez(output, head=np.array(json.dumps({**head, "methods": list(arrays)})), **labels)


def _methods(missing: list[str]):
  """Returns the names of methods, each with the function from a picture to its bits."""
  methods = []
  if importlib.util.find_spec("imagehash"):
    imagehash = importlib.import_module("imagehash")
    for name in ("phash", "dhash", "whash"):
      function = getattr(imagehash, name)
      methods.append((f"ImageHash {name}", lambda picture, f=function: f(picture).hash.ravel()))
  else:
    missing.append("ImageHash")
  if importlib.util.find_spec("pdqhash"):
    pdqhash = importlib.import_module("pdqhash")
    methods.append(("pdqhash", lambda picture: pdqhash.compute(np.asarray(picture))[0]))
  else:
    missing.append("pdqhash")
  if importlib.util.find_spec("imagededup"):
    imagededup = importlib.import_module("imagededup.methods")
    for name in ("PHash", "DHash", "WHash", "AHash"):
      hasher = getattr(imagededup, name)()
      methods.append(
        (
          f"imagededup {name}",
          lambda picture, h=hasher: _hex_bits(h.encode_image(image_array=np.asarray(picture))),
        )
      )
  else:
    missing.append("imagededup")
  return methods


def _hex_bits(text: str) -> np.ndarray:
  return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))


def _ways(path: pathlib.Path, count: int):
  """Yields a picture, or its eight turns and mirror images."""
  with Image.open(path) as picture:
    pixels = np.asarray(picture.convert("RGB"))
  for turns, mirrored in _WAYS[:count]:
    yield Image.fromarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, turns))


def _distances(bits: np.ndarray) -> np.ndarray:
  """Returns the bits in which pictures differ, the least over the ways of the second."""
  signs = np.where(bits, 1.0, -1.0).astype(np.float32)
  own = signs[:, 0]
  length = own.shape[1]
  products = np.stack([own @ signs[:, way].T for way in range(bits.shape[1])]).max(axis=0)
  return (length - products) / 2.0


def _crop_resistant(paths) -> np.ndarray:
  """Returns the least distance between the hashes of segments of two pictures."""
  imagehash = importlib.import_module("imagehash")
  rows, owners = [], []
  for number, path in enumerate(paths):
    with Image.open(path) as picture:
      segments = imagehash.crop_resistant_hash(picture.convert("RGB")).segment_hashes
    rows += [segment.hash.ravel() for segment in segments]
    owners += [number] * len(segments)
  distances = np.full((len(paths), len(paths)), _NO_DISTANCE, np.float32)
  values = _distances(np.stack(rows)[:, None])
  starts = np.flatnonzero(np.diff(owners, prepend=-1))
  least = np.minimum.reduceat(np.minimum.reduceat(values, starts, axis=0), starts, axis=1)
  present = np.unique(owners)
  distances[np.ix_(present, present)] = least
  return distances


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], is_fast=sys.argv[3:] == ["fast"])

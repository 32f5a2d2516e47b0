"""What is killed: a table of operations on files, each with what it leaves, whole.

To add one, write what makes the state before it, the operation, and what is found in a folder; all
files that are found must be compared with their checksums there.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from l2g_jax.cann import CannConfig, CannIndex, builder, exists, lists, storage
from l2g_jax.features import extraction, store
from l2g_jax.features.extraction import ImageJob, extract_local
from l2g_jax.features.protocol import LocalFeatures
from l2g_jax.runtime import checksums, files
from tests.cann import oracle
from tests.retriever import photos

IMAGES = [
  (name, values[:, :12]) for name, values in oracle.collection(0, num_images=12, most=6).items()
]
CONFIG = CannConfig(num_lists=3)
PACKED = dataclasses.replace(CONFIG, descriptor_bytes=8)
NEIGHBORS = 30
# What made these images of those with 16 dimensions.
NOTE = {"mean": np.zeros(16, np.float32), "projection": np.eye(16, dtype=np.float32)[:, :12]}

# By name; what is made in steps has an entry for each, so that some may be there and some not.
Found = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Operation:
  """Something that changes a folder.

  Attributes:
    name: of it.
    prepare: makes the state before it, in a folder that is there.
    change: does it; done again where it was killed, it must come to the same.
    find: returns what is there, everything compared with its checksum.
  """

  name: str
  prepare: Callable[[pathlib.Path], object]
  change: Callable[[pathlib.Path], object]
  find: Callable[[pathlib.Path], Found]


def _find_index(root: pathlib.Path) -> Found:
  if not exists(root):
    return {}
  index = CannIndex.open(root, verify=True)
  names = [(name, index.codes(i).values.tobytes()) for i, name in enumerate(index.names)]
  return {"index": (names, index.search(np.eye(12), 5).similarities.tolist())}


def _find_lists(root: pathlib.Path) -> Found:
  """Finds every list of every state, be it in a part or in the whole."""
  found = dict(_find_index(root))
  for path in storage.neighbor_bundles(root):
    kind = files.read_manifest(path / files.MANIFEST)["kind"]
    arrays = files.load_bundle(path, kind=kind, version=1, verify=True).arrays
    # Images that were added have longer lists at first.
    if arrays["ids"].shape[1] == NEIGHBORS:
      for row, image in enumerate(arrays.get("images", range(len(arrays["ids"])))):
        values = (arrays["ids"][row].tolist(), arrays["similarities"][row].tolist())
        found[f"{path.parent.name}: {image}"] = values
  return found


def _put_foreign(root: pathlib.Path) -> None:
  """Puts what is not ours where an index is: a repository, photographs, links, under our names."""
  for name in (".git/config", "photos/a.jpg", "lists-000099/a.jpg", ".lists-000098.l2g/a.jpg"):
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text(name)
  (root / "quantizer-000097").symlink_to("photos")


def _check_foreign(root: pathlib.Path) -> None:
  if (root / ".git").exists():
    for name in (".git/config", "photos/a.jpg", "lists-000099/a.jpg", ".lists-000098.l2g/a.jpg"):
      assert (root / name).read_text() == name
    assert (root / "quantizer-000097" / "a.jpg").is_file()


def _build(root: pathlib.Path) -> None:
  CannIndex.build(root, IMAGES[:9], CONFIG, whitening=NOTE)


def _prepare_index(root: pathlib.Path) -> None:
  _build(root)
  _put_foreign(root)


def _add(root: pathlib.Path) -> None:
  CannIndex.open(root).add(IMAGES[9:])


def _prepare_grown(root: pathlib.Path) -> None:
  _prepare_index(root)
  _add(root)


def _remove(root: pathlib.Path) -> None:
  CannIndex.open(root).remove(["image-001", "image-010"])


def _prepare_shrunk(root: pathlib.Path) -> None:
  _prepare_grown(root)
  _remove(root)


def _compact(root: pathlib.Path) -> None:
  CannIndex.open(root).compact()


def _build_packed(root: pathlib.Path) -> None:
  CannIndex.build(root, IMAGES[:9], PACKED, whitening=NOTE)


def _prepare_packed(root: pathlib.Path) -> None:
  _build_packed(root)
  _put_foreign(root)
  _add(root)
  _remove(root)


def _shard_packed(root: pathlib.Path) -> None:
  CannIndex.build_shard(root, IMAGES, PACKED, whitening=NOTE, shard_index=0, num_shards=1)


def _shard(root: pathlib.Path) -> None:
  CannIndex.build_shard(root, IMAGES, CONFIG, whitening=NOTE, shard_index=0, num_shards=1)


def _find_shards(root: pathlib.Path) -> Found:
  pieces = {}
  for manifest in root.glob("shards/[dl]*/manifest.json"):
    files.verify_bundle(manifest.parent)
    pieces[manifest.parent.name] = _arrays(manifest.parent)
  return {**pieces, **_find_index(root)}


def _find_packed_shards(root: pathlib.Path) -> Found:
  """Finds the pieces that are done: their lists are written last."""
  found = _find_shards(root)
  done = {name for name in found if name.startswith("lists")}
  return {name: found[name] for name in found if name.replace("descriptors", "lists") in done}


def _arrays(directory: pathlib.Path) -> list[tuple[str, bytes]]:
  manifest = files.read_manifest(directory / files.MANIFEST)
  return sorted(
    (entry.get("array", name.removesuffix(".npy")), (directory / name).read_bytes())
    for name, entry in manifest["files"].items()
  )


def _prepare_shards(root: pathlib.Path) -> None:
  _shard(root)
  _put_foreign(root)


def _merge(root: pathlib.Path) -> None:
  CannIndex.merge_shards(root)


def _make_lists(root: pathlib.Path) -> None:
  CannIndex.open(root).neighbor_lists(NEIGHBORS, show_progress=False)


def _prepare_old_lists(root: pathlib.Path) -> None:
  """Makes an index of which little was changed since its lists were made."""
  _prepare_grown(root)
  CannIndex.open(root).add((f"more-{name}", values) for name, values in IMAGES[:6])
  _make_lists(root)
  CannIndex.open(root).remove(["image-001"]).add([("new", IMAGES[7][1])])


def _features(seed: int) -> LocalFeatures:
  rng = np.random.default_rng(seed)
  locations = rng.random((4, 2), np.float32)
  descriptors = rng.random((4, 8), np.float32)
  return LocalFeatures(descriptors, locations, locations[:, 0], locations[:, 1])


def _save_parts(root: pathlib.Path) -> None:
  for part in range(2):
    store.save_part(
      root,
      part,
      key=f"key {part}",
      names=[f"image {part}"],
      features=[_features(part)],
      dimension=8,
      precision="int8",
    )


def _finish(root: pathlib.Path) -> None:
  store.finish(root, keys=["key 0", "key 1"])


def _find_store(root: pathlib.Path) -> Found:
  found: dict[str, Any] = {}
  for part in range(2):
    if store.has_part(root, part, key=f"key {part}"):
      files.verify_bundle(store.part_path(root, part))
      found[f"part {part}"] = _arrays(store.part_path(root, part))
  if (root / "store.json").exists():
    found["store"] = [(name, values.tobytes()) for name, values in store.open_store(root)]
  return found


def _write_images(root: pathlib.Path) -> None:
  for number in range(7):
    photos.write(root / f"image-{number}.bmp", number)
  _extract(root, 0, 6)


def _extract(root: pathlib.Path, first: int, last: int) -> None:
  extract_local(
    [ImageJob(f"image-{n}", root / f"image-{n}.bmp") for n in range(first, last)],
    photos.extractor(),
    root / "store",
    num_workers=1,
    show_progress=False,
    removes="all",
  )


def _find_extracted(root: pathlib.Path) -> Found:
  opened = store.open_store(root / "store", verify=True)
  return {"store": [(name, values.tobytes()) for name, values in opened]}


def _save_bundle(root: pathlib.Path, *, value: int) -> None:
  arrays = {"first": np.full(5, value), "second": np.full(7, value, np.float32)}
  files.save_bundle(root / "b", kind="test", version=1, arrays=arrays, metadata={"value": value})


def _find_bundle(root: pathlib.Path) -> Found:
  bundle = files.load_bundle(root / "b", kind="test", version=1, verify=True)
  values = {float(value) for array in bundle.arrays.values() for value in array}
  assert values == {float(bundle.metadata["value"])}
  return {"value": values}


def _write_json(root: pathlib.Path, *, value: int) -> None:
  files.write_json(root / "report.json", [value] * 100)


def _find_json(root: pathlib.Path) -> Found:
  return {"value": json.loads((root / "report.json").read_text())}


def _nothing(root: pathlib.Path) -> None:
  del root


def find(operation: Operation, root: pathlib.Path) -> Found:
  """Returns what an operation finds in a folder, where nothing that is not ours is lost."""
  _check_foreign(root)
  return operation.find(root)


OPERATIONS = (
  Operation("build", _nothing, _build, _find_index),
  Operation("add", _prepare_index, _add, _find_index),
  Operation("remove", _prepare_grown, _remove, _find_index),
  Operation("compact", _prepare_shrunk, _compact, _find_index),
  Operation("shard", _nothing, _shard, _find_shards),
  Operation("packed build", _nothing, _build_packed, _find_index),
  Operation("packed compact", _prepare_packed, _compact, _find_index),
  Operation("packed shard", _nothing, _shard_packed, _find_packed_shards),
  Operation("merge", _prepare_shards, _merge, _find_index),
  Operation("lists", _prepare_shrunk, _make_lists, _find_lists),
  Operation("repaired lists", _prepare_old_lists, _make_lists, _find_lists),
  Operation("store parts", _nothing, _save_parts, _find_store),
  Operation("store", _save_parts, _finish, _find_store),
  Operation(
    "extraction",
    _write_images,
    functools.partial(_extract, first=1, last=7),
    _find_extracted,
  ),
  Operation(
    "bundle",
    functools.partial(_save_bundle, value=1),
    functools.partial(_save_bundle, value=2),
    _find_bundle,
  ),
  Operation(
    "json",
    functools.partial(_write_json, value=1),
    functools.partial(_write_json, value=2),
    _find_json,
  ),
)

# Small, so that an operation has several pieces.
builder.IMAGES_PER_PIECE = 7
lists.IMAGES_PER_PART = 7
extraction.IMAGES_PER_PART = 2
# So that parts are put together.
store.MOST_SMALL_PARTS = 1
# So that checksums of files that are new are remembered.
checksums.RACY_NS = -(10**18)

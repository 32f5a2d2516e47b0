"""How segments are made: images are cut into pieces, and the pieces merge.

A piece is a small segment of a fixed number of images. The merged segment has the same bytes,
whichever process made which piece.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from l2g_jax.cann import generations, packed, quantizer, segment, storage, stored
from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.quantizer import Quantizer, load_quantizer, save_quantizer
from l2g_jax.cann.segment import Descriptors, open_descriptors
from l2g_jax.cann.storage import JOB, QUANTIZER, SHARDS, SPOOL, Manifest, Note
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.similarity.codec import Codes, concatenate, encode

IMAGES_PER_PIECE = 2048
# Pieces that are held open, of more than a process may open files.
_OPEN_PIECES = 16


@dataclasses.dataclass(frozen=True)
class ShardReport:
  """How a sharded build stands.

  Attributes:
    num_images: of this shard.
    missing_pieces: pieces of other shards that are not there yet.
  """

  num_images: int
  missing_pieces: int


def build(
  root: pathlib.Path,
  descriptors: Iterable[tuple[str, np.ndarray]],
  config: CannConfig,
  whitening: Note | None,
) -> None:
  """Builds an index, see `CannIndex.build`."""
  storage.refuse_foreign(root)
  with storage.locked(root):
    storage.refuse_existing(root)
    images = storage.encoded(descriptors, dimension=None, names=())
    first = next(images, None)
    if first is None:
      raise InputError("No images were given to index.")
    dimension = first[1].values.shape[1]
    manifest = storage.new_manifest(config, dimension)
    storage.write_whitening(root, manifest, storage.check_whitening(whitening, dimension))
    write_segment(root, manifest, itertools.chain([first], images))
    generations.remove_all(root)
    storage.commit(root, manifest)


def write_segment(
  root: pathlib.Path, manifest: Manifest, images: Iterable[tuple[str, Codes]]
) -> None:
  """Writes images as a segment and enters it in a manifest, which is not committed.

  Args:
    root: the index's directory.
    manifest: of the index; where it has no quantiser yet one is learned from the images.
    images: (name, codes), read once.
  """
  folder = root / SPOOL
  storage.remove(folder)
  num_images = _spool(folder, images, dimension=manifest["dimension"])
  if not num_images:
    return
  pieces = _pieces(num_images)
  if manifest["quantizer"] is None:
    config = CannConfig.from_json(manifest["config"])
    read = _piece_reader(folder)
    learned = quantizer.train(num_images, read, config, dimension=manifest["dimension"])
    manifest["quantizer"] = storage.new_name(root, manifest, "quantizer")
    save_quantizer(root / manifest["quantizer"], learned)
    if learned.grid is not None:
      manifest["learned_from"] = num_images
  else:
    learned = load_quantizer(root / manifest["quantizer"])
  for piece in pieces:
    spooled = open_descriptors(_descriptors(folder, piece))
    _save_piece(folder, piece, spooled.names, spooled.codes(), spooled.offsets, learned)
  _merge(root, manifest, folder, pieces, learned)


def copy_segment(
  root: pathlib.Path, manifest: Manifest, images: Iterable[tuple[str, np.ndarray, np.ndarray]]
) -> None:
  """Writes packed images as they are, as a segment, and enters it in a manifest.

  Args:
    root: the index's directory.
    manifest: of the index, with its quantiser.
    images: (name, packed descriptors, their cells), read once.
  """
  folder = root / SPOOL
  storage.remove(folder)
  learned = load_quantizer(root / manifest["quantizer"])
  if learned.grid is None:
    raise InputError(f"{root} has numbers that do not fit together; build the index again.")
  num_pieces = 0
  for batch in _batches(images):
    names, rows, cells = zip(*batch, strict=True)
    descriptors = PackedDescriptors(
      dimension=manifest["dimension"],
      packed=np.concatenate(rows),
      cells=np.concatenate(cells),
      offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
      names=packed.join_names(names),
      grid=learned.grid,
    )
    packed.save_packed(_descriptors(folder, num_pieces), descriptors)
    codes = descriptors.decode(slice(None))
    segment.save_lists(
      _lists(folder, num_pieces), codes, descriptors.cells, descriptors.offsets, learned
    )
    num_pieces += 1
  if num_pieces:
    _merge(root, manifest, folder, range(num_pieces), learned)


def build_shard(
  root: pathlib.Path,
  images: Sequence[tuple[str, np.ndarray]],
  config: CannConfig,
  whitening: Note | None,
  *,
  shard_index: int,
  num_shards: int,
) -> ShardReport:
  """Makes one shard of the pieces of an index, see `CannIndex.build_shard`."""
  if not 0 <= shard_index < num_shards:
    raise InputError(f"Shard {shard_index} is not one of 0 to {num_shards - 1}.")
  if not len(images):
    raise InputError("No images were given to index.")
  storage.refuse_foreign(root)
  storage.refuse_existing(root)
  folder = root / SHARDS

  def read(image: int) -> Codes:
    name, values = images[image]
    return encode(values, where=f"image {name!r}")

  dimension = read(0).values.shape[1]
  with files.locked(folder, refusal=None):
    files.remove_leftovers(folder)
    manifest = _start_job(
      folder, len(images), config, storage.check_whitening(whitening, dimension), dimension
    )
    if not (folder / QUANTIZER).is_dir():
      learned = quantizer.train(len(images), read, config, dimension=dimension)
      save_quantizer(folder / QUANTIZER, learned)
  learned = load_quantizer(folder / QUANTIZER)
  pieces = _pieces(len(images))
  mine = pieces[shard_index::num_shards]
  for piece in mine:
    if _has_piece(folder, piece):
      continue
    stream = (images[image] for image in _images(piece, len(images)))
    encoded = storage.encoded(stream, dimension=manifest["dimension"], names=())
    names, sets = zip(*encoded, strict=True)
    if learned.grid is None:
      segment.save_descriptors(_descriptors(folder, piece), names, sets, dimension=dimension)
    codes = concatenate(sets, dimension=dimension)
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    _save_piece(folder, piece, packed.join_names(names), codes, offsets, learned)
  return ShardReport(
    num_images=sum(len(_images(piece, len(images))) for piece in mine),
    missing_pieces=sum(not _has_piece(folder, piece) for piece in pieces),
  )


def read_shard_whitening(root: pathlib.Path) -> Note | None:
  """Returns the note that the first shard left, see `CannIndex.shard_whitening`."""
  folder = root / SHARDS
  if not (folder / JOB).is_file():
    return None
  return storage.read_whitening(folder, files.read_manifest(folder / JOB))


def merge_shards(root: pathlib.Path) -> None:
  """Makes the index of the pieces of all shards, see `CannIndex.merge_shards`."""
  with storage.locked(root):
    storage.refuse_existing(root)
    manifest = _merge_shards(root)
    generations.remove_all(root)
    storage.commit(root, manifest)


def _merge_shards(root: pathlib.Path) -> Manifest:
  """Makes a segment of the pieces of all shards; returns a manifest, not committed."""
  folder = root / SHARDS
  if not (folder / JOB).is_file():
    raise InputError(f"There are no shards of an index in {root}.")
  job = files.read_manifest(folder / JOB)
  pieces = _pieces(job["num_images"])
  missing = [piece for piece in pieces if not _has_piece(folder, piece)]
  if missing:
    raise InputError(
      f"{len(missing)} of {len(pieces)} pieces are not in {folder}, of which {missing[0]} is the"
      " first; run the other shards."
    )
  manifest = storage.new_manifest(CannConfig.from_json(job["config"]), job["dimension"])
  storage.write_whitening(root, manifest, storage.read_whitening(folder, job))
  manifest["quantizer"] = storage.new_name(root, manifest, "quantizer")
  learned = load_quantizer(folder / QUANTIZER)
  save_quantizer(root / manifest["quantizer"], learned)
  if learned.grid is not None:
    manifest["learned_from"] = job["num_images"]
  taken: set[str] = set()
  for piece in pieces:
    for name in segment.open_either(_descriptors(folder, piece), learned.grid).image_names():
      if name in taken:
        raise InputError(f"Image {name!r} comes twice.")
      taken.add(name)
  _merge(root, manifest, folder, pieces, learned)
  return manifest


def _spool(folder: pathlib.Path, images: Iterable[tuple[str, Codes]], *, dimension: int) -> int:
  """Writes the descriptors of a stream as pieces; returns how many images there were."""
  count = 0
  for piece, batch in enumerate(_batches(images)):
    names, codes = zip(*batch, strict=True)
    segment.save_descriptors(_descriptors(folder, piece), names, codes, dimension=dimension)
    count += len(batch)
  return count


def _batches(images: Iterable[tuple]) -> Iterator[list[tuple]]:
  """Yields the images of one piece after another."""
  stream = iter(images)
  while batch := list(itertools.islice(stream, IMAGES_PER_PIECE)):
    yield batch


def _merge(
  root: pathlib.Path,
  manifest: Manifest,
  folder: pathlib.Path,
  pieces: Sequence[int],
  learned: Quantizer,
) -> None:
  """Merges pieces to a segment and enters it in a manifest."""
  descriptors, lists = (storage.new_name(root, manifest, kind) for kind in ("descriptors", "lists"))
  parts = [_descriptors(folder, piece) for piece in pieces]
  num_images = [len(segment.open_either(part, learned.grid)) for part in parts]
  segment.merge_descriptors(root / descriptors, parts, learned.grid)
  segment.merge_lists(root / lists, [_lists(folder, piece) for piece in pieces], num_images)
  manifest["segments"].append({"descriptors": descriptors, "lists": lists, "removed": []})


def _start_job(
  folder: pathlib.Path,
  num_images: int,
  config: CannConfig,
  whitening: Note | None,
  dimension: int,
) -> Manifest:
  """Records what all shards must agree on, or compares it with what the first one recorded."""
  job = storage.new_manifest(config, dimension)
  job["num_images"] = num_images
  if (folder / JOB).is_file():
    before = files.read_manifest(folder / JOB)
    same = storage.same_whitening(storage.read_whitening(folder, before), whitening)
    if not same or any(before[key] != job[key] for key in ("config", "dimension", "num_images")):
      raise InputError(f"The shards in {folder} are of other images or settings; remove them.")
    return before
  storage.write_whitening(folder, job, whitening)
  files.write_manifest(folder / JOB, job)
  return job


def _save_piece(
  folder: pathlib.Path,
  piece: int,
  names: np.ndarray,
  codes: Codes,
  offsets: np.ndarray,
  learned: Quantizer,
) -> None:
  """Writes the lists of a piece, and its packed descriptors where the quantiser has a grid."""
  cells = quantizer.find_cells(learned.coarse, codes)
  if learned.grid is not None:
    # In place of codes, if the piece was spooled.
    packed.save_packed(
      _descriptors(folder, piece),
      PackedDescriptors(
        dimension=codes.values.shape[1],
        packed=stored.pack(learned.grid, codes, cells),
        cells=cells,
        offsets=offsets,
        names=names,
        grid=learned.grid,
      ),
    )
  segment.save_lists(_lists(folder, piece), codes, cells, offsets, learned)


def _has_piece(folder: pathlib.Path, piece: int) -> bool:
  # Its lists are written last.
  return _lists(folder, piece).is_dir()


def _piece_reader(folder: pathlib.Path) -> Callable[[int], Codes]:
  """Returns what reads the codes of an image by its number."""

  @functools.lru_cache(maxsize=_OPEN_PIECES)
  def open_piece(piece: int) -> Descriptors:
    return open_descriptors(_descriptors(folder, piece))

  def read(image: int) -> Codes:
    codes = open_piece(image // IMAGES_PER_PIECE)[image % IMAGES_PER_PIECE]
    # A view would keep the file open.
    return Codes(np.array(codes.values), np.array(codes.scales))

  return read


def _pieces(num_images: int) -> range:
  return range(-(-num_images // IMAGES_PER_PIECE))


def _images(piece: int, num_images: int) -> range:
  return range(piece * IMAGES_PER_PIECE, min((piece + 1) * IMAGES_PER_PIECE, num_images))


def _descriptors(folder: pathlib.Path, piece: int) -> pathlib.Path:
  return folder / f"descriptors-{piece:06d}"


def _lists(folder: pathlib.Path, piece: int) -> pathlib.Path:
  return folder / f"lists-{piece:06d}"

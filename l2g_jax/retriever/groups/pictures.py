"""The pictures of a collection, one for all equal files, and what is read of them."""

import collections
import dataclasses
import functools
import pathlib
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from l2g_jax.data.images import read_image
from l2g_jax.features import sift
from l2g_jax.features.protocol import LocalExtractor
from l2g_jax.features.whitening import Whitening
from l2g_jax.retriever import vocabulary
from l2g_jax.retriever.collection import Collection
from l2g_jax.retriever.described import Described, DescribedImages
from l2g_jax.retriever.groups.look import Facts, Look, read_look
from l2g_jax.retriever.options import Local
from l2g_jax.retriever.retriever import Retriever
from l2g_jax.retriever.stages import Kind

# The strongest descriptors of a picture in the mirror, or of a field of a collage: what they are
# searched for has nearly all of them, and a search takes time in proportion.
_SEARCHED = 150
# Small pictures that are kept in memory, of at most 100 kB each.
_LOOKS = 2000


@dataclasses.dataclass(frozen=True)
class Pictures:
  """The pictures of a collection; those of equal content have one key and count once.

  Attributes:
    collection: whose ids are positions in `names`.
    keys: of all N images.
    names: the names of the images that could be read by key, ascending.
    paths: of all images, by name.
    described: the features of the images, by id.
    known: what was read of pictures before.
  """

  collection: Collection
  keys: Sequence[str]
  names: Mapping[str, Sequence[str]]
  paths: Mapping[str, pathlib.Path]
  described: DescribedImages
  _looks: "_Looks"
  known: dict[str, Facts] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def ids(self) -> Mapping[str, int]:
    """An id of each key."""
    return {key: number for number, key in reversed(list(enumerate(self.keys)))}

  @functools.cached_property
  def keys_by_name(self) -> Mapping[str, str]:
    """The key of each name."""
    return {name: key for key, names in self.names.items() for name in names}

  def features(self, key: str) -> Described:
    """Returns the features of a picture."""
    return self.described[self.ids[key]]

  def path(self, key: str) -> pathlib.Path:
    """Returns a file of a picture."""
    return self.paths[self.names[key][0]]

  def look(self, key: str) -> Look:
    """Returns a small copy of a picture; InputError where it can't be read any more."""
    return self._looks.get(key, self.path(key))

  def facts(self, key: str) -> Facts:
    """Returns what is known of a picture; InputError where it can't be read any more."""
    return self.known.get(key) or self.look(key).facts

  @functools.cached_property
  def mirror_kind(self) -> int:
    """The number of the kind of features by which pictures are looked for in the mirror."""
    names = [getattr(kind.options.local, "name", None) for kind in self.collection.kinds]
    return names.index("sift") if "sift" in names else 0

  @property
  def mirror_kinds(self) -> tuple[Local, ...]:
    """The kinds of `mirrored` features: one."""
    return (self.kind.options.local,)

  @property
  def kind(self) -> Kind:
    """The kind of `mirror_kind`."""
    return self.collection.kinds[self.mirror_kind]

  def plain(self, key: str) -> Described:
    """Returns the features of a picture that `mirrored` ones are compared with."""
    return (self.features(key)[self.mirror_kind],)

  def mirrored(self, key: str) -> Described:
    """Returns the features of a picture in the mirror; x of their locations becomes -x."""
    local = self.kind.options.local
    if isinstance(local, LocalExtractor) and local.name != "sift":
      pixels = read_image(self.path(key))
      made = local.extract(np.ascontiguousarray(pixels[:, ::-1]))
      shift = np.array([1 - pixels.shape[1], 0], np.float32)
      return (dataclasses.replace(made, locations=made.locations + shift),)
    return (sift.mirrored(self.plain(key)[0], 1),)

  def search(self, descriptors: np.ndarray, count: int) -> list[str]:
    """Searches by the kind of `mirror_kind`; returns the keys of the first pictures found."""
    learned = Whitening.from_note(self.kind.index.whitening)
    found = self.kind.search([vocabulary.described(learned, descriptors[:_SEARCHED])], 4 * count)
    return self.first_keys(found.ids[0], count)

  def first_keys(self, ids: np.ndarray, count: int) -> list[str]:
    """Returns the first different keys in a list of ids."""
    keys = dict.fromkeys(self.keys[int(number)] for number in ids if number >= 0)
    return list(keys)[:count]


def open_pictures(retriever: Retriever) -> Pictures:
  """Opens the pictures of a retriever, as of one look at its folder."""
  images, collection, described = retriever.describe()
  by_name = collection.kinds[0].keys
  names: dict[str, list[str]] = collections.defaultdict(list)
  for name in (collection.names[image] for image in collection.readable):
    names[by_name[name]].append(name)
  return Pictures(
    collection=collection,
    keys=[by_name[name] for name in collection.names],
    names=names,
    paths={job.name: job.path for job in images.jobs},
    described=described,
    _looks=_Looks(),
  )


class _Looks:
  """Small pictures that were read last; threads may share them."""

  def __init__(self):
    self._known: collections.OrderedDict[str, Look] = collections.OrderedDict()
    self._lock = threading.Lock()

  def get(self, key: str, path: pathlib.Path) -> Look:
    with self._lock:
      if key in self._known:
        self._known.move_to_end(key)
        return self._known[key]
    look = read_look(path)
    with self._lock:
      self._known[key] = look
      if len(self._known) > _LOOKS:
        self._known.popitem(last=False)
    return look

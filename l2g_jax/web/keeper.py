"""The keeper of a collection: a thread that takes in what is in a folder, and follows it.

Searches never wait for it: each uses the last whole state, and a new one replaces it when it is
ready. A large folder is taken in by steps, so that it can be searched long before its end.
"""

import dataclasses
import functools
import logging
import pathlib
import threading
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob
from l2g_jax.retriever import Retriever
from l2g_jax.retriever.described import DescribedImages
from l2g_jax.retriever.listing import Folder, folder_directory
from l2g_jax.runtime.progress import Meter, open_meters
from l2g_jax.runtime.threads import give_way
from l2g_jax.web import warming
from l2g_jax.web.found import Found, Stamp, image_id, look_at

# New photographs that a step takes in: as many as are there already, but at least and at most so
# many. The first step ends within a minute or so; what a kill loses is a part of a step.
FIRST_STEP = 24
MOST_STEP = 1024
# A file is read once it has been still for so long, but nothing waits for others longer than that.
_SETTLED_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 3.0
# The most of a core that looking at the folder takes.
_POLL_SHARE = 0.05
_RETRY_SECONDS = 15.0

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Collection:
  """A folder of photographs to keep ready.

  Attributes:
    images: the folder.
    work_dir: where everything made of it is kept, of any number of folders.
    options: keyword arguments of `Retriever.open_or_build`.
  """

  images: pathlib.Path
  work_dir: pathlib.Path
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def directory(self) -> pathlib.Path:
    """Where everything made of this folder lies."""
    return folder_directory(self.work_dir, self.images)


@dataclasses.dataclass(frozen=True)
class State:
  """A collection that can be searched; it never changes.

  Attributes:
    generation: grows with each state.
    retriever: searches it.
    described: the local features of its images, by their ids in the collection.
  """

  generation: int
  retriever: Retriever
  described: DescribedImages

  @functools.cached_property
  def numbers(self) -> Mapping[str, int]:
    """The ids of the images in the collection, by name."""
    return {name: number for number, name in enumerate(self.retriever.names)}

  @functools.cached_property
  def ids(self) -> Sequence[str]:
    """The identifiers of the images, by their ids in the collection."""
    return [image_id(name) for name in self.retriever.names]

  @functools.cached_property
  def numbers_by_id(self) -> Mapping[str, int]:
    """The ids of the images in the collection, by identifier."""
    return {key: number for number, key in enumerate(self.ids)}

  @functools.cached_property
  def num_readable(self) -> int:
    """How many images could be read; the others are in the collection, without features."""
    return len(self.retriever.names) - len(self.retriever.collection.failures)

  @functools.cached_property
  def featureless(self) -> Sequence[str]:
    """The names of images that could be read, and have no local features."""
    collection = self.retriever.collection
    named = zip(self.retriever.names, collection.counts().tolist(), strict=True)
    return [name for name, count in named if not count and name not in collection.failures]


@dataclasses.dataclass(frozen=True)
class Work:
  """Work that goes on.

  Attributes:
    title: names it.
    done: how much is done.
    total: how much there is to do; None = nobody knows.
    seconds_left: None = nobody knows.
  """

  title: str
  done: int
  total: int | None
  seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Status:
  """How a keeper stands.

  Attributes:
    state: `preparing` until there is something to search, `ready` from then on; `failed` where
      nothing can be searched and the message says why. It goes on trying.
    message: a sentence for the user; empty where there is nothing to say.
    num_images: that can be searched, those that can't be read left out.
    num_found: in the folder now.
    num_expected: of these, that can be searched once all are taken in: those that are known to be
      unreadable are left out.
    generation: of the state that can be searched; 0 = there is none yet.
    work: what goes on.
  """

  state: Literal["preparing", "ready", "failed"]
  message: str
  num_images: int
  num_found: int
  num_expected: int
  generation: int
  work: Work | None


class Keeper:
  """Follows a folder in a thread of its own, from `start` to `stop`."""

  def __init__(self, collection: Collection, *, poll_seconds: float = _POLL_SECONDS):
    """Does nothing before `start`.

    Args:
      collection: the folder.
      poll_seconds: between two looks at the folder, at least.
    """
    self.collection = collection
    self._poll_seconds = poll_seconds
    self._folder = Folder(collection.images, collection.directory)
    self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
    self._woken = threading.Event()
    self._stopped = False
    self._retriever: Retriever | None = None
    self._state: State | None = None
    self._found = Found()
    self._message, self._failed = "", False
    self._meters: list[Meter] = []
    # What goes on where no meter tells; empty between two steps.
    self._doing = ""
    # What the last step took in, what it may take in, and whether it left some for the next.
    self._taken: dict[str, Stamp] = {}
    self._settled: dict[str, Stamp] = {}
    self._has_more = False
    self._first_step = FIRST_STEP
    self._waits_since: float | None = None

  def start(self) -> None:
    """Starts to follow the folder."""
    self._thread.start()

  def stop(self, seconds: float = 0.0) -> bool:
    """Asks the thread to end; returns whether it did, within so many seconds.

    A step that goes on is not interrupted; it may be killed with the process.
    """
    self._stopped = True
    self._woken.set()
    self._thread.join(seconds)
    return not self._thread.is_alive()

  def wake(self) -> None:
    """Has the folder looked at now."""
    self._woken.set()

  def state(self) -> State | None:
    """Returns what can be searched; None where there is nothing yet."""
    return self._state

  def found(self) -> Found:
    """Returns what was in the folder when it was last looked at."""
    return self._found

  def num_expected(self) -> int:
    """Returns how many pictures of the folder can be searched once all are taken in."""
    unreadable = self.unreadable()
    return sum(job.name not in unreadable for job in self._found.jobs)

  def unreadable(self) -> Set[str]:
    """Returns the names of the images that could not be read, as far as they were tried."""
    return set() if self._state is None else self._state.retriever.collection.failures.keys()

  def status(self) -> Status:
    """Returns how the keeper stands."""
    state, found = self._state, self._found
    names = ("failed" if self._failed else "preparing") if state is None else "ready"
    return Status(
      state=names,
      message=self._message,
      num_images=0 if state is None else state.num_readable,
      num_found=len(found.jobs),
      num_expected=self.num_expected(),
      generation=0 if state is None else state.generation,
      work=self._work(),
    )

  def _work(self) -> Work | None:
    meters = list(self._meters)
    if meters:
      meter = meters[0]
      return Work(meter.description, meter.done, meter.total, meter.seconds_left())
    return Work(self._doing, 0, None, None) if self._doing else None

  def _keep(self) -> None:
    # People wait for searches, not for this.
    give_way()
    with open_meters() as self._meters:
      while not self._stopped:
        try:
          wait = self._look()
        except (InputError, OSError) as error:
          self._fail(str(error))
          wait = _RETRY_SECONDS
        except Exception as error:
          _log.exception("The keeper of the collection failed; it tries again.")
          self._fail(f"Taking in photographs failed and is tried again: {error!r}.")
          wait = _RETRY_SECONDS
        finally:
          self._doing = ""
        self._woken.wait(wait)
        self._woken.clear()

  def _fail(self, sentence: str) -> None:
    self._failed, self._message = True, printable(sentence)
    # All is tried again; where the first photographs have no features, with more of them.
    self._taken = {}
    self._first_step *= 2

  def _look(self) -> float:
    """Looks at the folder, and takes in a step where it has changed; returns seconds to wait."""
    start = time.monotonic()
    try:
      listing = self._folder.list()
    except InputError as error:
      self._found = Found()
      self._failed, self._message = not self.collection.images.is_dir(), printable(str(error))
      return self._poll_seconds
    before, found = self._found, look_at(listing)
    if found != before:
      self._found = found
    wait = max(self._poll_seconds, (time.monotonic() - start) / _POLL_SHARE)
    self._settled = _settled(before.stamps, found.stamps)
    if len(self._settled) < len(found.stamps):
      self._waits_since = self._waits_since or time.monotonic()
      if time.monotonic() - self._waits_since < _PATIENCE_SECONDS:
        return min(1.0, self._poll_seconds)
    self._waits_since = None
    if not self._settled:
      return self._poll_seconds
    if self._settled == self._taken and not self._has_more:
      self._failed, self._message = False, ""
      return wait
    self._take()
    return 0.0 if self._has_more else wait

  def _take(self) -> None:
    """Takes in a step, and publishes the state after it."""
    self._doing = "opening the collection"
    if self._retriever is None:
      self._retriever = Retriever.open_or_build(
        self.collection.images,
        self.collection.work_dir,
        choose=self._choose,
        **self.collection.options,
      )
    else:
      self._retriever.refresh()
    retriever = self._retriever.snapshot()
    _, _, described = retriever.describe()
    # The first user does not wait for programs to be compiled.
    self._doing = "getting ready to search"
    warming.warm_search(retriever)
    last = self._state
    is_other = last is None or _keys(last.retriever) != _keys(retriever)
    generation = (0 if last is None else last.generation) + is_other
    self._state = State(generation, retriever, described)
    self._failed, self._message = False, ""
    if not self._has_more:
      self._doing = "getting ready to draw maps"
      warming.warm_map(retriever)

  def _choose(self, jobs: Sequence[ImageJob], known: Set[str]) -> Sequence[ImageJob]:
    """Says which photographs the next step takes in; see `listing.Choose`."""
    settled = [job for job in jobs if job.name in self._settled]
    new = [job.name for job in settled if job.name not in known]
    num_known = len(settled) - len(new)
    # What is there already is opened first: it needs no work.
    is_first = self._retriever is None and num_known > 0
    step = 0 if is_first else min(MOST_STEP, max(self._first_step, num_known))
    left = set(new[step:])
    self._has_more = bool(left)
    if new[:step]:
      self._doing = "taking in photographs"
    chosen = [job for job in settled if job.name not in left]
    self._taken = {job.name: self._settled[job.name] for job in chosen}
    return chosen


def _settled(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> dict[str, Stamp]:
  """Returns the files that nobody is writing, as far as their stamps tell."""
  newest = time.time_ns() - int(_SETTLED_SECONDS * 1e9)
  return {
    name: stamp
    for name, stamp in now.items()
    if max(stamp[1], stamp[2]) < newest or _is_still(before.get(name), stamp)
  }


def _is_still(before: Stamp | None, stamp: Stamp) -> bool:
  """Whether a file whose clock is ahead of ours has not changed between two looks."""
  is_ahead = max(stamp[1], stamp[2]) > time.time_ns()
  return is_ahead and before == stamp


def _keys(retriever: Retriever) -> list[Mapping[str, str]]:
  return [kind.keys for kind in retriever.collection.kinds]

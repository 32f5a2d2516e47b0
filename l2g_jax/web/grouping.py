"""Groups of pictures that belong together: found in a thread, once for each state."""

import dataclasses
import logging
import threading

from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.retriever.groups import GroupOptions, Groups, find_groups
from l2g_jax.runtime.progress import Meter, open_meters
from l2g_jax.web.failures import UNAVAILABLE, Refusal
from l2g_jax.web.keeper import Keeper, State, Work

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Grouped:
  """The groups of a state; a thread replaces it as a whole.

  Attributes:
    state: of the collection.
    groups: None where they could not be found.
    message: why not; else empty.
  """

  state: State
  groups: Groups | None
  message: str = ""


class Groupings:
  """Finds groups when they are asked for; one search for them runs at once."""

  def __init__(self, keeper: Keeper):
    """Groups what a keeper has ready."""
    self._keeper = keeper
    self._lock = threading.Lock()
    self._grouped: dict[GroupOptions, Grouped] = {}
    self._meters: list[Meter] = []
    self._is_running = False

  def get(self, options: GroupOptions) -> tuple[Grouped | None, Work | None]:
    """Returns the last groups, which may be those of an earlier state, and the work that goes on.

    Args:
      options: what is looked for.

    Raises:
      Refusal: there is nothing to group yet, or it failed.
    """
    state = self._keeper.state()
    if state is None:
      raise Refusal(UNAVAILABLE, "The first photographs are being taken in; wait a little.")
    with self._lock:
      grouped = self._grouped.get(options)
      is_current = grouped is not None and grouped.state.generation == state.generation
      if not is_current and not self._is_running:
        self._is_running = True
        arguments = (state, options)
        threading.Thread(target=self._group, args=arguments, name="groups", daemon=True).start()
      is_running = self._is_running
    if is_current and grouped is not None and grouped.groups is None:
      raise Refusal(UNAVAILABLE, grouped.message)
    if grouped is not None and grouped.groups is None:
      grouped = None
    return grouped, self._work() if is_running else None

  def _work(self) -> Work:
    meters = list(self._meters)
    if not meters:
      return Work("looking for groups", 0, None, None)
    meter = meters[-1]
    return Work(meter.description, meter.done, meter.total, meter.seconds_left())

  def _group(self, state: State, options: GroupOptions) -> None:
    try:
      with open_meters() as self._meters:
        grouped = Grouped(state, find_groups(state.retriever, options))
    except InputError as error:
      grouped = Grouped(state, None, printable(str(error)))
    except Exception as error:
      _log.exception("The search for groups failed.")
      grouped = Grouped(state, None, f"The search for groups failed: {error!r}.")
    with self._lock:
      self._grouped[options] = grouped
      self._is_running = False

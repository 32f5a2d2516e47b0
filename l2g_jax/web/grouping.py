"""Groups of pictures that belong together: found in a thread, once for each state."""

import dataclasses
import logging
import threading
from typing import TYPE_CHECKING

from l2g_jax.data.image_names import printable
from l2g_jax.errors import InputError
from l2g_jax.runtime.progress import Meter, open_meters
from l2g_jax.web.failures import UNAVAILABLE, Refusal
from l2g_jax.web.keeper import Keeper, State, Work

if TYPE_CHECKING:
  from l2g_jax.retriever.groups import Groups

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
  groups: "Groups | None"
  message: str = ""


class Groupings:
  """Finds groups when they are asked for; one search for them runs at once."""

  def __init__(self, keeper: Keeper):
    """Groups what a keeper has ready."""
    self._keeper = keeper
    self._lock = threading.Lock()
    self._grouped: dict[bool, Grouped] = {}
    self._meters: list[Meter] = []
    self._running: bool | None = None

  def get(self, *, mirrors: bool) -> tuple[Grouped | None, Work | None]:
    """Returns the last groups, which may be those of an earlier state, and the work that goes on.

    Args:
      mirrors: whether mirrored pictures belong together.

    Raises:
      Refusal: there is nothing to group yet, or it failed.
    """
    state = self._keeper.state()
    if state is None:
      raise Refusal(UNAVAILABLE, "The first photographs are being taken in; wait a little.")
    with self._lock:
      grouped = self._grouped.get(mirrors)
      is_current = grouped is not None and grouped.state.generation == state.generation
      if not is_current and self._running is None:
        self._running = mirrors
        arguments = (state, mirrors)
        threading.Thread(target=self._group, args=arguments, name="groups", daemon=True).start()
      is_running = self._running is not None
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

  def _group(self, state: State, mirrors: bool) -> None:
    from l2g_jax.retriever.groups import GroupOptions, find_groups

    try:
      with open_meters() as self._meters:
        grouped = Grouped(
          state, find_groups(state.retriever, options=GroupOptions(mirrors=mirrors))
        )
    except InputError as error:
      grouped = Grouped(state, None, printable(str(error)))
    except Exception as error:
      _log.exception("The search for groups failed.")
      grouped = Grouped(state, None, f"The search for groups failed: {error!r}.")
    with self._lock:
      self._grouped[mirrors] = grouped
      self._running = None

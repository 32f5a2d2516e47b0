"""What the routes call."""

import dataclasses

import anyio

from l2g_jax.web.grouping import Groupings
from l2g_jax.web.keeper import Keeper
from l2g_jax.web.limits import Limits
from l2g_jax.web.pictures import Pictures
from l2g_jax.web.searching import Searches
from l2g_jax.web.turns import Turns
from l2g_jax.web.uploads import Uploads


@dataclasses.dataclass(frozen=True)
class Services:
  """What the routes call.

  Attributes:
    keeper: of the collection.
    uploads: what clients sent.
    pictures: of the folder and of clients.
    searches: of the collection.
    groupings: of the collection.
    limits: of what is taken in and kept.
    turns: of searches, and of all that takes a core for long.
    decoding: how many requests wait for the decoders at once.
  """

  keeper: Keeper
  uploads: Uploads
  pictures: Pictures
  searches: Searches
  groupings: Groupings
  limits: Limits
  turns: Turns
  decoding: anyio.CapacityLimiter
